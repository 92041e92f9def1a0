"""Who asks for what: remembered for a while and within bounds, named to others, told to the peer."""

import threading
from collections.abc import Callable

import pytest

from peer import bitmap
from peer.data import askers as module
from peer.data.askers import ASKERS, CONTENTS, LATELY, PENDING, Askers
from peer.messages import Heard
from peer.news import MOST, READERS, News
from tests.support.patience import within

CID, OTHER = "c" * 64, "d" * 64
HERE = "192.0.2.7"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def askers(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Askers:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    return Askers(clock)


def ask(askers: Askers, *ids: str, cid: str = CID) -> None:
    for id in ids:
        askers.asked(cid, HERE, News(id), False)


def tell(askers: Askers, id: str, pieces: int, want: tuple[int, int] = (0, 0), address: str = HERE) -> None:
    """A request for a download that is under way here."""
    askers.asked(CID, address, News(id, want, pieces), True)


def named(askers: Askers) -> set[str]:
    return set(askers.others(CID, "", set()))


def flushed(askers: Askers) -> list[Heard]:
    """What the peer is told next; there must be something."""
    found: list[Heard] = []
    within(10, askers.flush, found.append)
    return found


def pieces_in(heard: Heard) -> int:
    return bitmap.from_wire(heard.pieces, 8 * len(heard.pieces)) << heard.first


# -- named to others ---------------------------------------------------------------------------------------------------


def test_nobody_is_named_to_himself_nor_twice_nor_for_another_content(askers: Askers) -> None:
    ask(askers, "a", "b", "c")
    ask(askers, "x", cid=OTHER)
    assert askers.others(CID, "b", {"c"}) == ["a"]
    assert askers.others(OTHER, "a", set()) == ["x"]
    assert askers.others("e" * 64, "a", set()) == []


def test_who_asked_long_ago_reads_no_more(askers: Askers, clock: Clock) -> None:
    ask(askers, "old", "both")
    clock.now += LATELY / 2
    ask(askers, "new", "both")
    clock.now += LATELY / 2
    assert named(askers) == {"both", "new", "old"}, "just so long is not too long"
    clock.now += 0.1
    assert named(askers) == {"both", "new"}
    clock.now += LATELY
    assert askers.others(CID, "", set()) == []


def test_so_many_are_named_at_a_time_and_the_others_the_next_time(askers: Askers) -> None:
    ids = [f"{number:064x}" for number in range(3 * READERS)]
    ask(askers, *ids)
    known: set[str] = set()
    told: list[str] = []
    for _ in range(3):
        some = askers.others(CID, "", known)
        assert len(some) == READERS
        known.update(some)
        told += some
    assert sorted(told) == ids
    assert told not in (ids, ids[::-1]), "any of them, or those who came together would know each other only"
    assert askers.others(CID, "", known) == []


def test_who_does_not_say_who_he_is_is_nobody(askers: Askers) -> None:
    askers.asked(CID, HERE, News("", (0, 5), 7), True)
    assert askers.others(CID, "", set()) == []
    tell(askers, "a", 1)
    assert [heard.peer for heard in flushed(askers)] == ["a"]


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_of_many_contents_those_that_were_not_asked_for_longest_are_forgotten(askers: Askers) -> None:
    cids = [f"{number:064x}" for number in range(CONTENTS)]
    for cid in cids:
        ask(askers, "a", cid=cid)
    ask(askers, "b", cid=cids[0])
    for number in range(5):
        ask(askers, "a", cid=f"more {number}")
    left = [cid for cid in cids if askers.others(cid, "", set())]
    assert left == [cids[0], *cids[6:]]


def test_of_many_askers_the_earliest_are_forgotten(askers: Askers) -> None:
    ask(askers, *(str(number) for number in range(CONTENTS)))
    ask(askers, "0")
    ask(askers, "new", "newer")
    known = {str(number) for number in range(3, CONTENTS)}
    assert set(askers.others(CID, "", known)) == {"newer", "new", "0"}


def test_many_askers_of_many_contents_are_not_remembered_all(askers: Askers) -> None:
    """Both bounds at once would make a quarter of a GB of ids that anybody may claim."""
    cids = [f"{number:064x}" for number in range(20)]
    each = ASKERS // 16
    for cid in cids:
        ask(askers, *(str(number) for number in range(each)), cid=cid)
        ask(askers, "0", "1", cid=cid)  # again, which counts once
    assert [cid for cid in cids if askers.others(cid, "", set())] == cids[-16:]
    assert len(askers.others(cids[-1], "", set())) == READERS
    ask(askers, *(str(number) for number in range(each, 2 * each)), cid=cids[-1])
    assert [cid for cid in cids if askers.others(cid, "", set())] == cids[-16:], "its own earliest went for these"


def test_of_many_news_that_wait_the_oldest_are_dropped(askers: Askers) -> None:
    for number in range(PENDING):
        tell(askers, str(number), 1)
    tell(askers, "0", 2)
    tell(askers, "new", 4)
    found = {heard.peer: pieces_in(heard) for heard in flushed(askers)}
    assert len(found) == PENDING
    assert "1" not in found
    assert (found["0"], found["2"], found["new"]) == (3, 1, 4)


# -- told to the peer --------------------------------------------------------------------------------------------------


def test_what_one_told_since_is_told_at_once_and_once(askers: Askers) -> None:
    tell(askers, "a", 0b0011, (4, 9))
    tell(askers, "b", 1 << 19, (0, 0))
    tell(askers, "a", 0b1000 << 16, (6, 9))
    a, b = sorted(flushed(askers), key=lambda heard: heard.peer)
    assert (a.cid, a.peer, a.address, a.want) == (CID, "a", HERE, (6, 9)), "what is wanted is what was said last"
    assert pieces_in(a) == 0b0011 | 0b1000 << 16
    assert (b.want, b.first, pieces_in(b)) == ((0, 0), 16, 1 << 19)
    tell(askers, "a", 0b0100)
    assert [pieces_in(heard) for heard in flushed(askers)] == [0b0100]


def test_who_has_nothing_yet_is_told_of_too(askers: Askers) -> None:
    tell(askers, "a", 0, (0, 9))
    assert flushed(askers) == [Heard(CID, "a", HERE, (0, 9), 0, b"")]


def test_of_what_is_whole_here_nobody_has_to_be_told(askers: Askers) -> None:
    askers.asked(CID, HERE, News("whole", (0, 5), 7), False)
    tell(askers, "part", 1)
    assert [heard.peer for heard in flushed(askers)] == ["part"]
    assert named(askers) == {"part", "whole"}


def test_one_id_at_two_addresses_is_two(askers: Askers) -> None:
    """Else who claims another's id would put words into its mouth: the address says who is believed."""
    tell(askers, "a", 0b01, (0, 2))
    tell(askers, "a", 0b10, (7, 9), "192.0.2.66")
    told = {heard.address: (pieces_in(heard), heard.want) for heard in flushed(askers)}
    assert told == {HERE: (0b01, (0, 2)), "192.0.2.66": (0b10, (7, 9))}


def test_a_message_is_short_however_far_apart_the_pieces_are(askers: Askers) -> None:
    tell(askers, "a", 1 << 77)
    tell(askers, "a", 1 << 5_000_000)
    (heard,) = flushed(askers)
    assert len(heard.pieces) <= 8 * MOST
    assert pieces_in(heard) == 1 << 77, "the rest is said again"


def test_it_waits_until_there_is_something(askers: Askers) -> None:
    found: list[Heard] = []
    waiting = threading.Thread(target=askers.flush, args=(found.append,), daemon=True)
    waiting.start()
    ask(askers, "whole")
    waiting.join(0.1)
    assert waiting.is_alive()
    tell(askers, "a", 1)
    waiting.join(10)
    assert [heard.peer for heard in found] == ["a"]
    again = threading.Thread(target=askers.flush, args=(found.append,), daemon=True)
    again.start()
    again.join(0.1)
    assert again.is_alive(), "it was told"
    tell(askers, "b", 1)
    again.join(10)


def test_when_the_peer_cannot_be_told_that_is_said_and_the_next_news_go_on(askers: Askers) -> None:
    def refuse(fails: int) -> Callable[[Heard], None]:
        def tell(heard: Heard) -> None:
            told.append(heard.peer)
            if len(told) > fails:
                raise BrokenPipeError

        return tell

    told: list[str] = []
    for id in "abc":
        tell(askers, id, 1)
    with pytest.raises(BrokenPipeError):
        within(10, askers.flush, refuse(1))
    assert told == ["a", "b"]
    tell(askers, "d", 1)
    assert [heard.peer for heard in flushed(askers)] == ["d"]
    assert named(askers) == {"a", "b", "c", "d"}


def test_nothing_is_lost_between_those_who_ask_and_who_tells(askers: Askers) -> None:
    told: dict[str, int] = {}
    each, threads = 200, 4

    def flush() -> None:
        while sum(map(int.bit_count, told.values())) < each * threads:
            askers.flush(lambda heard: told.update({heard.peer: told.get(heard.peer, 0) | pieces_in(heard)}))

    def run(id: str) -> None:
        for number in range(each):
            tell(askers, id, 1 << number)

    asking = [threading.Thread(target=run, args=(str(number),)) for number in range(threads)]
    telling = threading.Thread(target=flush, daemon=True)
    for thread in (telling, *asking):
        thread.start()
    telling.join(20)
    assert told == {str(number): bitmap.span(0, each) for number in range(threads)}
