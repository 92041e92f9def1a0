"""Sizes and addresses as people write them, and what is neither."""

import pytest

from shoal.errors import UsageError
from shoal.units import parse_address, parse_size, parse_time, show_address, show_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("1k", 1024),
        ("100M", 100 << 20),
        ("2G", 2 << 30),
        ("1.5T", 3 << 39),
        (" 20 M ", 20 << 20),
        ("100MiB", 100 << 20),
        ("100MB", 100 << 20),
        ("20M/s", 20 << 20),
        ("999999999999999", 999_999_999_999_999),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1e3", "nan", "inf", "1.M", ".5G", "1P", "1,5G", "\u0661", "9" * 400])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (3_565_158, "3.4 MiB"),
        (5 << 30, "5.0 GiB"),
        (1 << 44, "16.0 TiB"),
    ],
)
def test_sizes_are_shown(size: int, text: str) -> None:
    assert show_size(size) == text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tracker.lab:6667", ("tracker.lab", 6667)),
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("::1:80", ("::1", 80)),
        (" a_b-c:80 ", ("a_b-c", 80)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address
    assert parse_address(show_address(*address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "host",
        "host:",
        ":80",
        "host:0",
        "host:65536",
        "host:-1",
        "host:8o",
        "host:\u0661",
        "host:" + "1" * 5000,
        "http://host:80",
        "a b:80",
        "host\n:80",
        "me@host:80",
        "[::1:80",
        "::1]:80",
        "h\x1b[m:80",
        "x" * 254 + ":80",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5s", 1.5), ("30m", 1800), ("12h", 43200), ("30d", 2592000)]
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "-1", "1w", "1 d d", "inf", "nan", "1e9"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a length of time"):
        parse_time(text)
