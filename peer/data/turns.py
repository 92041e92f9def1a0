"""Which of the answers that want to be sent are sent now, and which wait. Pure: time is an argument, in seconds.

All forces to weigh; check each of them again when changing anything here:

 1. Few answers at full speed are better than hundreds at a crawl: `slots` of them at a time.
 2. TCP shares a link by connections. So while several askers want something, none has more answers under way than the
    one that wants the fewest: many connections get no more than one.
 3. Who has fewest under way is next; among those (4) decides, then who was served longest ago. Of one asker's answers
    the smallest is next, because somebody waits for it.
 4. What was given least often comes before what others have already: each piece leaves a source once before any leaves
    twice. Who asks for one that another has just been given waits, is told 503, and gets it from that one. Who has a
    content only in part counts to `FEW`: who comes late to a crowd wants what all gave long ago, and would be last
    everywhere, and wait for ever.
 5. Nobody holds up the others by reading slowly: who crawls does not count, and another one is sent beside it. When
    there are `CRAWLING` times as many as there are slots, one who crawls, badly or with more than its share, is cut,
    and is last for a while.
 6. An answer that began is not held up: readers take a pause for a stall. Only a `LONG` one must ask again after every
    `TURN` bytes.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

SLOTS = 8
"""Answers sent at a time, if there is no limit on the rate."""
CRAWLING = 4
LONG = 16 << 20
"""Bytes beyond which an answer is long. A reader's run is not."""
TURN = 4 << 20
"""Bytes after which a long answer asks again."""
WATCHED = 2.0
"""Seconds over which an answer's speed is measured."""
SLOW = 256 << 10
"""Bytes a second below which an answer crawls."""
SLOWEST = 16 << 10
"""Bytes a second below which it is cut when others wait for its place. Readers give up at that speed, too."""
RECENT = 1.0
"""Seconds for which an asker still counts after its last answer: between two requests it is not away."""
REMEMBERED = 60.0
LAST = 30.0
"""Seconds for which one who was cut is after all others."""
CONTENTS = 64
"""Contents of which is known how often each piece was given, at most: those given last."""
FEW = 2
"""Times that a piece was given beyond which it is all the same, where not all of the content is here."""
_MOST = 255


class Part(NamedTuple):
    """The pieces first ≤ n < end of a content, which is here as a `whole` or in part."""

    cid: str
    first: int
    end: int
    whole: bool = True


NO_PART = Part("", 0, 0)


class Given:
    """How often each piece of each content was given, up to 255 times; a byte each."""

    def __init__(self) -> None:
        self._times: OrderedDict[str, bytearray] = OrderedDict()

    def add(self, part: Part) -> None:
        """These pieces are being given."""
        cid, first, end, _ = part
        if first >= end:
            return
        times = self._times.setdefault(cid, bytearray())
        self._times.move_to_end(cid)
        if len(self._times) > CONTENTS:
            self._times.popitem(last=False)
        if len(times) < end:
            times.extend(bytes(end - len(times)))
        for number in range(first, end):
            times[number] = min(_MOST, times[number] + 1)

    def times(self, part: Part) -> int:
        """How often the one of these pieces was given that was given most often, as far as that matters."""
        times = self._times.get(part.cid)
        most = max(times[part.first : part.end], default=0) if times is not None else 0
        return most if part.whole else min(most, FEW)


@dataclass(slots=True, eq=False)
class Turn:
    """One answer of `size` bytes to an asker."""

    asker: str
    size: int
    part: Part = NO_PART
    begun: bool = False
    """It is sent; before that it waits."""
    cut: bool = False
    """It has to end, because it crawls and others wait."""
    moved: int = 0
    """Bytes that its reader took in the time watched; counted by whoever sends it."""
    since: float = 0.0
    """When the time watched began; whoever sends it adds what it had to wait for anything but its reader."""
    slow: bool = False
    speed: float = field(default=0.0)


class Turns:
    """The answers that are sent, and those that wait. Not thread-safe."""

    def __init__(self, slots: int = SLOTS) -> None:
        self.slots = slots
        self._given = Given()
        self._sent: list[Turn] = []
        self._waiting: list[Turn] = []
        self._served: dict[str, float] = {}  # when each asker last had an answer under way, or as if

    @property
    def sent(self) -> int:
        """How many answers are being sent."""
        return len(self._sent)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def ask(self, asker: str, size: int, part: Part = NO_PART) -> Turn:
        """An answer that wants to be sent, see `Turn`; `advance` begins it."""
        turn = Turn(asker, size, part)
        self._waiting.append(turn)
        return turn

    def end(self, turn: Turn, now: float) -> None:
        """The answer is over, or does not want to wait any longer."""
        (self._sent if turn.begun else self._waiting).remove(turn)
        if turn.begun:
            self._served.pop(turn.asker, None)  # so that it becomes the newest
            self._served[turn.asker] = now + LAST if turn.cut else now
            while (oldest := next(iter(self._served))) != turn.asker and self._served[oldest] < now - REMEMBERED:
                del self._served[oldest]

    def again(self, turn: Turn, now: float) -> Turn:
        """The answer had its turn and is not over; the same one, if nobody waits, else one that waits."""
        if not self._waiting:
            return turn
        self.end(turn, now)
        return self.ask(turn.asker, turn.size)  # what it asked for was counted when it began

    def advance(self, now: float) -> list[Turn]:
        """Begins the answers whose turn it is, and says which these are."""
        if not self._waiting:
            return []
        self._watch(now)
        begun = []
        while (turn := self._next(now)) is not None:
            self._waiting.remove(turn)
            turn.begun, turn.since, turn.moved = True, now, 0
            self._sent.append(turn)
            self._given.add(turn.part)
            begun.append(turn)
        self._cut()
        return begun

    def _next(self, now: float) -> Turn | None:
        if sum(not turn.slow for turn in self._sent) >= self.slots or len(self._sent) >= CRAWLING * self.slots:
            return None
        under_way = Counter(turn.asker for turn in self._sent)
        share = self._share(now)
        able = [turn for turn in self._waiting if under_way[turn.asker] < share]
        served, times = self._served, self._given.times

        def late(turn: Turn) -> tuple[int, int, float, int]:
            return under_way[turn.asker], times(turn.part), served.get(turn.asker, 0.0), turn.size

        return min(able, key=late, default=None)

    def _share(self, now: float) -> int:
        """How many answers one asker may have under way: as many as the one that wants the fewest."""
        wanted = Counter(turn.asker for turn in self._sent) + Counter(turn.asker for turn in self._waiting)
        for asker in reversed(self._served):
            if self._served[asker] < now - RECENT:
                break
            if self._served[asker] <= now:
                wanted.setdefault(asker, 1)
        return min(wanted.values()) if len(wanted) > 1 else self.slots

    def _watch(self, now: float) -> None:
        for turn in self._sent:
            passed = now - turn.since
            if passed >= WATCHED:
                turn.speed = turn.moved / passed
                turn.slow = turn.speed < SLOW
                turn.moved, turn.since = 0, now

    def _cut(self) -> None:
        """Makes room for one of those that wait, if only those who crawl are in the way."""
        if not self._waiting or len(self._sent) < CRAWLING * self.slots or any(turn.cut for turn in self._sent):
            return
        under_way = Counter(turn.asker for turn in self._sent)
        least = min(under_way[turn.asker] for turn in self._waiting)
        able = [turn for turn in self._sent if turn.slow]
        able = [turn for turn in able if turn.speed < SLOWEST or under_way[turn.asker] > least + 1]
        if able:
            max(able, key=lambda turn: (under_way[turn.asker], -turn.speed)).cut = True
