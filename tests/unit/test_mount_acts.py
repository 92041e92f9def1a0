from peer.catalogue.difference import Difference
from peer.mount.acts import Act, difference, in_order
from peer.vfs import Sight

FILE, OTHER, LATER = Sight("file", "1"), Sight("file", "2"), Sight("file", "1", mtime=5)
FOLDER, LINK = Sight("folder"), Sight("link", "there")


def test_what_came_is_made_and_what_went_is_taken_away() -> None:
    assert difference({}, {"f": FILE, "d": FOLDER, "l": LINK}) == [
        Act("create", "f"),
        Act("mkdir", "d"),
        Act("symlink", "l"),
    ]
    assert difference({"f": FILE, "d": FOLDER, "l": LINK}, {}) == [
        Act("unlink", "f"),
        Act("rmdir", "d"),
        Act("unlink", "l"),
    ]


def test_other_bytes_are_written_and_another_time_is_set() -> None:
    assert difference({"f": FILE}, {"f": OTHER}) == [Act("modify", "f")]
    assert difference({"f": FILE}, {"f": LATER}) == [Act("touch", "f")]
    assert difference({"f": FILE}, {"f": FILE}) == []
    assert difference({"d": FOLDER}, {"d": FOLDER}) == []


def test_what_became_something_else_goes_first() -> None:
    assert difference({"f": FILE}, {"f": FOLDER}) == [Act("unlink", "f"), Act("mkdir", "f")]


def test_folders_are_made_first_and_go_last() -> None:
    acts = [Act("rmdir", "d"), Act("create", "e/f"), Act("unlink", "d/f"), Act("mkdir", "e"), Act("modify", "a")]
    assert [act.path for act in in_order(acts)] == ["d/f", "d", "e", "e/f", "a"]


def test_what_was_there_first_is_what_was_there_before() -> None:
    first, second = Difference(), Difference()
    first.add("f", ())
    second.add("f", None)
    second.paths["g"] = ()
    first.folders["d"], second.folders["d"], second.folders["e"] = False, True, True
    assert not Difference() and first and second
    first.follow(second)
    assert first.folders == {"d": False, "e": True}
    assert set(first.paths) == {"f", "g"}
