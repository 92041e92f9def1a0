"""When a file may be hashed, and that a file that moves under the reader has no manifest."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import peer.share.hashing as hashing
from peer.beneath import Beneath
from peer.share.hashing import COARSE_GRAIN, EAGER, GRAIN, SETTLE, Hashed, NotHashed, hash_file, settle_delay
from shoal.manifest import MIB, manifest_of

NOW = 1_800_000_000.5
ME = "a" * 64


def ns(seconds: float) -> int:
    return int(seconds * 1_000_000) * 1000 + 1


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Beneath]:
    with Beneath(tmp_path) as made:
        yield made


def read(root: Beneath, name: str, closed: bool = True, now: float | None = None, between=lambda left: True):
    return hash_file(root, name, name, ME, closed, lambda: time.time() + 9 if now is None else now, between)


def test_closed_files_need_not_settle_but_must_not_be_racy() -> None:
    assert settle_delay(ns(NOW - 0.1), ns(NOW - 0.1), True, NOW) == 0
    assert settle_delay(ns(NOW - 100), ns(NOW - 0.005), True, NOW) == pytest.approx(GRAIN - 0.005, abs=1e-3)


def test_a_file_system_with_whole_seconds_is_racy_for_longer() -> None:
    whole = int(NOW) * 1_000_000_000
    assert settle_delay(whole, whole, True, NOW) == pytest.approx(COARSE_GRAIN - 0.5)


def test_open_files_settle_by_mtime_and_ctime() -> None:
    assert settle_delay(ns(NOW - 3), ns(NOW - 3), False, NOW) == 0
    assert settle_delay(ns(NOW - 3), ns(NOW - 0.5), False, NOW) == pytest.approx(SETTLE - 0.5, abs=1e-3)
    assert settle_delay(ns(NOW - 0.5), ns(NOW - 3), False, NOW) == pytest.approx(SETTLE - 0.5, abs=1e-3)


def test_times_in_the_future_do_not_wait_for_ever() -> None:
    assert settle_delay(ns(NOW + 1000), ns(NOW + 1000), False, NOW) == 0


def test_a_quiet_file_has_its_manifest(root: Beneath, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"hello" * 100_000)
    result = read(root, "f")
    assert isinstance(result, Hashed) and result.manifest == manifest_of(b"hello" * 100_000)


def test_a_large_file_leaves_the_cpu_to_others_on_the_way_and_a_small_one_is_hashed_at_once(
    root: Beneath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests = 0

    class Patience:
        def rest(self) -> None:
            nonlocal rests
            rests += 1

    monkeypatch.setattr(hashing, "Patience", Patience)
    for name, size in (("small", EAGER), ("large", EAGER + 1)):
        with open(tmp_path / name, "wb") as file:
            file.truncate(size)
    assert isinstance(read(root, "small"), Hashed) and not rests
    assert isinstance(read(root, "large"), Hashed) and rests == EAGER // MIB + 1


@pytest.mark.parametrize("change", ["append", "truncate", "in place"])
def test_a_file_that_changes_while_it_is_read_is_torn(
    root: Beneath, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "_SLICE", 1 << 20)
    file = tmp_path / "f"
    file.write_bytes(bytes(3 << 20))
    time.sleep(0.02)  # so that the write below has another ctime, also on a kernel with coarse clocks

    def meddle(left: int) -> bool:
        if left == 1 << 20:  # at the last check; only the status after the reading tells
            with file.open("r+b") as opened:
                if change == "append":
                    opened.seek(0, os.SEEK_END)
                    opened.write(b"more")
                elif change == "truncate":
                    opened.truncate(100)
                else:
                    opened.write(b"X")
        return True

    result = read(root, "f", between=meddle)
    assert isinstance(result, NotHashed) and result.why == "torn"


def test_a_write_at_the_very_end_is_seen_too(root: Beneath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check after the reading, and not the one between slices, finds a write that came with the last bytes."""
    file = tmp_path / "f"
    file.write_bytes(bytes(1000))
    time.sleep(0.02)
    real = hashing._read

    def read_then_write(*args):
        manifest = real(*args)
        with file.open("r+b") as opened:
            opened.write(b"X")
        return manifest

    monkeypatch.setattr(hashing, "_read", read_then_write)
    result = read(root, "f")
    assert isinstance(result, NotHashed) and result.why == "torn"


def test_a_file_just_written_is_too_early(root: Beneath, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    now = os.stat(tmp_path / "f").st_ctime
    result = read(root, "f", now=now)
    assert isinstance(result, NotHashed) and result.why == "early" and 0 < result.wait <= COARSE_GRAIN
    assert read(root, "f", closed=False, now=now + 1).why == "early"  # type: ignore[union-attr]


def test_links_fifos_and_what_lies_outside_are_not_read(root: Beneath, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-secret"
    outside.mkdir()
    (outside / "f").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(outside / "f")
    (tmp_path / "dir").symlink_to(outside)
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "dir/f", "fifo", "../" + outside.name + "/f", "missing"):
        result = read(root, name)
        assert isinstance(result, NotHashed) and result.why == "vanished", name


def test_a_reader_that_is_told_to_stop_stops(root: Beneath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_SLICE", 1 << 20)
    (tmp_path / "f").write_bytes(bytes(3 << 20))
    assert read(root, "f", between=lambda left: False).why == "stopped"  # type: ignore[union-attr]
