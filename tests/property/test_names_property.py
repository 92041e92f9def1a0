"""Names: whatever passes is safe to join to a directory and to show."""

import os
import posixpath
import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from shoal.errors import BadName
from shoal.names import STATE_DIR, printable, safe_link, safe_path, safe_peer_name

PARTS = st.sampled_from(["a", "b", ".", "..", "", ".shoal", "\0", "\u202e", "e\u0301", "x" * 200, "日", "\udc80"])
NAMES = st.one_of(st.text(), st.lists(PARTS, max_size=8).map("/".join))
LINK_PARTS = st.lists(st.sampled_from(["a", "b", "c", ".", ".."]), min_size=1, max_size=5).map("/".join)


@given(NAMES)
@example("../x")
def test_what_passes_stays_beneath_any_root(name: str) -> None:
    """A name that passes is unchanged, joins to a path beneath the root and outside `.shoal`, and can be encoded."""
    try:
        path = safe_path(name)
    except BadName:
        return
    assert path == name
    joined = posixpath.normpath(posixpath.join("/root", path))
    assert joined == "/root/" + path
    assert path.split("/")[0] != STATE_DIR
    assert b"\0" not in os.fsencode(path)
    assert unicodedata.normalize("NFC", path) == path


@given(NAMES)
def test_equal_to_the_eye_is_equal_in_bytes(name: str) -> None:
    """Of a name and its other Unicode forms at most one passes: the NFC one."""
    passed = set()
    for form in ("NFC", "NFD"):
        try:
            passed.add(safe_path(unicodedata.normalize(form, name)))
        except BadName:
            continue
    assert len(passed) <= 1


@given(st.text())
def test_whatever_is_printed_steers_nothing(text: str) -> None:
    """What `printable` gives has only characters that a terminal shows as they are."""
    assert printable(text).isprintable()


@given(st.text())
def test_a_peer_name_is_one_directory(name: str) -> None:
    """A peer's name that passes is a safe path of one part, with no `~`."""
    try:
        passed = safe_peer_name(name)
    except BadName:
        return
    assert "/" not in passed and "~" not in passed and safe_path(passed) == name


def resolve_as_a_kernel_does(links: dict[str, str], path: str, budget: int = 40) -> list[str] | None:
    """The directory parts that `path` leads to from the root, each link followed; None when it leaves the root."""
    here: list[str] = []
    todo = path.split("/")
    while todo:
        part = todo.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            if not here:
                return None
            here.pop()
            continue
        here.append(part)
        target = links.get("/".join(here))
        if target is not None:
            budget -= 1
            if budget < 0:
                return []  # ELOOP: it leads nowhere
            here.pop()
            todo = target.split("/") + todo
    return here


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c", "d/a", "d/b", "d/e/a", "d/e/c"]), LINK_PARTS, max_size=6),
    st.sampled_from(["a", "b", "c", "d/a", "d/b", "d/e/a", "d/e/c"]),
)
@example({"a": ".", "b": "a/.."}, "b")
@example({"d/e/a": "../..", "b": "d/e/a/../.."}, "b")
def test_no_chain_of_links_leads_out(links: dict[str, str], start: str) -> None:
    """Following any listed link, through any other listed links, never leaves the tree."""
    listed = {}
    for path, target in links.items():
        try:
            listed[path] = safe_link(safe_path(path), target)
        except BadName:
            continue
    assert resolve_as_a_kernel_does(listed, start) is not None
