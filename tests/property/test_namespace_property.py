import random

from hypothesis import given
from hypothesis import strategies as st

from peer.catalogue.namespace import shown_names
from shoal.manifest import DIR_CID
from shoal.names import safe_path
from shoal.wire import Entry, Owner

IDS = [digit * 64 for digit in "0123"]
# Names that beg for clashes, also with names that are made.
NAMES = st.sampled_from(
    ["a.txt", "a~anna.txt", "a~ben.txt", "a~anna-0000.txt", "A.txt", "b", "b~anna", "b~11111111", "é" * 127, "x" * 251]
)


@st.composite
def entries(draw):
    cid = draw(st.sampled_from(["a" * 64, "b" * 64, "c" * 64, "", DIR_CID]))
    sha1 = "" if cid == DIR_CID else draw(st.sampled_from(["1" * 40, "2" * 40])) if not cid else cid[:40]
    owners = draw(st.lists(st.sampled_from(IDS), max_size=2, unique=True))
    holders = draw(st.lists(st.sampled_from(IDS), max_size=2, unique=True))
    return Entry(
        cid,
        3 if cid else None,
        draw(st.integers(0, 2)),
        sha1,
        owners=tuple(Owner(id, id[:8], 1) for id in owners),
        holders=tuple(holders),
    )


directories = st.dictionaries(
    NAMES, st.lists(entries(), min_size=1, max_size=4, unique_by=lambda e: e.cid or e.sha1), max_size=8
)
living = st.dictionaries(st.sampled_from(IDS), st.sampled_from(["anna", "ben", "z" * 64]), max_size=4)


@given(directories, st.sets(NAMES, max_size=3), living, st.randoms(use_true_random=False))
def test_shown_names_do_not_depend_on_the_order_of_arrival(directory, folders, names, rng: random.Random):
    """Invariant: whatever the order in which versions arrived, each has the same shown name, and all are shown."""
    folders |= {name for name, held in directory.items() if any(entry.is_dir for entry in held)}
    versions = {name: [(safe_path(name), entry) for entry in held] for name, held in directory.items()}
    shown = shown_names(versions, folders.__contains__, lambda id: names.get(id, ""))
    shuffled = list(versions.items())
    rng.shuffle(shuffled)
    other = {name: rng.sample(held, len(held)) for name, held in shuffled}
    assert shown_names(other, folders.__contains__, lambda id: names.get(id, "")) == shown

    # Nothing is hidden, nothing merged: every version has one name, every folder its own.
    found = sorted((path, entry.cid, entry.sha1) for path, entry in filter(None, shown.values()))
    files = sorted((n, e.cid, e.sha1) for n, held in directory.items() for e in held if not e.is_dir)
    assert found == files
    assert all(shown[name] is None for name in directory if name in folders)
    for name, version in shown.items():
        safe_path(name)  # also: at most 255 bytes
        assert "/" not in name
        assert version is not None or name in folders
    for name, held in directory.items():
        if name not in folders:
            assert shown[name][1] == min(held, key=lambda e: (-e.mtime, e.cid, e.sha1))


@given(directories, living)
def test_names_that_do_not_clash_need_not_be_given(directory, names):
    """Invariant: to compute only the names that clash, told which others are taken, gives what computing all does."""
    folders = {name for name, held in directory.items() if any(entry.is_dir for entry in held)}
    versions = {name: [(safe_path(name), entry) for entry in held] for name, held in directory.items()}
    clashes = {n: held for n, held in versions.items() if len(held) > 1 or n in folders}
    every = shown_names(versions, folders.__contains__, lambda id: names.get(id, ""))
    some = shown_names(clashes, folders.__contains__, lambda id: names.get(id, ""), versions.__contains__)
    assert {name: version for name, version in every.items() if name not in versions.keys() - clashes.keys()} == some
