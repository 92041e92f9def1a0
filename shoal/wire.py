"""What nodes say to each other, as types: every message of `docs/protocol.md` that is JSON.

    peer → tracker   POST /v1/announce   Announce  → Renewed, or 409 Problem(need="all")
                     POST /v1/leave      Leave     → 204
                     POST /v1/evict      Evict     → Evicted
                     GET  /v1/changes    –         → Changes, or 410 Problem
                     GET  /v1/holders/C  –         → Holders
    tracker → peer   a UDP datagram      the catalogue's VERSION, as ASCII: there is something to pull

Messages are frozen and bounded: a body is at most `MAX_BODY` bytes and lists
come in pages. `decode` is the only way in; it raises one error for all that
may be wrong. A lease is proved by the header `PROOF` with the peer's secret,
whose SHA-256 is the peer's id.
"""

import hashlib
import hmac
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from shoal.errors import DataError
from shoal.manifest import DIR_CID, MAX_SIZE, NOTHING_CID, link_cid
from shoal.names import safe_link, safe_path

MAX_BODY = 1 << 20
"""Bytes of one message's body at most, either way."""
PAGE = 1000
"""Rows of one page of a list: at most that many items, or paths, in one message."""
PROOF = "Shoal-Proof"
"""The header that carries a peer's secret (64 hex digits) to a tracker."""

MAX_REV = 1 << 53
"""The highest rev: what every JSON reader takes exactly."""

# \Z and not $, which would let a line feed pass at the end.
Hex64 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Hex64OrNone = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]
Hex40OrNone = Annotated[str, Meta(pattern=r"^([0-9a-f]{40})?\Z")]
Hex32OrNone = Annotated[str, Meta(pattern=r"^([0-9a-f]{32})?\Z")]
VersionText = Annotated[str, Meta(pattern=r"^[!-~]{1,100}\Z")]
"""A catalogue's VERSION: opaque, printable ASCII without blanks."""
Url = Annotated[str, Meta(pattern=r"^(http://[0-9A-Za-z._:\[\]-]{1,260})?\Z")]
"""`http://host:port` of a data port, no path; or ""."""
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Path = Annotated[str, Meta(min_length=1, max_length=4096)]
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Size = Annotated[int, Meta(ge=0, le=MAX_SIZE)]
Nanoseconds = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(ge=0.01, le=86400)]
Host = Annotated[str, Meta(pattern=r"^[0-9A-Za-z._:-]{0,253}\Z")]
"""A host name or a literal address, without port and brackets; or ""."""
Rev = Annotated[int, Meta(ge=0, le=MAX_REV)]
Kind = Literal["own", "copy", "partial", "nothing"]

Revs = Annotated[dict[Hex64, Rev], Meta(max_length=64)]


class Item(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One line of a peer's list: what it holds at a path.

    `kind`: "own": its user put this version there. "copy": a whole download.
    "partial": some pieces of one. "nothing": the path was withdrawn by its
    owner. `cid` is the manifest's; of a link `link_cid(target)`, of an empty
    directory `DIR_CID`, of "nothing" `NOTHING_CID`. `mtime` is in nanoseconds
    since 1970. `revs` maps owner ids to revs: of one's own version (or one's own
    "nothing") exactly one's own id; of anything else what the holder remembers.
    `pinned`: the whole file is kept on purpose, and not given up for want of room.
    """

    path: Path
    cid: Hex64
    kind: Kind
    size: Size
    mtime: Nanoseconds
    sha1: Hex40OrNone = ""
    x: bool = False
    link: str = ""
    revs: Revs = {}
    pinned: bool = False


class Announce(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A peer renews its lease, and says what changed in its list.

    Without `base` and `part`: a renewal, some hundred bytes; the tracker agrees
    if it knows (id, sequence, digest). With `base`: a delta from sequence `base`
    to `sequence`: first `drop` ([path, cid] pairs), then `put`. With `part` 0, 1, …:
    a page of the whole list as of `sequence`; `last` ends it, and until then
    the tracker keeps the old list. `epoch` grows with every start of the peer; of two
    announcements the higher (epoch, sequence) wins. `digest` is `Digest` of the whole
    list at `sequence`, or "" in the middle of a change sent in several messages.
    `hint` is the peer's UDP port for hints (0: none), `advertise` the host it wants to be listed at.
    """

    id: Hex64
    epoch: Count
    sequence: Count
    digest: Hex32OrNone
    name: Name
    port: Port
    advertise: Host = ""
    hint: Port = 0
    base: Count | None = None
    part: Count | None = None
    last: bool = False
    put: Annotated[list[Item], Meta(max_length=PAGE)] = []
    drop: Annotated[list[tuple[Path, Hex64]], Meta(max_length=PAGE)] = []


class Renewed(Struct, frozen=True):
    """The lease stands. `version` is the catalogue's; `refresh` and `ttl` are in seconds."""

    version: VersionText
    settling: bool
    refresh: Seconds
    ttl: Seconds


class Leave(Struct, frozen=True, forbid_unknown_fields=True):
    """A peer gives its lease back."""

    id: Hex64
    epoch: Count


class Evict(Struct, frozen=True, forbid_unknown_fields=True):
    """A peer asks whether it may give up its whole copy of `cid`."""

    id: Hex64
    cid: Hex64


class Evicted(Struct, frozen=True):
    """`ok` if another whole holder remains; the asker is delisted already, and that step got `sequence`."""

    ok: bool
    sequence: Count


class Owner(Struct, frozen=True, array_like=False):
    """A peer whose user put this version there; `rev` orders its versions of the path."""

    id: Hex64
    name: Name
    rev: Rev


class Entry(Struct, frozen=True, omit_defaults=True):
    """One (path, cid) of the catalogue, as listed; the path stands beside it.

    `size` is None and `cid` "" for a file of a peer that speaks the seed's protocol.
    `mtime` is in nanoseconds since 1970. `holders` are at most three of those
    that have all of it, `partial` says that somebody has parts.
    """

    cid: Hex64OrNone
    size: Size | None
    mtime: Nanoseconds
    sha1: Hex40OrNone = ""
    x: bool = False
    link: str = ""
    owners: tuple[Owner, ...] = ()
    holders: tuple[Hex64, ...] = ()

    @property
    def is_dir(self) -> bool:
        """Whether this is an empty directory."""
        return self.cid == DIR_CID


class PeerRow(Struct, frozen=True):
    """A peer in the delta feed; an empty `url` says that it left. `seed`: it speaks only the seed's protocol."""

    id: Hex64
    name: Name
    url: Url
    seed: bool = False


class Changes(Struct, frozen=True):
    """A page of the delta feed: for each changed path all its entries now (none: not listed any more).

    `version` is what to ask `since` next; `more` says that there is more at once. `withdrawn` has, for each of `paths`
    that somebody withdrew, the revs of that "nothing" by owner.
    """

    version: VersionText
    settling: bool
    more: bool
    peers: list[PeerRow]
    paths: list[tuple[Path, list[Entry]]]
    withdrawn: dict[Path, Revs] = {}


class Holders(Struct, frozen=True):
    """Who has a content: all whole holders and all partial ones, at most `PAGE` each."""

    cid: Hex64
    holders: Annotated[list[PeerRow], Meta(max_length=PAGE)]
    partial: Annotated[list[PeerRow], Meta(max_length=PAGE)]


class Problem(Struct, frozen=True, omit_defaults=True):
    """Any error's body. `need` is "all" when the tracker wants the whole list."""

    error: str
    need: str = ""


T = TypeVar("T")


def decode(body: bytes, kind: type[T]) -> T:
    """The message in a body.

    Raises:
        DataError: too long, not JSON, not of that type, or a number out of its bounds.
    """
    if len(body) > MAX_BODY:
        raise DataError(f"a message of {len(body)} bytes; at most {MAX_BODY} are allowed")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise DataError(f"not a valid {kind.__name__}: {error}") from None


encode = msgspec.json.encode
_canonical = msgspec.json.Encoder(order="deterministic").encode


def check_item(item: Item, sender: str) -> None:
    """Checks what the types cannot: names, links, and that nobody owns in another's name.

    Raises:
        BadName: the path or the link is unfit.
        DataError: cid, link, revs and kind contradict each other.
    """
    path = safe_path(item.path)
    if item.link:
        safe_link(path, item.link)
        if item.cid != link_cid(item.link):
            raise DataError("a link whose cid is not its target's")
    if item.size and (item.link or item.cid in (DIR_CID, NOTHING_CID)):
        raise DataError("only files have a size")
    if (item.cid == NOTHING_CID) != (item.kind == "nothing"):
        raise DataError("'nothing' and its cid go together")
    if item.kind == "own" and set(item.revs) != {sender}:
        raise DataError("one's own version has exactly one's own rev")
    if item.pinned and item.kind not in ("own", "copy"):
        raise DataError("only what is whole is pinned")
    if not item.sha1 and not (item.link or item.cid in (DIR_CID, NOTHING_CID)):
        raise DataError("a file without a SHA-1")


def peer_id(secret: str) -> str:
    """The id that this secret (64 hex digits) proves: its SHA-256."""
    return hashlib.sha256(secret.encode()).hexdigest()


def proves(secret: str, id: str) -> bool:
    """Whether the secret is that of the peer `id`; takes the same time whatever it is."""
    return hmac.compare_digest(peer_id(secret).encode(), id.encode())


class Digest:
    """A digest of a set of items that follows changes one by one, in any order.

    The sum, modulo 2^128, of a 16-byte BLAKE2b of each item's JSON, `revs` sorted by id, `pinned` only if true.
    """

    __slots__ = ("_sum",)

    def __init__(self, text: str = "") -> None:
        self._sum = int(text, 16) if text else 0

    def add(self, item: Item) -> None:
        """Counts an item in."""
        self._sum = (self._sum + self._of(item)) % (1 << 128)

    def remove(self, item: Item) -> None:
        """Counts an item out that was counted in."""
        self._sum = (self._sum - self._of(item)) % (1 << 128)

    @staticmethod
    def _of(item: Item) -> int:
        body = _canonical(item)
        if not item.pinned:  # as before there were pins
            body = body[: -len(b",false]")] + b"]"
        return int.from_bytes(hashlib.blake2b(body, digest_size=16).digest(), "big")

    def __str__(self) -> str:
        return f"{self._sum:032x}"
