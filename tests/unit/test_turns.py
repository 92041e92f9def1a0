"""Whose answer is sent: played in simulated time over a link that all answers share, as TCP does it."""

from dataclasses import dataclass, field

import pytest

from peer.data.turns import CONTENTS, CRAWLING, LONG, RECENT, SLOTS, WATCHED, Given, Part, Turn, Turns
from peer.swarm.plan import RUN

MIB = 1 << 20


def begin(turns: Turns, asker: str, count: int, size: int = MIB, now: float = 0.0) -> list[Turn]:
    asked = [turns.ask(asker, size) for _ in range(count)]
    turns.advance(now)
    return asked


def under_way(asked: list[Turn]) -> int:
    return sum(turn.begun for turn in asked)


def test_one_asker_alone_has_all_slots() -> None:
    turns = Turns()
    asked = begin(turns, "a", 20)
    assert under_way(asked) == SLOTS
    assert (turns.sent, turns.waiting) == (SLOTS, 20 - SLOTS)
    turns.end(asked[0], 1.0)
    assert turns.advance(1.0) == [asked[SLOTS]]


def test_many_connections_have_no_more_than_one() -> None:
    turns = Turns()
    modest = begin(turns, "modest", 1)
    greedy = begin(turns, "greedy", 16)
    assert under_way(modest) == under_way(greedy) == 1
    third = begin(turns, "third", 4)
    assert under_way(third) == 1


def test_whoever_asked_just_now_still_counts_and_then_does_not() -> None:
    turns = Turns()
    modest = begin(turns, "modest", 1)
    greedy = begin(turns, "greedy", 16)
    turns.end(modest[0], 1.0)
    turns.advance(1.0 + RECENT / 2)
    assert under_way(greedy) == 1
    turns.advance(1.0 + 1.1 * RECENT)
    assert under_way(greedy) == SLOTS


def test_the_next_is_who_has_least_then_who_waited_longest_then_the_smallest() -> None:
    turns = Turns(slots=2)
    first, second = begin(turns, "a", 1)[0], begin(turns, "b", 1)[0]
    large, small = turns.ask("c", 4 * MIB), turns.ask("c", 100_000)
    turns.end(first, 1.0)
    again = turns.ask("a", MIB)
    assert turns.advance(1.0) == [small]
    turns.end(second, 2.0)
    assert turns.advance(2.0) == [again], "c has one under way"
    turns.end(small, 3.0)
    assert turns.advance(3.0) == [large]


def test_what_was_given_least_often_goes_first() -> None:
    """Of the readers that want the same piece one has it from here; each piece goes out once before any goes twice."""
    turns = Turns(slots=1)
    first = turns.ask("a", MIB, Part("cid", 0, 1))
    assert turns.advance(0.0) == [first]
    again, same, other = (turns.ask(asker, MIB, Part("cid", n, n + 1)) for asker, n in (("b", 0), ("c", 0), ("d", 1)))
    elsewhere = turns.ask("e", MIB, Part("other cid", 0, 1))
    order = []
    now = first
    for time in range(1, 5):
        turns.end(now, time)
        (now,) = turns.advance(time)
        order.append(now)
    assert order == [other, elsewhere, again, same]


def test_who_comes_late_to_a_crowd_is_not_last_for_ever() -> None:
    """It wants what all others had long ago, of peers that are busy with giving each other the rest."""
    turns = Turns(slots=1)
    for _ in range(5):
        first = turns.ask("a", MIB, Part("cid", 0, 1, whole=False))
        turns.advance(0.0)
        turns.end(first, 0.0)
    served, late = None, turns.ask("late", MIB, Part("cid", 0, 1, whole=False))
    for time in range(1, 20):
        others = [turns.ask(asker, MIB, Part("cid", time, time + 1, whole=False)) for asker in ("b", "c", "d")]
        for _ in others:
            (served,) = turns.advance(time)
            if served is late:
                return
            turns.end(served, time)
    raise AssertionError("it was never served")


def test_the_run_that_has_a_piece_that_was_given_waits() -> None:
    turns = Turns(slots=1)
    first = turns.ask("a", MIB, Part("cid", 3, 5))
    turns.advance(0.0)
    long, short = turns.ask("b", MIB, Part("cid", 0, 4)), turns.ask("c", MIB, Part("cid", 0, 3))
    turns.end(first, 1.0)
    assert turns.advance(1.0) == [short]
    assert not long.begun


def test_what_was_given_is_remembered_of_the_contents_given_last() -> None:
    given = Given()
    for number in range(CONTENTS + 1):
        given.add(Part(f"cid {number}", 0, 2))
        given.add(Part("always", 1, 2))
    assert given.times(Part("always", 0, 1)) == 0
    assert given.times(Part("always", 0, 9)) == CONTENTS + 1
    assert given.times(Part("cid 0", 0, 2)) == given.times(Part("cid 1", 0, 2)) == 0
    assert given.times(Part(f"cid {CONTENTS}", 0, 2)) == 1
    for _ in range(300):
        given.add(Part("often", 0, 1))
    assert given.times(Part("often", 0, 1)) == 255


def test_who_gives_up_waiting_is_forgotten() -> None:
    turns = Turns(slots=1)
    first, second = begin(turns, "a", 2)
    turns.end(second, 0.5)
    assert turns.waiting == 0
    turns.end(first, 1.0)
    assert turns.advance(1.0) == []


def test_a_long_answer_lets_others_go_first_and_goes_on() -> None:
    turns = Turns(slots=1)
    long = begin(turns, "a", 1)[0]
    assert turns.again(long, 1.0) is long, "nobody waits"
    other = turns.ask("b", MIB)
    later = turns.again(long, 2.0)
    assert later is not long
    assert turns.advance(2.0) == [other]
    turns.end(other, 3.0)
    assert turns.advance(3.0) == [later]


# -- over a link -------------------------------------------------------------------------------------------------------


@dataclass
class Reader:
    """Connections that ask for `size` bytes again and again; of each `speed` bytes a second are taken at most."""

    name: str
    connections: int
    size: int = 4 * MIB
    speed: float = 1e12
    got: float = 0.0
    cut: int = 0
    waited: float = 0.0
    """The longest that it had nothing under way, though it wanted."""
    asked: dict[int, Turn] = field(default_factory=dict)
    left: dict[Turn, float] = field(default_factory=dict)
    since: float = 0.0


def play(readers: list[Reader], link: float, seconds: float, step: float = 0.05) -> Turns:
    """All answers under way share the link; what one cannot take the others have."""
    turns = Turns()
    now = 0.0
    while now < seconds:
        for reader in readers:
            for number in range(reader.connections):
                if number not in reader.asked:
                    turn = reader.asked[number] = turns.ask(reader.name, reader.size)
                    reader.left[turn] = reader.size
        turns.advance(now)
        sending = [(reader, turn) for reader in readers for turn in reader.asked.values() if turn.begun]
        spare, open_ = link * step, sorted(sending, key=lambda pair: pair[0].speed)
        for place, (reader, turn) in enumerate(open_):
            part = min(spare / (len(open_) - place), reader.speed * step, reader.left[turn])
            spare -= part
            turn.moved += int(part)
            reader.left[turn] -= part
            reader.got += part
        now += step
        for reader in readers:
            if any(turn.begun for turn in reader.asked.values()):
                reader.since = now
            reader.waited = max(reader.waited, now - reader.since)
            for number, turn in list(reader.asked.items()):
                if turn.begun and (turn.cut or reader.left[turn] <= 0):
                    reader.cut += turn.cut
                    turns.end(turn, now)
                    del reader.asked[number], reader.left[turn]
    return turns


@pytest.mark.parametrize("modest_size", [300_000, 4 * MIB])
@pytest.mark.parametrize("link", [1.5e6, 12e6, 100e6])
def test_a_saturated_link_is_shared_between_askers(link: float, modest_size: int) -> None:
    modest, greedy = Reader("modest", 1, modest_size), Reader("greedy", 16)
    seconds = 60e6 / link
    play([modest, greedy], link, seconds, 30_000 / link)
    assert 1 / 1.5 <= greedy.got / modest.got <= 1.5
    assert greedy.got + modest.got >= 0.9 * link * seconds


def test_what_a_slow_reader_leaves_is_for_the_others() -> None:
    slow, fast = Reader("slow", 1, speed=300_000), Reader("fast", 16)
    play([slow, fast], 12e6, 20, 0.005)
    assert fast.got >= 0.95 * (12e6 - 300_000) * 20


def test_a_crowd_is_served_few_at_a_time_and_everybody_in_turn() -> None:
    crowd = [Reader(f"r{n}", 2) for n in range(100)]
    turns = play(crowd, 12e6, 120)
    assert turns.sent <= SLOTS
    assert min(reader.got for reader in crowd) >= 0.5 * max(reader.got for reader in crowd)
    assert sum(reader.cut for reader in crowd) == 0


@pytest.mark.parametrize("crawlers", [1, 64])
def test_who_reads_slowly_holds_up_nobody(crawlers: int) -> None:
    """Be it one address with many connections, or many with one."""
    slow = [Reader(f"s{n}", 64 // crawlers, speed=2_000) for n in range(crawlers)]
    good = Reader("good", 2)
    play([*slow, good], 12e6, 120)
    assert good.waited <= WATCHED * (1 + crawlers / SLOTS), "after them all, once, at the worst"
    assert good.got >= 0.5 * 12e6 * 120


def test_slow_links_are_not_cut_when_they_are_all_as_slow() -> None:
    """The link itself is slow: to cut answers would help nobody."""
    crowd = [Reader(f"r{n}", 1) for n in range(100)]
    turns = play(crowd, 1e6, 60)
    assert turns.sent <= CRAWLING * SLOTS
    assert sum(reader.cut for reader in crowd) == 0


def test_a_readers_run_fits_into_one_turn() -> None:
    assert RUN <= LONG
