"""Which version of a path the kernel may have in its caches: what keeps two versions from sharing one inode.

libfuse's path-based interface makes one kernel inode of a path, with one page
cache and one size, whatever is shown there. Answering the new version's opens
with direct I/O while the old one is open is not enough: `mmap` and `sendfile`
go through the page cache all the same, and fill it. So:

- **Pin.** While a path is open, its attributes are those of what was opened first, and
  every handle on it is of the same source. A path that shows another version,
  or none, is *moved*: the old inode is given a hidden path in libfuse's table
  (`libfuse.LibfuseMount` does that), keeps its pin there, and the path is free. The
  next lookup makes a new inode, and both versions are read at full speed, each
  with its own cache and size. The pin is known by both paths while libfuse
  moves it: whoever asks by either is told of what is open.
- **Tell.** The kernel cuts reads off at the size that it believes, which may be an
  older version's. What it believes is sure only when it was told one size alone: of
  two answers to questions that it asked at once it takes the one that comes first,
  and ignores the other. So an open of another size than the only one told is
  answered ESTALE once, after whatever was told before is void (`Untold`): the kernel
  then looks the path up anew, is told the size, and opens again. The handle waits
  meanwhile (`Spare`), and its size alone is told; who else opens the path is sent
  back in the same way, and comes with a fresh look, too. A program sees ESTALE only
  when the path changes twice between its look and its open.
- **Look.** The new inode of a path that was moved may have been made by somebody who
  was told of the old one just before. Who opens it must have looked since.
- **Keep.** The page cache is kept across opens if and only if the path was last
  opened with the same version, and nothing else was read meanwhile.

Threading: any thread; one lock, never held while anything waits. Pure: time is an argument.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from peer.vfs import Attributes, Handle, Node, version_of

TOLD = 32768
CACHED = 65536
"""Paths remembered of each; one that was forgotten costs a second look-up, or a cold cache."""
SPARE = 2.0
"""Seconds that the kernel has to come back for a handle whose size it was not told yet."""
_SEVERAL = -1
"""Told more than one size."""
HIDDEN = b"/\x01"
"""How hidden paths begin: with a character that no path of the network has."""


class Again(Exception):
    """The kernel must look the path up anew and try again, as it does once when the answer is ESTALE."""


class Waits(Again):
    """The handle stays here until the kernel comes back."""


class Untold(Waits):
    """As `Waits`; and what the kernel believes of the path must be made void before it is answered."""


@dataclass(eq=False)
class Pin:
    """A path that is open: what is shown there until all its handles are closed, or it is moved."""

    path: bytes
    node: Node
    source: str
    mtime: int
    """That with which it was first opened. Told another one, the kernel frees what it caches of the file, and whoever
    asked waits for what is being read."""
    handles: dict[int, Handle] = field(default_factory=dict)
    moving: bool = False
    """Libfuse is about to give its inode another path: nothing more may be opened by this one."""
    leaving: threading.Event | None = None
    """Set when the move that somebody waits for is done."""
    openers: set[int] = field(default_factory=set)
    """Who waits for the move: the kernel's numbers of their threads."""


@dataclass(eq=False)
class Spare:
    """A handle that waits for the kernel to come back; `claimed` once it did."""

    node: Node
    handle: Handle
    until: float
    openers: set[int]
    """Who was sent back since, and so looked the path up: the kernel's numbers of their threads."""
    claimed: bool = False


class Versions:
    """The pins, what was told, and what is cached. Paths are libfuse's: bytes that begin with `/`."""

    def __init__(self) -> None:
        self.pins: dict[bytes, Pin] = {}
        self.handles: dict[int, Handle] = {}
        self._lock = threading.Lock()
        self._owners: dict[int, Pin] = {}
        self._spares: dict[bytes, Spare] = {}
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self._moved: OrderedDict[bytes, None] = OrderedDict()
        self._sent_back: OrderedDict[int, bytes] = OrderedDict()
        self._cached: OrderedDict[bytes, str] = OrderedDict()
        self._next = 1

    def tell(self, path: bytes, attributes: Attributes) -> Attributes:
        """What the kernel is to be told of a path that shows these attributes."""
        with self._lock:
            if self.pins or self._spares:
                attributes = self._held(path) or attributes
            before = self._young.get(path, self._old.get(path))
            self._young[path] = attributes.size if before in (None, attributes.size) else _SEVERAL
            if len(self._young) > TOLD:
                self._old, self._young = self._young, {}
            return attributes

    def held(self, path: bytes) -> Attributes | None:
        """The attributes of what is open at a path, or waits there."""
        with self._lock:
            return self._held(path)

    def _held(self, path: bytes) -> Attributes | None:
        pin, spare = self.pins.get(path), self._spares.get(path)
        handles = list(reversed(pin.handles.values())) if pin is not None else []
        if spare is not None and (pin is None or pin.source == spare.handle.source):
            handles.insert(0, spare.handle)
        for handle in handles:
            try:
                attributes = handle.attributes
            except OSError:  # closed just now
                continue
            return attributes if pin is None or handle.follows else attributes._replace(mtime=pin.mtime)
        return None

    def claim_spare(self, path: bytes, version: str, opener: int) -> Handle | None:
        """The handle that waits for this opener to come back, or for anybody with its version (`version_of`).

        Bind it next.
        """
        with self._lock:
            spare = self._spares.get(path)
            if spare is None or spare.claimed or (version_of(spare.node) != version and opener not in spare.openers):
                return None
            spare.claimed = True
            return spare.handle

    def bind(self, path: bytes, node: Node, handle: Handle, opener: int, now: float) -> tuple[int, bool]:
        """(the number of the handle, now open at a path; whether its page cache may be kept).

        `opener` is the kernel's number of the thread that opens.

        Raises:
            Waits: the path is open with another source, and must be moved first; the handle waits here.
            Untold: the kernel does not know its size yet; the handle waits here.
            Again: as these, but another open waits already. The handle is the caller's, to close.
        """
        with self._lock:
            try:
                return self._bind(path, node, handle, opener, now)
            except Again:
                self._send_back(opener, path)
                raise

    def _bind(self, path: bytes, node: Node, handle: Handle, opener: int, now: float) -> tuple[int, bool]:
        pin, spare = self.pins.get(path), self._spares.get(path)
        looked = self._sent_back.pop(opener, None) in (path, HIDDEN)
        claimed = spare is not None and spare.handle is handle
        other = pin is not None and pin.source != handle.source
        if path.startswith(HIDDEN):
            if other:  # what was moved once stays there
                if claimed:
                    del self._spares[path]
                raise Again
        elif pin is not None and (other or pin.moving):
            pin.leaving = pin.leaving or threading.Event()
            pin.openers.add(opener)
            self._wait(path, node, handle, opener, now)
            raise Waits
        if not self._knows(path, handle, opener, looked):
            self._wait(path, node, handle, opener, now)
            raise Untold
        if claimed:
            node = self._spares.pop(path).node
        self._young[path] = handle.attributes.size
        self._moved.pop(path, None)
        if pin is None:
            pin = self.pins[path] = Pin(path, node, handle.source, handle.attributes.mtime)
        number, self._next = self._next, self._next + 1
        pin.handles[number] = self.handles[number] = handle
        self._owners[number] = pin
        return number, self._keep(path, handle)

    def _knows(self, path: bytes, handle: Handle, opener: int, looked: bool) -> bool:
        """Whether the kernel knows the size of what it is about to read."""
        size, spare = handle.attributes.size, self._spares.get(path)
        if spare is not None:
            return opener in spare.openers and (spare.handle is handle or spare.handle.attributes.size == size)
        told = self._young.get(path, self._old.get(path))
        if path.startswith(HIDDEN):
            return told in (None, size)
        return told == size and (looked or path not in self._moved)

    def _wait(self, path: bytes, node: Node, handle: Handle, opener: int, now: float) -> None:
        spare = self._spares.get(path)
        if spare is None:
            self._spares[path] = Spare(node, handle, now + SPARE, {opener})
        elif spare.handle is handle:  # it waits once more
            spare.claimed, spare.until = False, now + SPARE
            spare.openers.add(opener)
        else:
            spare.openers.add(opener)
            raise Again

    def send_back(self, opener: int) -> None:
        """This thread asked by a hidden path that is nobody's any more: when it opens next, it has looked a path up."""
        with self._lock:
            self._send_back(opener, HIDDEN)

    def _send_back(self, opener: int, path: bytes) -> None:
        self._sent_back[opener] = path
        if len(self._sent_back) > CACHED:
            self._sent_back.popitem(last=False)

    def leaving(self, path: bytes, opener: int) -> threading.Event | None:
        """What this thread must wait for before it looks a path up: the move that it was told to wait for."""
        with self._lock:
            pin = self.pins.get(path)
            return pin.leaving if pin is not None and opener in pin.openers else None

    def _keep(self, path: bytes, handle: Handle) -> bool:
        keep = self._cached.pop(path, None) == handle.version
        self._cached[path] = handle.version
        if len(self._cached) > CACHED:
            self._cached.popitem(last=False)
        return keep and not handle.direct

    def release(self, number: int) -> Handle:
        """The handle of that number, open no more; the caller closes it."""
        with self._lock:
            handle, pin = self.handles.pop(number), self._owners.pop(number)
            del pin.handles[number]
            if not handle.settled:
                self._cached.pop(pin.path, None)
            self._unpin(pin)
            return handle

    def expire(self, now: float) -> list[Handle]:
        """Handles that the kernel did not come back for; the caller closes them."""
        with self._lock:
            late = [path for path, spare in self._spares.items() if not spare.claimed and spare.until <= now]
            return [self._spares.pop(path).handle for path in late]

    @property
    def waiting(self) -> bool:
        """Whether there is anything to expire."""
        return bool(self._spares)

    def outdated(self, shown: Callable[[Pin], bool]) -> list[Pin]:
        """The pins of paths that show something else now, or that another open waits for."""
        pins = [pin for pin in list(self.pins.values()) if not pin.path.startswith(HIDDEN)]
        return [pin for pin in pins if pin.leaving is not None or not shown(pin)]

    def move(self, pin: Pin, hidden: bytes) -> bool:
        """Libfuse is about to give the inode of a pin this path; whether anything is still open there."""
        with self._lock:
            if self.pins.get(pin.path) is not pin:
                return False
            pin.moving = True
            self.pins[hidden] = pin
            return True

    def moved(self, pin: Pin, hidden: bytes, done: bool) -> None:
        """It has done so, or could not; nobody need wait."""
        with self._lock:
            pin.moving = False
            if done:
                self._young.pop(pin.path, None)
                self._old.pop(pin.path, None)
                self._moved[pin.path] = None
                if len(self._moved) > CACHED:
                    self._moved.popitem(last=False)
                self.pins.pop(pin.path, None)
                pin.path = hidden
            else:
                self.pins.pop(hidden, None)
            if not pin.handles:
                self.pins.pop(pin.path, None)
            self._stay(pin)

    def stay(self, pin: Pin) -> None:
        """The inode could not be moved: nobody need wait."""
        with self._lock:
            self._stay(pin)

    def _stay(self, pin: Pin) -> None:
        if pin.leaving is not None:
            pin.leaving.set()
            pin.leaving = None
            pin.openers.clear()

    def close(self) -> list[Handle]:
        """Ends; all handles are the caller's, to close."""
        with self._lock:
            handles = [*self.handles.values(), *(spare.handle for spare in self._spares.values())]
            self.pins.clear()
            self.handles.clear()
            self._owners.clear()
            self._spares.clear()
            return handles

    def _unpin(self, pin: Pin) -> None:
        if not pin.handles and not pin.moving and self.pins.get(pin.path) is pin:
            del self.pins[pin.path]
            self._stay(pin)
