"""Who is listed, until when, with which list: the rules of announcements. Pure: time is an argument.

- A renewal stands if (sequence, digest) is what is known here. Anything else is answered "send all".
- Of two announcements the higher (epoch, sequence) wins; a lower one changes nothing and renews nothing.
- A delta is applied whole or not at all. A whole list comes in parts, kept aside until the last one
  fits its digest; the old list stands until then.
- Who is over a quota is refused. Nothing that anybody sends takes a living peer out of the list: a peer
  refused for its number of files keeps its lease and its old list.
- An mtime later than the tracker's clock is cut to it when its row is first taken, and stays so.

How long a lease lives is the business of the mapping that the leases are kept
in: `Leases` sets a lease anew when it is renewed, and is told by `ended`.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass, field

from shoal.errors import DataError
from shoal.names import safe_peer_name
from shoal.ownership import next_rev
from shoal.wire import Announce, Digest, Evict, Evicted, Item, Leave, check_item
from tracker import rows
from tracker.catalogue import Catalogue
from tracker.listing import Listing
from tracker.lists import Parts, applied, cost
from tracker.quotas import Limits, Quotas
from tracker.settling import Settling

MAX_LEASES = 50_000
"""Leases of all sources together: five times what one tracker is meant for."""
PART_TIMEOUT = 30.0
"""Seconds between two parts of a whole list, after which what came is dropped."""


@dataclass(frozen=True)
class Where:
    """Where an announcement came from: the address hints go to, whose quota it takes, and the URL it is listed at."""

    address: str
    source: str
    url: str


@dataclass(frozen=True)
class Outcome:
    """What became of an announcement: an HTTP status (200: the lease stands), why, and what is needed instead."""

    status: int = 200
    why: str = ""
    need: str = ""


RENEWED = Outcome()


def _unknown(why: str) -> Outcome:
    return Outcome(409, f"{why}; send the whole list", need="all")


@dataclass(eq=False, slots=True)
class Lease:
    """A peer's right to be listed.

    `epoch` is the highest it showed; its list is that of `listed` (epoch, sequence), (-1, -1) before the first.
    `cost` is what that list counts towards the quota of `source`, `charged` what is counted, a list under way included.
    """

    listing: Listing
    address: str
    source: str
    hint: int = 0
    epoch: int = -1
    listed: tuple[int, int] = (-1, -1)
    digest: Digest = field(default_factory=Digest)
    cost: int = 0
    charged: int = 0
    parts: Parts | None = None
    seen_ns: int = 0


class Leases:
    """All leases, over a mapping that keeps the living ones by id. Not thread-safe; see `memory`."""

    def __init__(
        self, living: MutableMapping[str, Lease], catalogue: Catalogue, limits: Limits, settling: Settling
    ) -> None:
        self._living = living
        self._catalogue = catalogue
        self._quotas = Quotas(limits)
        self._settling = settling
        self._receiving: dict[str, Lease] = {}

    @property
    def under_way(self) -> bool:
        """Whether a whole list is being received."""
        return bool(self._receiving)

    def announce(self, message: Announce, where: Where, now: float, now_ns: int) -> Outcome:
        """Takes an announcement whose sender has proved its id.

        `now` is in seconds of a monotonic clock, `now_ns` in nanoseconds since 1970.

        Raises:
            DataError: a name or an item that cannot be right, or a mixture of the three forms.
        """
        safe_peer_name(message.name)
        if message.base is not None and message.part is not None:
            raise DataError("a message is a delta or a part of the whole list, not both")
        if message.base is None and message.part is None and (message.put or message.drop):
            raise DataError("a renewal has no items")
        if message.drop and message.part is not None:
            raise DataError("a whole list drops nothing")
        for item in message.put:
            check_item(item, message.id)
        outcome = self._take(message, where, now, now_ns)
        if outcome.status != 200:
            self._settling.put_off(now)
        return outcome

    def _take(self, message: Announce, where: Where, now: float, now_ns: int) -> Outcome:
        lease = self._living.get(message.id)
        if lease is not None and message.epoch < lease.epoch:
            return Outcome(409, "a later start of this peer has announced itself")
        if message.part is not None:
            return self._take_part(lease, message, where, now, now_ns)
        if lease is None or lease.listed[0] < 0:
            return _unknown("this peer's list is not known here")
        if message.base is not None:
            return self._take_delta(lease, message, where, now_ns)
        if (message.sequence, message.digest) != (lease.listed[1], str(lease.digest)):
            return _unknown("another list of this peer is known here")
        return self._renew(lease, message, where, now_ns)

    def _take_delta(self, lease: Lease, message: Announce, where: Where, now_ns: int) -> Outcome:
        if message.base != lease.listed[1] or message.sequence <= message.base:
            return _unknown("the change does not follow what is known here")
        delta = applied(message, lease.listing, lease.digest, now_ns)
        if message.digest not in ("", str(delta.digest)):
            return _unknown("the list does not have the digest that was said")
        outcome = self._renew(lease, message, where, now_ns)
        if outcome.status != 200:
            return outcome
        lease.cost += delta.cost
        if not self._charge(lease):
            lease.cost -= delta.cost
            return _full("files")
        for path, held in delta.changed.items():
            self._catalogue.change(lease.listing, path, held)
        lease.digest = delta.digest
        lease.listed = message.epoch, message.sequence
        return RENEWED

    def _take_part(self, lease: Lease | None, message: Announce, where: Where, now: float, now_ns: int) -> Outcome:
        this = message.epoch, message.sequence
        if lease is None:
            if message.part != 0:
                return _unknown("the parts before this one are not known here")
            if not self._may_join(where.source):
                return _full("peers")
            lease = self._join(Listing(message.id, message.name, where.url), where)
        if this < lease.listed or (lease.parts and this < (lease.parts.epoch, lease.parts.sequence)):
            return Outcome(409, "a later list of this peer is known here")
        if message.part == 0:
            self._drop_parts(lease)
            lease.parts = Parts(*this)
            self._receiving[message.id] = lease
        parts = lease.parts
        if parts is None or (parts.epoch, parts.sequence, parts.next) != (*this, message.part):
            return _unknown("the parts before this one are not known here")
        outcome = self._renew(lease, message, where, now_ns)
        if outcome.status != 200:
            return outcome
        try:
            parts.add(message.put, lease.listing, now_ns)
        except DataError:
            self._drop_parts(lease)
            raise
        if not self._charge(lease):
            self._drop_parts(lease)
            return _full("files")
        parts.next += 1
        parts.latest = now
        return self._finish(lease, parts, message.digest) if message.last else RENEWED

    def _finish(self, lease: Lease, parts: Parts, digest: str) -> Outcome:
        """The list is complete: from now on it is the one."""
        if digest not in ("", str(parts.digest)):
            self._drop_parts(lease)
            return _unknown("the list does not have the digest that was said")
        for path in [path for path in lease.listing.rows if path not in parts.rows]:
            self._catalogue.change(lease.listing, path, ())
        for path in parts.rows:
            held = parts.at(path)
            if held != lease.listing.at(path):
                self._catalogue.change(lease.listing, path, held)
        lease.cost, lease.digest = parts.cost, parts.digest
        lease.listed = parts.epoch, parts.sequence
        self._drop_parts(lease)
        return RENEWED

    def _renew(self, lease: Lease, message: Announce, where: Where, now_ns: int) -> Outcome:
        """Lets the lease live on, where and as it now says."""
        if where.source != lease.source:
            if not self._quotas.move(lease.source, where.source, lease.charged):
                return _full("peers or files")
            lease.source = where.source
        lease.address, lease.hint, lease.epoch = where.address, message.hint, message.epoch
        lease.seen_ns = now_ns
        self._living[message.id] = lease
        self._catalogue.move(lease.listing, message.name, where.url)
        return RENEWED

    def refresh_seed(self, id: str, name: str, files: dict[str, str], where: Where, now_ns: int) -> Outcome:
        """A seed peer's whole list: path to SHA-1, all checked. It replaces what it said before."""
        lease = self._living.get(id)
        if lease is None:
            if not self._may_join(where.source):
                return _full("peers")
            lease = self._join(Listing(id, name, where.url, seed=True), where)
        lease.seen_ns = now_ns
        self._living[id] = lease
        before, lease.cost = lease.cost, sum(1 + len(path) // 1024 for path in files)
        if not self._charge(lease):
            lease.cost = before
            return _full("files")
        for path in [path for path in lease.listing.rows if path not in files]:
            self._catalogue.change(lease.listing, path, ())
        for path, sha1 in files.items():
            cid = rows.seed_cid(sha1)
            held = lease.listing.at(path)
            if held and rows.cid_of(held[0]).hex() == cid:
                continue
            used = max((rev for row in held for rev in rows.unpack(path, row).revs.values()), default=0)
            rev = next_rev(used, 0, now_ns // 1_000_000)
            # Its files carry neither size nor time: each is as old as what we know of it.
            item = Item(path, cid, "own", 0, now_ns, sha1, revs={id: rev})
            self._catalogue.change(lease.listing, path, (rows.pack(item, now_ns, seed=True),))
        return RENEWED

    def evict(self, message: Evict) -> Evicted | None:
        """Delists the peer's copies of a content if somebody else has all of it; None if its list is not known.

        What its user put there is never given up.
        """
        lease = self._living.get(message.id)
        if lease is None or lease.listed[0] < 0:
            return None
        listing, cid = lease.listing, bytes.fromhex(message.cid)
        epoch, sequence = lease.listed
        paths = [path for path in listing.rows if any(rows.cid_of(row) == cid for row in listing.at(path))]
        own = any(rows.cid_of(row) == cid and rows.kind_of(row) == "own" for path in paths for row in listing.at(path))
        if own or not self._catalogue.held_whole_elsewhere(message.cid, listing):
            return Evicted(False, sequence)
        for path in paths:
            held = listing.at(path)
            gone = [row for row in held if rows.cid_of(row) == cid and rows.kind_of(row) == "copy"]
            for row in gone:
                lease.digest.remove(rows.unpack(path, row, announced=True))
            lease.cost -= cost(path, gone)
            self._catalogue.change(listing, path, tuple(row for row in held if row not in gone))
        self._charge(lease)
        lease.listed = epoch, sequence + 1
        return Evicted(True, sequence + 1)

    def leave(self, message: Leave) -> Outcome:
        """A peer that proved its id gives its lease back. Done twice it is done once."""
        lease = self._living.get(message.id)
        if lease is None:
            return RENEWED
        if message.epoch < lease.epoch:
            return Outcome(409, "a later start of this peer has announced itself")
        del self._living[message.id]
        self.ended(lease)
        return RENEWED

    def ended(self, lease: Lease) -> None:
        """The lease is no longer among the living: takes out all it stood for."""
        self._drop_parts(lease)
        self._quotas.leave(lease.source, lease.charged)
        self._catalogue.leave(lease.listing)

    def sweep(self, now: float) -> None:
        """Drops whole lists whose next part did not come in time."""
        for lease in list(self._receiving.values()):
            if lease.parts and now - lease.parts.latest > PART_TIMEOUT:
                self._drop_parts(lease)

    def _may_join(self, source: str) -> bool:
        return len(self._living) < MAX_LEASES and self._quotas.may_join(source)

    def _join(self, listing: Listing, where: Where) -> Lease:
        lease = Lease(listing, where.address, where.source)
        self._living[listing.id] = lease
        self._quotas.join(where.source)
        self._catalogue.join(listing)
        return lease

    def _charge(self, lease: Lease) -> bool:
        """Counts what the lease has now towards its source's quota; False, and nothing counted, when that is full.

        A new list replaces the old one, so the larger of the two counts: who fits once can always send all again.
        """
        wanted = max(lease.cost, lease.parts.cost if lease.parts else 0)
        if not self._quotas.charge(lease.source, wanted - lease.charged):
            return False
        lease.charged = wanted
        return True

    def _drop_parts(self, lease: Lease) -> None:
        if lease.parts:
            lease.parts = None
            del self._receiving[lease.listing.id]
            self._charge(lease)


def _full(what: str) -> Outcome:
    return Outcome(429, f"as many {what} as this tracker takes from one address are listed already")
