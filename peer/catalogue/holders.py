"""Whom to ask for a content: the function that the swarm is given."""

import time
from collections.abc import Callable, Iterator

from peer.catalogue.catalogue import Catalogue
from peer.catalogue.checks import check_peer
from peer.catalogue.trackers import Trackers
from shoal.errors import DataError, RemoteError
from shoal.http import Client
from shoal.wire import Entry, Holders, PeerRow

FindHolders = Callable[[str, Entry, bool], list[PeerRow]]
"""(path, entry, ask) → the living peers that have all of it, the likeliest first, never oneself."""
_TOTAL = 2.0
"""Seconds that the tracker has to answer."""
_HOLDS = 1.0
"""Seconds for which its answer holds: whoever finds nobody wants the whole holders and the partial ones."""


class Directory:
    """Finds holders in the catalogue, and at the tracker in use. Any thread may call it; it holds no lock."""

    def __init__(
        self, catalogue: Catalogue, trackers: Trackers, client: Client, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` gives seconds."""
        self._catalogue, self._trackers, self._client, self._clock = catalogue, trackers, client, clock
        self._last = (float("-inf"), Holders("", [], []))

    def find_holders(self, path: str, entry: Entry, ask: bool) -> list[PeerRow]:
        """Living holders and owners of the entry, and of its path's newest listing; with `ask` all the tracker knows.

        Does not raise: where the tracker does not answer within 2 s, what is known here is the answer.
        """
        found = {row.id: row for row in self._known(path, entry)}
        if ask and entry.cid:
            for row in self._asked(entry.cid).holders:
                if row.url and _is_fit(row):
                    found.setdefault(row.id, row)
        found.pop(self._catalogue.id, None)
        return list(found.values())

    def whole_holders(self, cid: str) -> list[PeerRow]:
        """Who else, by the tracker, has all of it: peers of our own protocol; [] if it does not answer."""
        rows = self._ask(cid).holders
        return [row for row in rows if row.url and not row.seed and row.id != self._catalogue.id and _is_fit(row)]

    def partial_of(self, cid: str) -> list[PeerRow]:
        """Who has parts of the content, as the tracker says; [] if it does not answer. Never oneself."""
        rows = self._asked(cid).partial
        return [row for row in rows if row.url and _is_fit(row) and row.id != self._catalogue.id]

    def _asked(self, cid: str) -> Holders:
        """What the tracker says, or said just now."""
        when, told = self._last
        if told.cid != cid or self._clock() - when >= _HOLDS:
            told = self._ask(cid)
            self._last = (self._clock(), told)
        return told

    def _ask(self, cid: str) -> Holders:
        try:
            return self._client.get(f"{self._trackers.current}/v1/holders/{cid}", Holders, total=_TOTAL)
        except RemoteError:  # the follower finds out, and says, when it is lost
            return Holders(cid, [], [])

    def _known(self, path: str, entry: Entry) -> Iterator[PeerRow]:
        same = [now for now in self._catalogue.entries(path) if (now.cid, now.sha1) == (entry.cid, entry.sha1)]
        for known in (*same, entry):
            for id in (*known.holders, *(owner.id for owner in known.owners)):
                row = self._catalogue.peer(id)
                if row is not None:
                    yield row


def _is_fit(row: PeerRow) -> bool:
    try:
        check_peer(row)
    except DataError:
        return False
    return True
