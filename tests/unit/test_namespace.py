import pytest

from peer.catalogue.namespace import shown_names
from shoal.manifest import DIR_CID
from shoal.names import safe_path
from shoal.wire import Entry, Owner

ANNA, BEN, CARA = "a" * 64, "b" * 64, "c" * 64
PEERS = {ANNA: "anna", BEN: "ben", CARA: "cara"}


def entry(cid: str, mtime: int, *owners: str, holders: tuple[str, ...] = ()) -> Entry:
    return Entry(cid * 64, 1, mtime, cid * 40, owners=tuple(Owner(o, PEERS[o], 1) for o in owners), holders=holders)


def names(versions, folders=(), living=PEERS):
    made = {name: [(safe_path(name), entry) for entry in held] for name, held in versions.items()}
    shown = shown_names(made, set(folders).__contains__, lambda id: living.get(id, ""))
    return {name: version and version[1].cid[0] for name, version in shown.items()}


def test_the_newest_has_the_name_and_others_stand_beside_it():
    assert names({"a.tar.gz": [entry("1", 5, ANNA), entry("2", 9, BEN), entry("3", 7, CARA)]}) == {
        "a.tar.gz": "2",
        "a.tar~anna.gz": "1",
        "a.tar~cara.gz": "3",
    }


def test_ties_are_decided_by_cid():
    assert names({"a": [entry("2", 5, ANNA), entry("1", 5, BEN)]}) == {"a": "1", "a~anna": "2"}


def test_a_folder_keeps_its_name():
    assert names({"a.txt": [entry("1", 5, ANNA)]}, folders=["a.txt"]) == {"a.txt": None, "a~anna.txt": "1"}


def test_an_empty_directory_merges_into_the_folder():
    empty = Entry(DIR_CID, 0, 99)
    assert names({"a": [empty, entry("1", 5, ANNA)]}, folders=["a"]) == {"a": None, "a~anna": "1"}
    assert names({"a": [empty]}) == {"a": None}


@pytest.mark.parametrize(
    ("living", "shown"),
    [
        (PEERS, "a~anna"),  # the owner with the lowest id
        ({BEN: "ben", CARA: "cara"}, "a~ben"),  # the lowest living one
        ({CARA: "cara"}, "a~cara"),  # no owner lives: the lowest holder
        ({}, "a~anna"),  # nobody lives: as listed
    ],
)
def test_whose_name_is_used(living, shown):
    old = entry("1", 5, BEN, ANNA, holders=(CARA,))
    assert names({"a": [old, entry("2", 9, CARA)]}, living=living) == {"a": "2", shown: "1"}


def test_a_made_name_that_is_taken_gets_digits():
    taken = {"a": [entry("1", 5, ANNA), entry("2", 9, BEN)], "a~anna": [entry("3", 1, BEN)]}
    assert names(taken) == {"a": "2", "a~anna": "3", "a~anna-aaaa": "1"}
    taken["a~anna-aaaa"] = [entry("4", 1, BEN)]
    assert names(taken)["a~anna-aaaaa"] == "1"
    assert names({"a": [entry("1", 5, ANNA)]}, folders=["a", "a~anna"]) == {"a": None, "a~anna-aaaa": "1"}


def test_names_that_differ_in_case_are_different_names():
    assert names({"a": [entry("1", 5, ANNA)], "A": [entry("2", 5, BEN)]}) == {"a": "1", "A": "2"}


def test_a_made_name_has_at_most_255_bytes():
    long = "ü" * 120 + ".jpeg"
    shown = names({long: [entry("1", 5, ANNA), entry("2", 9, BEN)]})
    assert len(shown) == 2
    (made,) = shown.keys() - {long}
    assert len(made.encode()) <= 255
    assert made.endswith("~anna.jpeg")
