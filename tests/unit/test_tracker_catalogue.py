"""The catalogue: what is listed, how it is paged, what a feed costs."""

import sys
import threading
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from shoal.manifest import DIR_CID
from shoal.wire import MAX_BODY, PAGE, Changes, Item, decode, encode
from tests.support.announcer import NOW_NS, Announcer, cid_of, sha1_of
from tracker import changelog, rows
from tracker.catalogue import Catalogue
from tracker.changelog import ChangeLog
from tracker.hints import Hints, pause
from tracker.leases import Where
from tracker.listing import FEED_GROUPS, Listing
from tracker.memory import MemoryStore
from tracker.quotas import Limits
from tracker.views import iso


class Book:
    """A catalogue whose listings a test changes directly."""

    def __init__(self, tombstones: int = 1000) -> None:
        self.catalogue = Catalogue("abc", tombstones)

    def peer(self, id: str, name: str = "") -> Listing:
        listing = Listing(id.ljust(64, "0"), name or id, f"http://10.0.0.1:{len(self.catalogue.listings) + 1}")
        self.catalogue.join(listing)
        return listing

    def hold(self, listing: Listing, *items: Item) -> None:
        for path in {item.path for item in items}:
            held = tuple(rows.pack(item, NOW_NS) for item in items if item.path == path)
            self.catalogue.change(listing, path, held)

    def all(self, since: str | None = None) -> tuple[list[Changes], str]:
        pages = []
        while True:
            page = self.catalogue.changes(since, False)
            assert page is not None
            pages.append(page)
            since = page.version
            if not page.more:
                return pages, since


def file(path: str, text: str, kind: str = "own", revs: dict[str, int] | None = None, x: bool = False) -> Item:
    return Item(path, cid_of(text), kind, 5, 10**18, sha1_of(text), x, revs=revs or {})  # type: ignore[arg-type]


@pytest.fixture
def book() -> Book:
    return Book()


def own(listing: Listing, path: str, text: str, rev: int = 1) -> Item:
    return file(path, text, revs={listing.id: rev})


def test_only_what_readers_see_is_logged(book: Book) -> None:
    ann = book.peer("a")
    item = own(ann, "f", "one")
    book.hold(ann, item)
    for n in range(10):
        book.hold(book.peer(f"b{n}"), file("f", "one", "copy", item.revs))
    before = book.catalogue.version
    late = book.peer("c")
    joined = book.catalogue.version
    assert joined != before
    book.hold(late, file("f", "one", "copy", item.revs))  # the twelfth holder
    book.catalogue.change(late, "f", ())
    assert book.catalogue.version == joined
    assert len(book.catalogue.versions("f")[0].holders) == 11


def test_the_last_of_a_group_may_decide_what_is_shown(book: Book) -> None:
    for id in "1234":
        book.hold(book.peer(id), file("f", "one", "copy"))
    book.hold(book.peer("8"), file("f", "one", "copy", x=True))
    assert book.catalogue.seen("f")[0][0].x
    last = book.peer("9")
    before = book.catalogue.version
    book.hold(last, file("f", "one", "copy"))
    assert not book.catalogue.seen("f")[0][0].x
    assert book.catalogue.version != before
    book.catalogue.change(last, "f", ())
    assert book.catalogue.seen("f")[0][0].x


def test_pages_are_bounded_in_rows_and_bytes(book: Book) -> None:
    ann = book.peer("a")
    long = "/".join(["x" * 250] * 10)
    for n in range(2 * PAGE + 10):
        book.hold(ann, own(ann, f"{long}/{n}" if n % 2 else f"{n}", str(n)))
    pages, _ = book.all()
    assert len(pages) > 3
    for page in pages:
        assert len(page.paths) <= PAGE
        assert decode(encode(page), Changes) == page  # which refuses more than MAX_BODY
    assert sum(len(page.paths) for page in pages) == 2 * PAGE + 10


def test_a_reader_in_the_middle_of_its_first_read_is_not_sent_back_by_old_removals() -> None:
    book = Book(tombstones=5)
    ann = book.peer("a")
    for n in range(2 * PAGE):
        book.hold(ann, own(ann, f"stays{n}", "x"))
    for n in range(50):
        book.hold(ann, own(ann, f"goes{n}", "x"))
        book.catalogue.change(ann, f"goes{n}", ())
    pages, version = book.all()
    assert sum(len(page.paths) for page in pages) == 2 * PAGE
    assert version == book.catalogue.version


def test_a_reader_who_missed_too_many_removals_starts_over() -> None:
    book = Book(tombstones=5)
    ann = book.peer("a")
    for n in range(10):
        book.hold(ann, own(ann, f"f{n}", "x"))
    _, version = book.all()
    for n in range(5):
        book.catalogue.change(ann, f"f{n}", ())
    assert book.catalogue.changes(version, False) is not None
    book.catalogue.change(ann, "f5", ())
    assert book.catalogue.changes(version, False) is None


@pytest.mark.parametrize(
    "since", ["", "abc", "abc.", "abc.-1", "abc.99", "abd.1", "abc.1.99", "abc.1e3", "abc.01x", "abc." + "9" * 30, "\0"]
)
def test_versions_that_are_none_of_ours(book: Book, since: str) -> None:
    book.peer("a")
    assert book.catalogue.changes(since, False) is None


def test_a_flood_of_versions_hides_none_that_was_there_before(book: Book) -> None:
    real = next(text for text in map(str, range(10_000)) if cid_of(text).startswith("ff"))
    ann = book.peer("a")
    book.hold(ann, own(ann, "f", real))
    for n in range(12):
        items = [file("f", f"{n}/{m}", "copy", {cid_of(f"{n}/{m}/{k}"): 1 for k in range(60)}) for m in range(16)]
        book.hold(book.peer(f"b{n}"), *items)
    entries = book.catalogue.seen("f")[0]
    assert cid_of(real) in [entry.cid for entry in entries]
    assert len(entries) < 12 * 16
    assert len(encode(entries)) < MAX_BODY // 2 + 1000
    pages, _ = book.all()
    for page in pages:
        assert len(encode(page)) <= MAX_BODY


def test_a_flood_of_rows_is_not_looked_at_beyond_a_bound(book: Book) -> None:
    ann = book.peer("a")
    book.hold(ann, own(ann, "f", "the real one"))
    for n in range(45):
        book.hold(book.peer(f"b{n}"), *(file("f", f"{n}/{m}", "copy") for m in range(16)))
    entries = book.catalogue.seen("f")[0]
    assert cid_of("the real one") in [entry.cid for entry in entries]
    assert len(entries) == FEED_GROUPS
    assert len(book.catalogue.versions("f")) == 45 * 16 + 1


def test_a_page_has_so_many_paths_at_most(book: Book) -> None:
    ann = book.peer("a")
    for n in range(2 * PAGE):
        book.hold(ann, own(ann, f"{n}", "x"))
    pages, _ = book.all()
    assert max(len(page.paths) + len(page.peers) for page in pages) == PAGE


def test_the_log_and_the_sorted_keys_do_not_grow_with_time(book: Book) -> None:
    ann = book.peer("a")
    for _ in range(3000):
        book.hold(ann, own(ann, "comes and goes", "x"))
        book.catalogue.change(ann, "comes and goes", ())
        nothing = replace(own(ann, "unseen", "x"), kind="copy")
        book.hold(ann, nothing)
        book.catalogue.change(ann, "unseen", ())
    for n in range(5000):
        book.hold(ann, own(ann, f"once {n}", "x"))
        book.catalogue.change(ann, f"once {n}", ())
    log = book.catalogue._log
    assert len(log.places) <= 1010
    assert len(log._log) <= 2 * len(log.places) + 1024
    assert len(log._tombstones) <= 1001
    assert len(book.catalogue._paths._fresh) + len(book.catalogue._paths._keys) < 10_000
    assert book.catalogue._contents._holders == {}


def test_dropped_tombstones_leave_the_log() -> None:
    log: ChangeLog[bool] = ChangeLog(tombstones=3)
    for n in range(10):
        log.changed(log.place(str(n)))
    assert [place.key for place in log.after(0)] == ["7", "8", "9"]
    assert log.horizon == 7
    assert changelog.TOMBSTONES > 1000


def test_a_withdrawn_path_is_told_with_its_revs(book: Book) -> None:
    ann, bob = book.peer("a"), book.peer("b")
    item = own(ann, "f", "one", rev=1)
    book.hold(bob, file("f", "one", "copy", item.revs))
    assert len(book.catalogue.seen("f")[0]) == 1
    book.hold(ann, Announcer("x").nothing("f", {ann.id: 2}))
    (page,), _ = book.all()
    assert page.paths == [("f", [])]
    assert page.withdrawn == {"f": {ann.id: 2}}
    book.catalogue.change(ann, "f", ())
    (page,), _ = book.all()
    assert page.withdrawn == {}
    assert len(page.paths[0][1]) == 1


def test_an_owner_is_called_by_its_name_while_it_owns_the_path(book: Book) -> None:
    ann, bob = book.peer("a", "ann"), book.peer("b", "bob")
    item = own(ann, "f", "one")
    book.hold(ann, item)
    book.hold(bob, file("f", "one", "copy", item.revs))
    before = book.catalogue.version
    assert [owner.name for owner in book.catalogue.seen("f")[0][0].owners] == ["ann"]
    book.catalogue.move(ann, "anna", ann.url)
    assert [owner.name for owner in book.catalogue.seen("f")[0][0].owners] == ["anna"]
    changes = book.catalogue.changes(before, False)
    assert changes is not None
    assert [path for path, _ in changes.paths] == ["f"]
    book.catalogue.leave(ann)
    assert [owner.name for owner in book.catalogue.seen("f")[0][0].owners] == [ann.id[:8]]


def test_whose_word_counts_among_several_real_ones_for_a_seed_file(book: Book) -> None:
    """Who first said which content a seed peer's SHA-1 is stays believed; a later claim does not hide it."""
    seed = Listing("5" * 64, "seed", "http://10.0.0.9:1", seed=True)
    book.catalogue.join(seed)
    cid = rows.seed_cid(sha1_of("one"))
    item = Item("f", cid, "own", 0, 10**18, sha1_of("one"), revs={seed.id: 1})
    book.catalogue.change(seed, "f", (rows.pack(item, NOW_NS, seed=True),))
    ann, eve = book.peer("a"), book.peer("e")
    book.hold(ann, file("f", "one", "copy", {seed.id: 1}))
    lie = replace(file("f", "one", "copy", {seed.id: 1}), cid="0" * 64)
    book.hold(eve, lie)
    shown = {entry.cid: entry.holders for entry in book.catalogue.seen("f")[0]}
    assert set(shown[cid_of("one")]) == {seed.id, ann.id}


# Pages of files


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(15, Limits())


def tell(store: MemoryStore, peer: Announcer, *items: Item) -> None:
    for message in peer.whole(*items):
        assert store.announce(message, Where("10.0.0.1", "10.0.0.1", f"http://10.0.0.1:{peer.port}"))[0].status == 200


def read(store: MemoryStore, prefix: str = "", q: str = "", limit: int = 1000) -> list[list[str]]:
    pages: list[list[str]] = []
    while not pages or pages[-1]:
        after = pages[-1][-1] if pages else ""
        pages.append([view.path for view in store.files(prefix, q, limit, after).files])
    return pages[:-1]


def test_files_are_paged_in_order_and_never_inside_a_path(store: MemoryStore) -> None:
    for n in range(3):
        peer = Announcer(f"peer{n}")
        tell(store, peer, *(peer.own(f"f{m:02}", f"{n} {m}") for m in range(30)))
    pages = read(store, limit=10)
    assert [path for page in pages for path in page] == [f"f{m:02}" for m in range(30) for _ in range(3)]
    assert {len(page) for page in pages} == {12, 6}


def test_files_by_prefix_and_by_word(store: MemoryStore) -> None:
    peer = Announcer("p")
    tell(store, peer, *(peer.own(path, path) for path in ("Data/One.txt", "Data/two", "Dat", "e/one")))
    assert read(store, prefix="Data/") == [["Data/One.txt", "Data/two"]]
    assert read(store, q="ONE") == [["Data/One.txt", "e/one"]]
    assert read(store, prefix="Data/", q="two") == [["Data/two"]]
    assert read(store, q="none") == []


def test_a_rare_word_among_many_paths_is_found_on_one_page(store: MemoryStore) -> None:
    peer = Announcer("p")
    items = [peer.own(f"f{n:05}", "x") for n in range(5000)]
    tell(store, peer, *items)
    assert read(store, q="f04999") == [["f04999"]]


def test_a_page_is_bounded_in_bytes(store: MemoryStore) -> None:
    for n in range(8):
        peer = Announcer(f"p{n}")
        tell(store, peer, *(peer.copy("/".join(["x" * 250] * 12) + str(m), "x", {}) for m in range(600)))
    pages = read(store)
    assert sum(map(len, pages)) == 600
    assert len(pages) > 1


def test_rows_say_what_they_are(store: MemoryStore) -> None:
    ann, bob = Announcer("ann"), Announcer("bob")
    item = replace(ann.own("f", "one", mtime=1_500_000_000_123_456_789), x=True)
    tell(store, ann, item, ann.link("l", "f"), ann.folder("d"))
    tell(store, bob, bob.copy("f", "one", item.revs), bob.copy("g", "two", {}, kind="partial"))
    folder, row, part, link = (decode(encode(view), dict) for view in store.files("", "", 9, "").files)
    owner = {"id": ann.id, "name": "ann", "rev": item.revs[ann.id]}
    assert row == {
        "path": "f",
        "size": 3,
        "mtime": "2017-07-14T02:40:00.123456Z",
        "x": True,
        "link": "",
        "sha1": sha1_of("one"),
        "cid": cid_of("one"),
        "owner": ann.id,
        "owners": [owner],
        "holders": sorted([ann.id, bob.id]),
        "pinned": [],
        "partial": [],
    }
    assert (folder["dir"], folder["cid"]) == (True, DIR_CID)
    assert link["link"] == "f"
    assert (part["holders"], part["partial"], part["owner"]) == ([], [bob.id], None)


def test_peers_and_totals(store: MemoryStore) -> None:
    ann, bob = Announcer("ann"), Announcer("bob")
    tell(store, bob, bob.own("g", "two"), bob.folder("d"), bob.link("l", "g"))
    tell(store, ann, ann.own("f", "one", size=10), ann.own("g", "two", size=5), ann.copy("h", "x", {}, kind="partial"))
    views = store.peers()
    assert [(view.name, view.files, view.bytes) for view in views] == [("ann", 2, 15), ("bob", 1, 3)]
    totals = store.totals()
    assert (totals.peers, totals.files, totals.bytes, totals.settling) == (2, 3, 18, True)


@pytest.mark.parametrize("ns", [-(1 << 63), -1, 0, 1, (1 << 63) - 1])
def test_any_time_can_be_shown(ns: int) -> None:
    assert iso(ns).endswith("Z")


# What seed peers are told


def test_seed_peers_are_told_of_top_level_files_and_of_the_version_that_wins(store: MemoryStore) -> None:
    ann, bob = Announcer("ann", 1), Announcer("bob", 2)
    many = [ann.own(f"deep/{n}", "x") for n in range(50)]
    tell(store, ann, ann.own("a", "old", mtime=1), ann.own("z", "z"), ann.link("l", "a"), ann.folder("e"), *many)
    tell(store, bob, bob.own("a", "new", mtime=2), bob.copy("m", "part", {}, kind="partial"))
    found = dict(store.seed_files())
    assert set(found) == {"a", "z"}
    assert (found["a"].sha1, found["a"].peers) == (sha1_of("new"), ["10.0.0.1:2"])
    deep = store.seed_file("deep/3")
    assert deep is not None
    assert deep.peers == ["10.0.0.1:1"]
    assert store.seed_file("nowhere") is None


def test_a_listing_longer_than_one_hold_of_the_lock(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracker.memory.SLICE", 7)
    ann = Announcer("ann")
    names = [f"f{n:02}" for n in range(30)]
    tell(store, ann, *(ann.own(name, name) for name in names), *(ann.own(f"d{n}/x", "x") for n in range(30)))
    assert [name for name, _ in store.seed_files()] == names


# One catalogue for everybody


@pytest.fixture
def hurried() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hurried")
def test_concurrent_readers_and_writers_never_see_two_catalogues(store: MemoryStore) -> None:
    """Each peer moves one file between two names: a reader finds it under exactly one of them."""
    peers = [Announcer(f"p{n}", n + 1) for n in range(4)]
    for peer in peers:
        tell(store, peer, peer.own(f"{peer.name}/left", "x"))
    wrong: list[object] = []

    def write(peer: Announcer) -> None:
        for turn in range(60):
            gone, come = ("left", "right") if turn % 2 == 0 else ("right", "left")
            message = peer.delta([peer.own(f"{peer.name}/{come}", "x")], [(f"{peer.name}/{gone}", cid_of("x"))])
            outcome, _ = store.announce(message, Where("10.0.0.1", "10.0.0.1", f"http://10.0.0.1:{peer.port}"))
            if outcome.status != 200:
                wrong.append(outcome)

    def follow() -> None:
        version, seen = None, {}
        for _ in range(60):
            changes = store.changes(version)
            if changes is None or changes.more:
                wrong.append(changes)
                return
            version = changes.version
            seen.update(dict(changes.paths))
            listed = sorted(path for path, entries in seen.items() if entries)
            if [path.split("/")[0] for path in listed] != [peer.name for peer in peers]:
                wrong.append(listed)
            page = [view.path.split("/")[0] for view in store.files("", "", 1000, "").files]
            if page != [peer.name for peer in peers]:
                wrong.append(page)

    threads = [threading.Thread(target=write, args=(peer,)) for peer in peers]
    threads += [threading.Thread(target=follow) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_nobody_looks_while_something_changes() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def clock() -> int:
        """Asked in the middle of an announcement."""
        inside.set()
        assert go_on.wait(10)
        return NOW_NS

    store = MemoryStore(15, Limits(), clock=clock)
    peer = Announcer("p")
    seen: list[str] = []
    writer = threading.Thread(target=tell, args=(store, peer, peer.own("a", "x")))
    reader = threading.Thread(target=lambda: seen.extend(view.path for view in store.files("", "", 10, "").files))
    writer.start()
    assert inside.wait(10)
    reader.start()
    reader.join(0.2)
    assert reader.is_alive()
    go_on.set()
    writer.join()
    reader.join()
    assert seen == ["a"]


# Hints


def test_hints_ask_for_no_more_pulls_than_a_tracker_answers() -> None:
    for receivers in (1, 100, 1000, 10_000):
        assert receivers / pause(receivers) <= 2000
    assert pause(1000) <= 1


def test_changes_are_told_and_nothing_else() -> None:
    told = []
    store = MemoryStore(15, Limits(), changed=lambda: told.append(store.state().version))
    peer = Announcer("p", hint=4000)
    tell(store, peer, peer.own("a", "x"))
    assert told
    count = len(told)
    store.announce(peer.renewal(), Where("10.0.0.1", "10.0.0.1", "http://10.0.0.1:7000"))
    assert len(told) == count
    assert store.hints() == (store.state().version, [("10.0.0.1", 4000)])


def test_hints_end_when_they_are_told_to() -> None:
    hints = Hints(lambda: ("v", []))
    hints.start()
    hints.changed()
    hints.stop()
    assert hints.sent == 0
