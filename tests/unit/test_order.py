"""Which files come after one: those of its folder, then those beneath, then those beside; none that is not worth it."""

from msgspec.structs import replace

from peer.catalogue.catalogue import Catalogue
from peer.catalogue.order import FRESH, MOST_LOOKED_AT, Orders
from peer.catalogue.tree import Folder
from peer.share.rows import Row
from shoal.manifest import link_cid, manifest_of
from shoal.wire import Changes, Entry, Owner, PeerRow

ME, ANNA = "0" * 64, "a" * 64
LARGEST = 1000
TREE = ["a/1", "a/2", "a/3", "a/in/1", "a/in/deep/1", "a/on/1", "b/1", "b/2", "top"]


class Ground:
    """A catalogue of anna's files, and a clock."""

    def __init__(self, *paths: str) -> None:
        self.now = 0.0
        self._version = 0
        self.catalogue = Catalogue(ME, "me")
        self.add(*paths)
        self.orders = Orders(self.catalogue, LARGEST, lambda: self.now)

    def add(self, *paths: str, **change: object) -> None:
        """Anna shares files of 10 bytes, or others."""
        told = []
        for path in paths:
            manifest = manifest_of(path.encode())
            entry = Entry(manifest.cid, 10, 1, manifest.sha1, owners=(Owner(ANNA, "anna", 1),), holders=(ANNA,))
            told.append((path, [replace(entry, **change)]))
        self._version += 1
        row = PeerRow(ANNA, "anna", "http://10.0.0.1:7000")
        self.catalogue.apply(Changes(f"v.{self._version}", False, False, [row], told, {}))

    def after(self, path: str, order: str = "name", count: int = 100) -> list[str]:
        """The paths that come after one."""
        return [found for found, _ in self.orders.after(path, order, count)[0]]


def test_a_folder_comes_before_what_is_in_it_and_that_before_what_is_beside() -> None:
    ground = Ground(*reversed(TREE))
    walk = ["a/1", "a/2", "a/3", "a/in/1", "a/in/deep/1", "a/on/1", "b/1", "b/2"]
    for place, path in enumerate(walk):
        assert ground.after(path) == walk[place + 1 :]
    assert ground.after("top") == walk


def test_the_order_of_the_listing_is_followed_too() -> None:
    ground = Ground("d/c", "d/a", "d/b", "d/y/1", "d/x/1")
    folder = ground.catalogue.find("d")
    assert isinstance(folder, Folder)
    files, folders = folder.names()
    listed = [f"d/{name}" for name in files] + [f"d/{name}/1" for name in folders]
    assert ground.after(listed[0], "listed") == listed[1:]
    assert ground.after(listed[3], "listed") == listed[4:]


def test_it_is_told_in_parts_that_fit_together() -> None:
    ground = Ground(*[f"d/{number:02}" for number in range(30)])
    found, last = ground.orders.after("d/03", "name", 10)
    assert [path for path, _ in found] == [f"d/{number:02}" for number in range(4, 14)]
    assert last == "d/13"
    found, last = ground.orders.after(last, "name", 100)
    assert (found[0][0], found[-1][0], last) == ("d/14", "d/29", "")
    assert ground.orders.after("d/29", "name", 10) == ([], "")


def test_what_is_large_empty_a_link_without_a_cid_or_ones_own_is_left_out() -> None:
    ground = Ground("d/0", "d/9")
    ground.add("d/1", size=LARGEST + 1)
    ground.add("d/2", size=0)
    ground.add("d/3", size=1, link="0", cid=link_cid("0"), sha1="")
    ground.add("d/4", cid="", size=10)
    ground.add("d/5", size=LARGEST)
    ground.catalogue.apply_rows(
        [Row("d/6", manifest_of(b"mine").cid, "own", 4, 5, manifest_of(b"mine").sha1, revs={ME: 1})]
    )
    assert ground.after("d/0") == ["d/5", "d/9"]


def test_so_many_are_looked_at_and_no_more() -> None:
    """Else one question about a folder of a million large files would take seconds; the next one goes on there."""
    names = [f"d/{number:04}" for number in range(2 * MOST_LOOKED_AT)]
    ground = Ground("d/9999")
    ground.add(*names, size=LARGEST + 1)
    found, last = ground.orders.after("d/0000", "name", 10)
    assert (found, last) == ([], names[MOST_LOOKED_AT])
    found, last = ground.orders.after(last, "name", 10)
    assert [path for path, _ in found] == ["d/9999"]


def test_names_are_remembered_for_a_short_time() -> None:
    ground = Ground("d/1", "d/3")
    assert ground.after("d/1") == ["d/3"]
    ground.add("d/2")
    assert ground.after("d/1") == ["d/3"], "as it was"
    ground.now += FRESH
    assert ground.after("d/1") == ["d/2", "d/3"]


def test_a_folder_that_is_not_there_has_nothing_after_it() -> None:
    assert Ground("d/1").orders.after("gone/1", "name", 10) == ([], "")
