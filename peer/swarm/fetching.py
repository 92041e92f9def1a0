"""The work on one content: runs fetched off their holders, and news exchanged with whoever has it too.

With each request goes what is new here, and with each answer comes what is new there (`peer.news`); who did not come up
for half a second is asked once for all that it has. No thread belongs to a holder: each run, and each question, is a
task for the swarm's threads.

Threading: any thread. The plan is used under `opened.changed`, which is never held across network or disk.
"""

import time
from collections.abc import Callable, Iterable, Mapping

from peer import bitmap, news
from peer.messages import Heard
from peer.swarm.commons import Commons
from peer.swarm.holders import Holders
from peer.swarm.knowledge import fetch_pieces
from peer.swarm.neighbours import POLL, Neighbours
from peer.swarm.opened import Opened
from peer.swarm.pieces import VerifiedPiece
from peer.swarm.plan import Run
from peer.swarm.source import Body, Source
from shoal.errors import Gone, RemoteError

LISTED_FOR = 5.0
"""Seconds after which the holders known are looked up again; while a read waits, that is done at each poll."""
Landed = Callable[[VerifiedPiece], None]


class Fetching:
    """Fetches the pieces of one content."""

    def __init__(
        self,
        cid: str,
        commons: Commons,
        holders: Holders,
        opened: Opened,
        tend: Callable[[], None],
        landed: Landed,
        over: Callable[[], None],
    ) -> None:
        """`tend` looks after the reads that wait; `landed` is told of each piece that the plan was told of, and puts it
        where it stays; `over` is called when a worker ends.
        """
        self._cid, self._commons, self._holders, self._opened = cid, commons, holders, opened
        self._tend, self._landed, self._over = tend, landed, over
        self._neighbours = Neighbours(commons)
        self._bodies: dict[Run, Body] = {}
        self._polling = False
        self._told_want = (0, 0)
        with opened.changed:
            self.sync()

    # -- called with `opened.changed` held -----------------------------------------------------------------------------

    def sync(self) -> None:
        """The plan's holders are those that are listed, and the neighbours."""
        plan, neighbours = self._opened.plan, self._neighbours.rows()
        for row in neighbours:
            self._holders.meet(row)
            if row.id not in plan.holdings:
                plan.hold(row.id, 0)
        listed = [row.id for row in self._holders.rows.values() if not row.seed]
        for id in listed:
            if id not in plan.holdings:
                plan.hold(id, None)
        plan.keep_only({*listed, *(row.id for row in neighbours)})

    def pump(self) -> None:
        """Sets threads to work on what is wanted."""
        now = time.monotonic()
        plan = self._opened.plan
        while plan.missing and (run := plan.next(now)) is not None:
            self.start(run)
        if not self._polling and self._is_hungry():
            self._polling = True
            self._commons.alarms.at(now + POLL, self._poll)

    def start(self, run: Run) -> None:
        """Has a run fetched."""
        self._cut_other(run)
        if not self._commons.submit(self._commons.fetching, lambda: self.work(run)):
            self._opened.plan.ended(run, time.monotonic())
            self._commons.check_open()

    def _cut_other(self, run: Run) -> None:
        """The run that this one is instead of ends."""
        if run.instead is not None and (body := self._bodies.get(run.instead)) is not None:
            body.abort()

    def _is_hungry(self) -> bool:
        """Whether somebody waits, or something that will be wanted next is not here."""
        plan = self._opened.plan
        return bool(plan.waits) or plan.want() != (0, 0)

    # -- called without ------------------------------------------------------------------------------------------------

    def meet(self, ids: Iterable[str]) -> None:
        """These read it too, as is told."""
        new = self._neighbours.met(ids)
        if not new:
            return
        with self._opened.changed:
            self.sync()
        self._ask_all()

    def heard(self, message: Heard) -> None:
        """A neighbour asked for pieces, and told of its own."""
        self.meet([message.peer])
        with self._opened.changed:
            plan = self._opened.plan
            pieces = bitmap.from_wire(message.pieces, 8 * len(message.pieces)) << message.first
            plan.news(message.peer, pieces, message.want, time.monotonic())
        self._tend()

    def find_others(self) -> None:
        """Asks the tracker who else reads it, once; not for what anybody waits for."""
        self.meet([row.id for row in self._commons.others.partial(self._cid)])

    def work(self, run: Run | None) -> None:
        """A worker: fetches runs until nothing more is wanted."""
        opened = self._opened
        while run is not None:
            self._fetch(run)
            with opened.changed:
                stop = self._commons.closing.is_set()
                run = None if stop else opened.plan.next(time.monotonic())
                if run is not None:
                    self._cut_other(run)
            self._tend()
        self._over()

    def ask_partial(self) -> None:
        """Learns now what each neighbour has, for who waits and found nobody; and whom the tracker knows."""
        self._neighbours.met(row.id for row in self._commons.others.partial(self._cid))
        with self._opened.changed:
            self.sync()
        for row in self._neighbours.rows():
            self._ask(row.id)

    def say_want(self) -> None:
        """Other peers are told what is wanted here by the data server, which finds it beside the pieces."""
        with self._opened.changed:
            want = self._opened.plan.want()
        if want != self._told_want:
            self._told_want = want
            self._opened.store.say_want(want)

    def _fetch(self, run: Run) -> None:
        """Fetches a run from its holder; whatever happens, the run is over then."""
        opened, began = self._opened, time.monotonic()
        try:
            if opened.store.doubtful and self._settle_doubts(run):
                return
            source = self._holders.source(run.holder)
            try:
                opened.receiver.receive(
                    run, source, self._say(run.holder), lambda body: self._begun(run, body), self._arrived
                )
                self._holders.good(run.holder)
            except Gone as gone:
                self._ask_pieces(run, source, gone)
        except RemoteError as error:
            self._failed(run, error, began)
        finally:
            with opened.changed:
                self._bodies.pop(run, None)
                opened.plan.ended(run, time.monotonic())
                opened.changed.notify_all()  # `dispose` waits for that

    def _failed(self, run: Run, error: RemoteError, began: float) -> None:
        if run.cancelled:
            return  # by us
        if run.at > run.first:  # who is cut off again and again, but gets on, is not as good as dead
            self._holders.good(run.holder)
        self._neighbours.failed(run.holder)
        self._holders.failed(run.holder, error, max(began, run.heard))

    def _begun(self, run: Run, body: Body) -> None:
        """A holder began to answer."""
        self._bodies[run] = body
        if run.cancelled:
            body.abort()
        self._listen(run.holder, body.fields)

    def _arrived(self, run: Run, piece: VerifiedPiece) -> None:
        """A piece is here: those who waited for it have it, then it is written."""
        self._opened.store.take(piece)
        with self._opened.changed:
            useless = self._opened.plan.came(run, piece.number, time.monotonic())
        for other in useless:
            if (body := self._bodies.get(other)) is not None:
                body.abort()
        self._landed(piece)
        self._opened.receiver.give_back(piece)

    def _settle_doubts(self, run: Run) -> bool:
        """Looks at the run's doubtful pieces; whether there were any, and the run is to be planned anew."""
        store = self._opened.store
        doubtful = [number for number in range(run.first, run.end) if number in store.doubtful]
        for number in doubtful:
            if store.settle(number):
                with self._opened.changed:
                    self._opened.plan.arrived(number)
        return bool(doubtful)

    def _ask_pieces(self, run: Run, source: Source, gone: Gone) -> None:
        """The holder does not have the run: which pieces has it? Raises RemoteError; Gone if none."""
        pieces, fields = fetch_pieces(source, self._cid, self._opened.plan.count, self._say(run.holder))
        wanted = bitmap.span(run.first, run.end)
        if pieces & wanted == wanted:
            raise gone  # it contradicts itself: perhaps its file changed just now
        with self._opened.changed:
            self._opened.plan.hold(run.holder, pieces)
        self._neighbours.met([run.holder])
        self._listen(run.holder, fields)
        if not pieces:
            raise gone

    # News

    def _say(self, holder: str) -> bytes:
        """The lines of a request's head that tell this holder what is new here."""
        if not self._commons.others.me:
            return b""
        lines = [b"Shoal-Peer: " + self._commons.others.me.encode()]
        with self._opened.changed:
            plan = self._opened.plan
            value, told = news.have(plan.here, self._neighbours.told(holder))
            if (want := plan.want()) != (0, 0):
                lines.append(b"Shoal-Want: %d-%d" % want)
            self._neighbours.tell(holder, told, time.monotonic())
        if value:
            lines.append(b"Shoal-Have: " + value)
        return b"".join(line + b"\r\n" for line in lines)

    def _listen(self, holder: str, fields: Mapping[bytes, bytes]) -> None:
        """What a holder's answer told."""
        told = news.read(fields, self._opened.plan.count)
        if told is news.NOTHING:
            return
        with self._opened.changed:
            self._opened.plan.news(holder, told.pieces, told.want, time.monotonic())
        if told.readers:
            self.meet(told.readers)

    def _poll(self) -> None:
        """Every half a second while something is wanted: asks those who did not come up."""
        with self._opened.changed:
            self._polling = False
            hungry = self._is_hungry()
        self._commons.submit(self._commons.fetching, self.say_want)
        if hungry:
            self._commons.submit(self._commons.fetching, self._look_up)
            self._ask_all()
            self._tend()  # which sets the next alarm

    def _look_up(self) -> None:
        """Whom the catalogue knows by now: a read may wait for a holder that fell silent when it was the only one."""
        with self._opened.changed:
            waits = bool(self._opened.plan.waits)
        if waits or time.monotonic() - self._holders.listed > LISTED_FOR:
            self._holders.refresh()
            with self._opened.changed:
                self.sync()
            self._tend()

    def _ask_all(self) -> None:
        for id in self._neighbours.due(time.monotonic()):
            self._commons.submit(self._commons.fetching, lambda id=id: self._ask_and_tend(id))  # type: ignore[misc]

    def _ask_and_tend(self, id: str) -> None:
        self._ask(id)
        self._tend()

    def _ask(self, id: str) -> None:
        """Asks one neighbour for all that it has."""
        began = time.monotonic()
        if self._holders.not_before(id) > began:
            return
        try:
            pieces, fields = fetch_pieces(self._holders.source(id), self._cid, self._opened.plan.count, self._say(id))
        except Gone:
            self._neighbours.forget(id)
        except RemoteError as error:
            self._neighbours.failed(id)
            self._holders.failed(id, error, began)
        else:
            with self._opened.changed:
                self._opened.plan.hold(id, pieces)
            self._listen(id, fields)
