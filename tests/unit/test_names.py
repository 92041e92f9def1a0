"""Names that may become paths, and those that must not (THREATS 2, 3, 5, 17)."""

import pytest

from shoal.errors import BadName
from shoal.names import MAX_DEPTH, MAX_PATH_BYTES, printable, safe_link, safe_path, safe_peer_name

GOOD = [
    "a",
    "data/model.bin",
    "...",
    "..a/b..",
    ".hidden",
    "a/.shoal",
    ".shoalx/a",
    "a b/c\\d",
    "~",
    "-rf",
    "héllo/日本/🐟",
    "'; rm *",
    "a" * 255,
    "é" * 127,
    "/".join(["d"] * MAX_DEPTH),
    "/".join(["x" * 63] * 64)[:MAX_PATH_BYTES],
]

BAD = [
    ("empty", ""),
    ("absolute", "/etc/passwd"),
    ("parent", ".."),
    ("parent in front", "../a"),
    ("parent inside", "a/../../b"),
    ("parent at the end", "a/.."),
    ("dot", "."),
    ("dot inside", "a/./b"),
    ("empty part", "a//b"),
    ("slash at the end", "a/"),
    ("NUL", "a\0b"),
    ("line feed", "a\nb"),
    ("escape", "a\x1b[2J"),
    ("DEL", "a\x7f"),
    ("C1 control", "a\x9b2J"),
    ("right-to-left override", "cod\u202egpj.exe"),
    ("isolate", "a\u2066b"),
    ("Arabic letter mark", "a\u061cb"),
    ("line separator", "a\u2028b"),
    ("paragraph separator", "a\u2029b"),
    ("lone surrogate", "a\udcff"),
    ("NFD", "e\u0301"),
    ("not NFC: angstrom sign", "\u212b"),
    ("long part", "a" * 256),
    ("long part in bytes", "é" * 128),
    ("long in all", "/".join(["x" * 63] * 65)[: MAX_PATH_BYTES + 1]),
    ("long in bytes", "/".join(["é" * 40] * 51)),
    ("deep", "/".join(["d"] * (MAX_DEPTH + 1))),
    ("the program's directory", ".shoal"),
    ("inside the program's directory", ".shoal/identity"),
]


@pytest.mark.parametrize("name", GOOD)
def test_good_names_pass_unchanged(name: str) -> None:
    assert safe_path(name) == name


@pytest.mark.parametrize("name", [name for _, name in BAD], ids=[why for why, _ in BAD])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(BadName):
        safe_path(name)


def test_a_huge_name_is_refused_without_reading_it_and_without_repeating_it() -> None:
    with pytest.raises(BadName) as refused:
        safe_path("\x1b" * 10_000_000)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("l", "file"),
        ("l", "."),
        ("l", "dir/file"),
        ("a/l", "../file"),
        ("a/b/l", "../../c/d"),
        ("a/l", "./../b//c"),
        ("a/l", "..."),
        ("a/b/l", "../.."),
    ],
)
def test_links_inside_the_tree_pass(path: str, target: str) -> None:
    assert safe_link(safe_path(path), target) == target


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("l", ""),
        ("l", "/etc/passwd"),
        ("l", ".."),
        ("l", "../x"),
        ("a/l", "../../x"),
        ("a/l", "./../../x"),
        ("l", "a/../.."),
        ("l", "a/../../x"),
        # `d -> .` makes these lead out, although each part counted by itself stays inside.
        ("l", "d/.."),
        ("l", "d/../etc/passwd"),
        ("a/l", "../d/../../etc/passwd"),
        ("l", ".shoal/identity"),
        ("a/l", "../.shoal/identity"),
        ("l", "d/.shoal/identity"),
        ("l", "a\0b"),
        ("l", "a\x1bb"),
        ("l", "\udcff"),
        ("l", "e\u0301"),
        ("l", "x" * (MAX_PATH_BYTES + 1)),
    ],
)
def test_links_that_may_lead_out_are_refused(path: str, target: str) -> None:
    with pytest.raises(BadName):
        safe_link(safe_path(path), target)


@pytest.mark.parametrize("name", ["ada", "Ada's box", "lab-3.example", "日本"])
def test_peer_names(name: str) -> None:
    assert safe_peer_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a~b", ".shoal", "x" * 65, "a\x1b[0m", "a\nb", "\u202ea"])
def test_peer_names_that_cannot_be_a_directory(name: str) -> None:
    with pytest.raises(BadName):
        safe_peer_name(name)


def test_nothing_that_steers_a_terminal_is_printed() -> None:
    assert printable("a\x1b[2J\r\nb") == "a\\x1b[2J\\r\\nb"
    assert printable("cod\u202egpj.exe") == "cod\\u202egpj.exe"
    assert printable("\udcff") == "\\udcff"
    assert printable("héllo 日本") == "héllo 日本"


def test_an_error_message_is_printable() -> None:
    with pytest.raises(BadName) as refused:
        safe_path("a\x1b]0;title\x07")
    assert str(refused.value).isprintable()
    with pytest.raises(BadName) as refused:
        safe_peer_name("a/\x1b]0;title\x07")
    assert str(refused.value).isprintable()
