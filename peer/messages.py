"""What a peer's three processes tell each other: small and typed.

    peer → scanner   Begun, Ended, Keep, GiveUp, Pin, Forget, Supersede, Seen, Rescan, Scrub, EndScrub
    scanner → peer   Opened, Changed, Progress, Skipped, Kept, GaveUp, Pinned, Forgot, Scrubbing, Scrubbed, Rotten
    peer → data      Limit
    data → peer      Served, Heard

Changes of the share do not travel here: `Changed` says that there are some,
and the peer reads them from the index.
"""

from typing import Literal

from msgspec import Struct


class Message(Struct, frozen=True, tag=True):
    """Base of all; the type's name travels as its tag."""


class Begun(Message, frozen=True):
    """Pieces of a download are in `.shoal/partial`: the tracker is to list this peer as a holder of parts of it.

    `size` in bytes, `mtime` in nanoseconds since 1970, `revs` of the owners. A `Keep` of it replaces that; said again
    it is harmless.
    """

    path: str
    cid: str
    size: int
    mtime: int
    x: bool
    sha1: str
    revs: dict[str, int]


class Ended(Message, frozen=True):
    """The pieces of a content were taken away from `.shoal/partial`."""

    cid: str


class Keep(Message, frozen=True):
    """A download is whole and checked: keep it as a copy of `cid` at `path`.

    Its bytes are `data`, or, when that is None, `.shoal/partial/CID.data`. `mtime` in nanoseconds since 1970.
    """

    path: str
    cid: str
    manifest: bytes
    mtime: int
    x: bool
    revs: dict[str, int]
    data: bytes | None = None


Step = Literal["hide", "take", "restore"]


class GiveUp(Message, frozen=True):
    """One step of giving up all copies of a content.

    "hide": they are not served and not announced any more; "take": then they are unlinked; "restore": or they are
    copies again.
    """

    cid: str
    step: Step


class Pin(Message, frozen=True):
    """Keep what is, or comes, at and beneath this path of the network; or, not `pinned`, do not any more."""

    path: str
    pinned: bool


class Forget(Message, frozen=True):
    """Withdraw a path from the network; only its owner may."""

    path: str


class Supersede(Message, frozen=True):
    """The whole newer version of this path is here, or it was withdrawn: the copy of `cid` may go.

    `nothing` holds the owners' revs when the path was withdrawn; the scanner then keeps and announces "nothing".
    """

    path: str
    cid: str
    nothing: dict[str, int] | None = None


class Seen(Message, frozen=True):
    """The catalogue has a higher rev of one's own id at `path` than the index used: take the next above."""

    path: str
    rev: int


class Rescan(Message, frozen=True):
    """Something about this path does not fit the index: look again ("" for everything)."""

    path: str


class Scrub(Message, frozen=True):
    """Read all that is kept at and beneath `path` ("": everything) again, at once; `job` names it in the answers."""

    job: str
    path: str


class EndScrub(Message, frozen=True):
    """Nobody waits for that scrub any more."""

    job: str


class Opened(Message, frozen=True):
    """The index exists and can be read."""


class Changed(Message, frozen=True):
    """The index has changes up to `sequence`."""

    sequence: int


class Progress(Message, frozen=True):
    """How far a scan is. `done` when it ended; totals grow while the walk finds more."""

    files: int
    files_total: int
    bytes: int
    bytes_total: int
    done: bool


class Skipped(Message, frozen=True):
    """A file that cannot be shared, and why; said once for each. `total` is how many there are now."""

    path: str
    why: str
    total: int


class Kept(Message, frozen=True):
    """The answer to `Keep`. `place` is where it is now ("local", "inside"), or "" and `why` it was not kept."""

    path: str
    cid: str
    place: str
    why: str = ""


class GaveUp(Message, frozen=True):
    """The answer to `GiveUp`: of how many copies that is done."""

    cid: str
    step: Step
    copies: int


class Pinned(Message, frozen=True):
    """The answer to `Pin`: `why` not, or "" when it is done."""

    path: str
    why: str = ""


class Forgot(Message, frozen=True):
    """The answer to `Forget`: `why` not, or "" when it is done."""

    path: str
    why: str = ""


class Scrubbing(Message, frozen=True):
    """How far a scrub that was asked for is; the last one says `done`. `changed` files were not judged."""

    job: str
    files: int
    files_total: int
    bytes: int
    bytes_total: int
    changed: int
    done: bool


class Scrubbed(Message, frozen=True):
    """What was read again since the scanner started: bytes, files; and of the pass that runs by itself: how many
    files it has met and how many there are, when it began and when the one before ended, in seconds since 1970.
    """

    bytes: int
    files: int
    met: int
    total: int
    began: float
    last: float


class Rotten(Message, frozen=True):
    """Something on this disk is not what it was, though nobody changed it; `why` is a sentence.

    `kind`: "copy": it is in quarantine, and its row is gone; "own": it is served to nobody. `job` is the scrub that
    found it, or "".
    """

    job: str
    kind: Literal["copy", "own"]
    path: str
    cid: str
    why: str
    size: int = 0
    mtime: int = 0
    sha1: str = ""
    x: bool = False
    revs: dict[str, int] = {}


class Served(Message, frozen=True):
    """What the data server sent since it started: bytes, requests; its open connections now, how many of them are
    being sent a large answer, and how many wait for one."""

    bytes: int
    requests: int
    connections: int
    sent: int = 0
    waiting: int = 0


class Limit(Message, frozen=True):
    """From now on the data server sends at most `up` bytes a second (0: no limit), and takes `sockets` connections."""

    up: int
    sockets: int


class Heard(Message, frozen=True):
    """Another peer asked for pieces of `cid`, of which not all are here, and told what it has: see `peer.news`.

    `want` are the pieces first ≤ n < end that it wants next, `pieces` a bitmap from piece `first` on.
    """

    cid: str
    peer: str
    address: str
    want: tuple[int, int]
    first: int
    pieces: bytes


ToScanner = Begun | Ended | Keep | GiveUp | Pin | Forget | Supersede | Seen | Rescan | Scrub | EndScrub
FromData = Served | Heard
ToPeer = Opened | Changed | Progress | Skipped | Kept | GaveUp | Pinned | Forgot | Scrubbing | Scrubbed | Rotten
