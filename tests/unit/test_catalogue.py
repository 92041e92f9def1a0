import threading
import time

import pytest
from msgspec.structs import replace

import peer.catalogue.catalogue as catalogue_module
from peer.catalogue.catalogue import Catalogue
from peer.catalogue.checks import check_peer
from peer.catalogue.holders import Directory
from peer.catalogue.own import OwnShare
from peer.catalogue.trackers import Trackers
from peer.catalogue.tree import File, Folder
from peer.messages import Seen, Supersede
from peer.share.rows import Row
from shoal.errors import DataError, Unreachable
from shoal.manifest import DIR_CID, NOTHING_CID, link_cid
from shoal.wire import Changes, Entry, Holders, Owner, PeerRow
from tests.support.index_fake import FakeIndex

ME, ANNA, BEN = "0" * 64, "a" * 64, "b" * 64
ROWS = [PeerRow(ANNA, "anna", "http://10.0.0.1:7000"), PeerRow(BEN, "ben", "http://10.0.0.2:7000")]
_versions = iter(range(1, 10**6))


def entry(digit: str, mtime: int = 1, **owners: int) -> Entry:
    ids = {"me": ME, "anna": ANNA, "ben": BEN}
    held = tuple(Owner(ids[name], name, rev) for name, rev in owners.items())
    return Entry(digit * 64, 10, mtime, digit * 40, owners=held, holders=tuple(owner.id for owner in held))


def row(path: str, digit: str, kind: str = "own", **revs: int) -> Row:
    ids = {"me": ME, "anna": ANNA, "ben": BEN}
    cid = NOTHING_CID if kind == "nothing" else digit * 64
    return Row(path, cid, kind, 10, 5, digit * 40, revs={ids[name]: rev for name, rev in revs.items()})


def page(*paths: tuple[str, list[Entry]], settling=False, more=False, peers=(), withdrawn=None) -> Changes:
    return Changes(f"v.{next(_versions)}", settling, more, list(peers), list(paths), withdrawn or {})


@pytest.fixture
def catalogue() -> Catalogue:
    catalogue = Catalogue(ME, "me")
    catalogue.apply(page(peers=ROWS))
    return catalogue


def shown(catalogue: Catalogue) -> dict[str, str]:
    return {path: file.entry.cid[0] for path, file in catalogue.walk()}


def test_the_tree_is_found_by_shown_path(catalogue):
    catalogue.apply(page(("a/b/c.txt", [entry("1", 7, anna=1), entry("2", 9, ben=1)]), ("a/b", [entry("3", ben=1)])))
    assert shown(catalogue) == {"a/b/c.txt": "2", "a/b/c~anna.txt": "1", "a/b~ben": "3"}
    found = catalogue.find("a/b/c~anna.txt")
    assert isinstance(found, File)
    assert (found.name, found.path, found.entry) == ("c~anna.txt", "a/b/c.txt", entry("1", 7, anna=1))
    folder = catalogue.find("a/b")
    assert isinstance(folder, Folder)
    assert (folder.name, folder.path, folder.mtime) == ("b", "a/b", 9)
    assert set(folder.children) == {"c.txt", "c~anna.txt"}
    assert folder.children is folder.children, "computed once until the folder changes"
    assert catalogue.find("a/b/no") is None
    assert catalogue.find("a/b/c.txt/x") is None
    assert catalogue.find("") is catalogue.find("")
    assert [e.cid[0] for e in catalogue.entries("a/b/c.txt")] == ["2", "1"]
    assert catalogue.totals() == (3, 30)


def test_a_name_that_another_path_has_is_not_taken_from_it(catalogue):
    catalogue.apply(page(("a", [entry("1", 1, anna=1), entry("2", 2, ben=1)]), ("a~anna", [entry("3", ben=1)])))
    assert shown(catalogue) == {"a": "2", "a~anna": "3", "a~anna-aaaa": "1"}


def test_a_path_that_is_none_is_skipped_also_when_nothing_is_there(catalogue):
    catalogue.apply(page(("../x", []), withdrawn={"../x": {ANNA: 1}}))
    assert catalogue.skipped == 1


def test_folders_vanish_with_their_last_entry(catalogue):
    empty = Entry(DIR_CID, 0, 4, holders=(ANNA,))
    catalogue.apply(page(("a/b/c", [entry("1", 7, anna=1)]), ("d/e", [empty])))
    assert isinstance(catalogue.find("d/e"), Folder)
    assert catalogue.find("d/e").mtime == 4
    catalogue.apply(page(("a/b/c", []), ("d/e", [])))
    assert list(catalogue.find("").children) == []
    assert catalogue.totals() == (0, 0)


def test_the_mtime_of_a_folder_goes_back_with_its_newest_file(catalogue):
    catalogue.apply(page(("a/b/c", [entry("1", 7, anna=1)]), ("a/d", [entry("2", 3, anna=1)])))
    assert catalogue.find("").mtime == 7
    catalogue.apply(page(("a/b/c", [])))
    assert (catalogue.find("").mtime, catalogue.find("a").mtime) == (3, 3)
    catalogue.apply(page(("a/d", [entry("2", 9, anna=1)])))
    assert catalogue.find("").mtime == 9


def test_a_directory_listing_does_not_change_under_its_reader(catalogue):
    catalogue.apply(page(("a", [entry("1", anna=1)]), ("b", [entry("2", anna=1)])))
    children = catalogue.find("").children
    catalogue.apply(page(("a", []), ("c", [entry("3", anna=1)])))
    assert sorted(children) == ["a", "b"]
    assert children["a"].entry.cid == "1" * 64
    assert sorted(catalogue.find("").children) == ["b", "c"]


def test_shown_names_follow_who_is_alive(catalogue):
    catalogue.apply(page(("a", [entry("1", 1, anna=1, ben=1), entry("2", 2, ben=2)])))
    assert set(shown(catalogue)) == {"a", "a~anna"}
    catalogue.apply(page(peers=[PeerRow(ANNA, "anna", "")]))
    assert set(shown(catalogue)) == {"a", "a~ben"}
    assert isinstance(catalogue.find("a~ben"), File)


@pytest.mark.parametrize(
    ("path", "bad"),
    [
        ("../x", entry("1", anna=1)),
        ("/etc/x", entry("1", anna=1)),
        (".shoal/identity", entry("1", anna=1)),
        ("a\x1b[2J", entry("1", anna=1)),
        ("ok", Entry(link_cid("../../etc"), 0, 1, link="../../etc")),
        ("ok", Entry(link_cid("x"), 0, 1, link="y")),
        ("ok", Entry(NOTHING_CID, 0, 1)),
        ("ok", Entry("1" * 64, 1, 1)),
        ("ok", Entry("1" * 64, None, 1, "1" * 40)),
        ("ok", Entry("1" * 64, 1, 1, "1" * 40, owners=(Owner(ANNA, "../..", 1),))),
        ("ok", Entry("1" * 64, 1, 1, "1" * 40, holders=(ANNA,) * 1000)),
        ("ok", Entry("1" * 64, 1, 1, "1" * 40, owners=tuple(Owner(f"{n:064x}", "n", 1) for n in range(65)))),
    ],
)
def test_what_a_lying_tracker_lists_is_skipped_and_counted(catalogue, path, bad):
    catalogue.apply(page((path, [bad]), ("good", [entry("2", anna=1)])))
    assert shown(catalogue) == {"good": "2"}
    assert catalogue.skipped == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254:80",
        "http://224.0.0.1:80",
        "http://0.0.0.0:80",
        "http://[fe80::1]:80",
        "http://[::ffff:169.254.169.254]:80",
        "http://100.100.100.200:80",
        "http://[fd00:ec2::254]:80",
        "http://255.255.255.255:80",
        "http://240.0.0.1:80",
        "http://10.0.0.1",
        "http://:80",
    ],
)
def test_addresses_at_which_no_peer_can_be_are_skipped(catalogue, url):
    with pytest.raises(DataError):
        check_peer(PeerRow("c" * 64, "cara", url))
    catalogue.apply(page(peers=[PeerRow("c" * 64, "cara", url)]))
    assert catalogue.peer("c" * 64) is None
    assert catalogue.skipped == 1


def test_what_a_tracker_lists_beyond_measure_is_skipped(catalogue, monkeypatch):
    monkeypatch.setattr(catalogue_module, "MAX_PATHS", 3)
    monkeypatch.setattr(catalogue_module, "MAX_PEERS", 3)
    listed = [(name, [entry("1", anna=1)]) for name in "abcd"]
    catalogue.apply(page(*listed, withdrawn={"a": {ANNA: 1}}, peers=[PeerRow(c * 64, c, "http://h:1") for c in "cd"]))
    assert set(shown(catalogue)) == {"a", "b"}, "what was withdrawn counts as well"
    assert catalogue.skipped == 2
    assert [row.id[0] for row in catalogue.peers()] == ["a", "b", "c"]
    catalogue.apply(page(("a", [entry("2", anna=2)]), peers=[PeerRow(BEN, "ben", "http://h:2")]))
    assert shown(catalogue)["a"] == "2", "what is known is followed"
    assert catalogue.peer(BEN).url == "http://h:2"


def test_peers_names_are_safe_and_their_own(catalogue):
    catalogue.apply(page(peers=[PeerRow("c" * 64, "a/b", "http://h:1"), PeerRow("d" * 64, "anna", "http://h:1")]))
    assert catalogue.skipped == 1
    assert catalogue.peer_names() == {"me": ME, "anna": ANNA, "ben": BEN, "anna-dddd": "d" * 64}
    assert [each.id for each in catalogue.peers()] == [ANNA, BEN, "d" * 64]


def test_one_s_own_share_is_there_without_any_tracker():
    catalogue = Catalogue(ME, "me")
    catalogue.apply_rows([row("a", "1", me=3), row("b", "2", "copy", anna=4), row("c", "3", "partial", anna=1)])
    assert shown(catalogue) == {"a": "1", "b": "2"}
    assert catalogue.entries("a")[0].owners == (Owner(ME, "me", 3),)
    assert catalogue.entries("b")[0].owners == (Owner(ANNA, "aaaaaaaa", 4),)
    assert catalogue.entries("b")[0].holders == (ME,)
    assert not catalogue.known
    catalogue.apply_rows([row("a", "1", "gone")])
    assert shown(catalogue) == {"b": "2"}


def test_what_is_mine_and_the_tracker_s_is_one_entry(catalogue):
    catalogue.apply_rows([row("a", "1", me=3)])
    listed = entry("1", 77, me=3, ben=1)
    catalogue.apply(page(("a", [listed])))
    assert catalogue.entries("a") == (listed,)
    catalogue.apply(page(("a", [])))
    assert catalogue.entries("a")[0].mtime == 5, "delisted, it is still here"


def test_a_copy_of_a_seed_s_file_is_the_same_entry(catalogue):
    catalogue.apply(page(("a", [Entry("", None, 9, "1" * 40, owners=(Owner(ANNA, "anna", 1),))])))
    catalogue.apply_rows([row("a", "1", "copy", anna=1)])
    (one,) = catalogue.entries("a")
    assert (one.cid, one.size, one.mtime) == ("1" * 64, 10, 9)


def test_what_i_replaced_is_gone_at_once(catalogue):
    catalogue.apply_rows([row("a", "1", me=3)])
    catalogue.apply(page(("a", [entry("1", me=3)]), ("b", [entry("2", me=1, anna=1)])))
    catalogue.apply_rows([row("a", "1", "gone"), row("a", "9", me=4), row("b", "2", "gone")])
    assert shown(catalogue) == {"a": "9", "b": "2"}


def test_a_superseded_copy_is_not_shown_and_comes_back(catalogue):
    catalogue.apply_rows([row("a", "1", "copy", anna=4)])
    catalogue.apply(page(("a", [entry("2", 1, anna=5)])))
    assert shown(catalogue) == {"a": "2"}
    assert not catalogue.listed("a", "1" * 64)
    catalogue.apply(page(("a", [])))
    assert shown(catalogue) == {"a": "1"}
    # Somebody else's version does not supersede it, nor does what the tracker has not got yet.
    catalogue.apply(page(("a", [entry("3", 1, ben=9)])))
    assert sorted(shown(catalogue).values()) == ["1", "3"]


def test_a_withdrawn_copy_is_not_shown(catalogue):
    catalogue.apply_rows([row("a", "1", "copy", anna=4)])
    catalogue.apply(page(("a", []), withdrawn={"a": {ANNA: 5}}))
    assert shown(catalogue) == {}
    catalogue.apply(page(("a", [])))
    assert shown(catalogue) == {"a": "1"}


def test_starting_over_keeps_what_is_shown_until_the_last_page(catalogue):
    catalogue.apply(page(("a", [entry("1", anna=1)]), ("b/c", [entry("2", anna=1)])))
    catalogue.start_over()
    assert (catalogue.version, catalogue.settled) == ("", False)
    catalogue.apply(page(("b/c", [entry("2", anna=1)]), more=True, peers=[ROWS[0]]))
    assert set(shown(catalogue)) == {"a", "b/c"}
    told = []
    catalogue.changed_by(lambda changed: told.append(set(changed.paths)))
    catalogue.apply(page())
    assert set(shown(catalogue)) == {"b/c"}
    assert told == [{"a"}]
    assert catalogue.peer(BEN) is None
    assert catalogue.settled


def test_what_a_settling_catalogue_lacks_is_unknown(catalogue):
    catalogue.apply(page(("a", [entry("1", anna=1)]), ("b", [entry("2", anna=1)])))
    catalogue.start_over()
    catalogue.apply(page(("c", [entry("3", ben=1)]), settling=True))
    assert catalogue.known and not catalogue.settled
    assert set(shown(catalogue)) == {"a", "b", "c"}
    catalogue.apply(page(("c", []), ("b", [entry("9", anna=2)]), settling=True, peers=[ROWS[0]]))
    assert shown(catalogue) == {"a": "1", "b": "9", "c": "3"}, "only what its owner replaced goes"
    catalogue.apply(page(("a", [entry("1", anna=1)]), settling=True))
    catalogue.apply(page())
    assert set(shown(catalogue)) == {"a", "b"}
    assert catalogue.settled


def test_peer_folders_follow(catalogue):
    catalogue.apply(page(("a/b", [entry("1", 1, anna=1), entry("2", 2, ben=1)])))
    folder = catalogue.peer_folder("anna")
    assert folder.children["a"].children["b"].entry.cid == "1" * 64
    catalogue.apply(page(("c", [entry("3", anna=1)])))
    assert set(folder.children) == {"a", "c"}
    assert catalogue.peer_folder("nobody") is None
    catalogue.apply(page(peers=[PeerRow(ANNA, "anna", "")]))
    assert catalogue.peer_folder("anna") is None


def test_duties(catalogue):
    index = FakeIndex()
    sent = []
    own = OwnShare(catalogue, index, sent.append)
    for each in (
        row("seen", "1", me=3),
        row("old", "1", "copy", anna=4),
        row("old", "2", "copy", anna=5),
        row("newer elsewhere", "1", "copy", anna=4),
        row("both", "1", "copy", anna=4, ben=2),
        row("both", "2", "copy", anna=5),
        row("withdrawn", "1", "copy", anna=4),
        row("mine beside it", "1", "copy", anna=4),
        row("mine beside it", "2", me=4),
        row("withdrawn beside it", "1", "copy", anna=4),
        row("half withdrawn", "1", "copy", anna=4, ben=4),
        row("put there again", "1", "copy", anna=4),
    ):
        index.put(each)
    own.update()
    told = [
        ("seen", [entry("9", me=8)]),
        ("old", [entry("2", anna=5)]),
        ("newer elsewhere", [entry("2", anna=5)]),
        ("both", [entry("2", anna=5)]),
        ("withdrawn", []),
        ("mine beside it", [entry("2", me=4)]),
        ("withdrawn beside it", [entry("2", ben=4)]),
        ("half withdrawn", [entry("2", ben=5)]),
        ("put there again", [entry("1", anna=6)]),
    ]
    catalogue.start_over()
    withdrawn = {path: {ANNA: 7} for path in ("withdrawn beside it", "half withdrawn")}
    withdrawn["withdrawn"] = {ANNA: 7, BEN: 9}
    catalogue.apply(page(*told, settling=True, withdrawn=withdrawn))
    own.look_at_all()
    assert sent == [], "nothing is done while it settles"
    catalogue.apply(page(*told, withdrawn=withdrawn))
    own.look_at_all()
    assert sorted(sent, key=str) == [
        Seen("seen", 8),
        Supersede("old", "1" * 64),
        Supersede("withdrawn beside it", "1" * 64, {ANNA: 7}),
        Supersede("withdrawn", "1" * 64, {ANNA: 7}),
    ]
    assert catalogue.higher_rev("seen") == 8
    assert catalogue.higher_rev("old") == -1
    # The newer version arrives here: now the older one may go.
    sent.clear()
    index.put(row("newer elsewhere", "2", "copy", anna=5))
    own.update()
    assert sent == [Supersede("newer elsewhere", "1" * 64)]


class _NoClient:
    def get(self, *_, **__):
        raise Unreachable("nobody there")


def test_holders_are_living_and_never_oneself(catalogue):
    catalogue.apply(page(peers=[PeerRow(ME, "me", "http://10.0.0.3:7000")]))
    directory = Directory(catalogue, Trackers(["http://t:1"], _NoClient()), _NoClient())
    known = Entry("1" * 64, 1, 1, "1" * 40, holders=(ME, BEN, "f" * 64), owners=(Owner(ANNA, "anna", 1),))
    assert [peer.name for peer in directory.find_holders("a", known, False)] == ["ben", "anna"]
    assert [peer.name for peer in directory.find_holders("a", known, True)] == ["ben", "anna"]


class _LyingClient:
    def get(self, *_, **__):
        unfit = [
            PeerRow("c" * 64, "cara", "http://169.254.169.254:80"),
            PeerRow("d" * 64, "a/b", "http://10.0.0.4:7000"),
            PeerRow("e" * 64, "eve", ""),
        ]
        return Holders("1" * 64, [*unfit, PeerRow("f" * 64, "fay", "http://10.0.0.5:7000")], unfit)


def test_holders_that_a_lying_tracker_names_are_left_out_if_none_can_be_there(catalogue):
    directory = Directory(catalogue, Trackers(["http://t:1"], _LyingClient()), _LyingClient())
    wanted = Entry("1" * 64, 1, 1, "1" * 40)
    assert [peer.name for peer in directory.find_holders("a", wanted, True)] == ["fay"]


def test_readers_wait_for_a_moment_only(catalogue):
    many = [(f"d{n % 50}/f{n}", [entry("1", n, anna=1)]) for n in range(10_000)]
    stop = threading.Event()
    longest = 0.0

    def read():
        nonlocal longest
        while not stop.is_set():
            began = time.monotonic()
            catalogue.find("d0/f0")
            longest = max(longest, time.monotonic() - began)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for at in range(0, len(many), 1000):
            catalogue.apply(page(*many[at : at + 1000], more=True))
        catalogue.start_over()
        catalogue.apply(page())
    finally:
        stop.set()
        thread.join()
    assert catalogue.totals() == (0, 0)
    assert longest < 1.0


def test_what_its_owner_here_replaced_is_hidden_before_a_tracker_heard_of_it(catalogue):
    listed = replace(entry("1", me=5), holders=(ME, ANNA))
    catalogue.apply(page(("f", [listed]), ("both", [replace(entry("1", me=5, anna=3), holders=(ME, ANNA))])))
    for path in ("f", "both"):
        catalogue.apply_rows([row(path, "1", me=5)])
        catalogue.apply_rows([row(path, "1", "gone"), row(path, "2", me=6)])
    # Another owner of the same bytes did not move on.
    assert shown(catalogue) == {"f": "2", "both": "2", "both~me": "1"}
    catalogue.apply_rows([row("f", "2", "gone")])  # removed, which withdraws one's own holding and no more
    assert shown(catalogue)["f"] == "1"


def test_a_listed_version_with_a_higher_rev_than_ones_own_stays_shown(catalogue):
    catalogue.apply(page(("f", [replace(entry("1", me=7), holders=(ANNA,))])))
    catalogue.apply_rows([row("f", "2", me=6)])
    assert sorted(shown(catalogue).values()) == ["1", "2"]
