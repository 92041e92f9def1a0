"""Which version of a path the kernel may have in its caches: what keeps two versions from sharing one inode.

libfuse's path-based interface makes one kernel inode of a path, with one page
cache and one size, whatever is shown there. Answering the new version's opens
with direct I/O while the old one is open is not enough: `mmap` and `sendfile`
go through the page cache all the same, and fill it. So:

- **Pin.** While a path is open, its attributes are those of what is open, and
  every handle on it is of the same source. A path that shows another version,
  or none, is *moved*: the old inode is given a hidden path in libfuse's table
  (`libfuse.Mount` does that), keeps its pin there, and the path is free. The
  next lookup makes a new inode, and both versions are read at full speed, each
  with its own cache and size.
- **Tell.** The kernel cuts reads off at the size that it was told last, which may
  be an older version's, for as long as attributes are believed. An open of another
  size is answered ESTALE once: the kernel then looks the path up anew, is told
  the size, and opens again. No program sees that. The handle waits meanwhile (`spare`).
- **Keep.** The page cache is kept across opens if and only if the path was last
  opened with the same version, and nothing else was read meanwhile.

Looking and opening race, so the order matters: `tell` writes what is told and
then looks for a pin; `bind` pins and then looks at what was told. Answers that
cross on their way to the kernel it puts in order itself (its attr_version).

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
HIDDEN = b"/\x01"
"""How hidden paths begin: with a character that no path of the network has."""


class Again(Exception):
    """The kernel must look the path up anew and try again, as it does once when the answer is ESTALE."""


class Waits(Again):
    """The handle stays here until the kernel comes back."""


@dataclass(eq=False)
class Pin:
    """A path that is open: what is shown there until all its handles are closed, or it is moved."""

    path: bytes
    node: Node
    source: str
    handles: dict[int, Handle] = field(default_factory=dict)
    spare: Handle | None = None
    """A handle that waits for the kernel to come back; `claimed` once it did."""
    spare_until: float = 0.0
    claimed: bool = False
    leaving: threading.Event | None = None
    """Set when the move that somebody waits for is done."""

    @property
    def attributes(self) -> Attributes | None:
        """Those of what is open, the newest handle first; None when nothing is any more."""
        for handle in (self.spare, *reversed(self.handles.values())):
            if handle is not None:
                try:
                    return handle.attributes
                except OSError:  # closed just now
                    continue
        return None


class Versions:
    """The pins, what was told, and what is cached. Paths are libfuse's: bytes that begin with `/`."""

    def __init__(self) -> None:
        self.pins: dict[bytes, Pin] = {}
        self.handles: dict[int, Handle] = {}
        self._lock = threading.Lock()
        self._owners: dict[int, Pin] = {}
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self._cached: OrderedDict[bytes, str] = OrderedDict()
        self._next = 1

    def tell(self, path: bytes, attributes: Attributes) -> Attributes:
        """What the kernel is to be told of a path that shows these attributes."""
        self._young[path] = attributes.size
        if len(self._young) > TOLD:
            self._old, self._young = self._young, {}
        if self.pins and (pin := self.pins.get(path)) is not None and (pinned := pin.attributes) is not None:
            self._young[path] = pinned.size
            return pinned
        return attributes

    def claim_spare(self, path: bytes, version: str) -> Handle | None:
        """The handle that waits for the kernel to come back, if it is of this version (`version_of`). Bind it next."""
        with self._lock:
            pin = self.pins.get(path)
            if pin is None or pin.spare is None or pin.claimed or version_of(pin.node) != version:
                return None
            pin.claimed = True
            return pin.spare

    def bind(self, path: bytes, node: Node, handle: Handle, now: float) -> tuple[int, bool]:
        """(the number of the handle, now open at a path; whether its page cache may be kept).

        Raises:
            Again: the path is open with another source, and must be moved first; or another open waits already.
                The handle is the caller's, to close.
            Waits: the kernel does not know its size yet; the handle waits here.
        """
        with self._lock:
            pin = self.pins.get(path)
            if pin is None:
                pin = self.pins[path] = Pin(path, node, handle.source)
            claimed = pin.spare is handle
            if pin.source != handle.source:
                if not path.startswith(HIDDEN):  # what was moved once stays there
                    pin.leaving = pin.leaving or threading.Event()
                raise Again
            if not self._knows(path, pin, handle, claimed):
                if pin.spare is not None and not claimed:
                    raise Again
                pin.spare, pin.spare_until, pin.claimed = handle, now + SPARE, False
                self._young.pop(path, None)
                self._old.pop(path, None)
                raise Waits
            if claimed:
                pin.spare, pin.claimed = None, False
            number, self._next = self._next, self._next + 1
            pin.handles[number] = self.handles[number] = handle
            self._owners[number] = pin
            return number, self._keep(path, handle)

    def _keep(self, path: bytes, handle: Handle) -> bool:
        keep = self._cached.pop(path, None) == handle.version
        self._cached[path] = handle.version
        if len(self._cached) > CACHED:
            self._cached.popitem(last=False)
        return keep and not handle.direct

    def _knows(self, path: bytes, pin: Pin, handle: Handle, claimed: bool) -> bool:
        """Whether the kernel knows the size of what it is about to read."""
        told = self._young.get(path, self._old.get(path))
        if claimed:  # it was told since; what changes while one looks is read as of then
            return told is not None
        return bool(pin.handles and told is None) or told == handle.attributes.size

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
        late = []
        with self._lock:
            for pin in list(self.pins.values()):
                if pin.spare is not None and not pin.claimed and pin.spare_until <= now:
                    late.append(pin.spare)
                    pin.spare = None
                    self._unpin(pin)
        return late

    @property
    def waiting(self) -> bool:
        """Whether there is anything to expire."""
        return any(pin.spare is not None for pin in list(self.pins.values()))

    def outdated(self, shown: Callable[[Pin], bool]) -> list[Pin]:
        """The pins of paths that show something else now, or that another open waits for."""
        pins = [pin for pin in list(self.pins.values()) if not pin.path.startswith(HIDDEN)]
        return [pin for pin in pins if pin.leaving is not None or not shown(pin)]

    def move(self, old: bytes, new: bytes) -> None:
        """The inode at a path has another path now."""
        with self._lock:
            pin = self.pins.pop(old, None)
            if pin is None:
                return
            pin.path = new
            self.pins[new] = pin
            told = self._young.pop(old, self._old.pop(old, None))
            if told is not None:
                self._young[new] = told
            if pin.leaving is not None:
                pin.leaving.set()
            self._unpin(pin)

    def stay(self, pin: Pin) -> None:
        """The inode could not be moved: nobody need wait."""
        with self._lock:
            if pin.leaving is not None:
                pin.leaving.set()
                pin.leaving = None

    def close(self) -> list[Handle]:
        """Ends; all handles are the caller's, to close."""
        with self._lock:
            handles = [*self.handles.values(), *(pin.spare for pin in self.pins.values() if pin.spare is not None)]
            self.pins.clear()
            self.handles.clear()
            self._owners.clear()
            return handles

    def _unpin(self, pin: Pin) -> None:
        if not pin.handles and pin.spare is None and self.pins.get(pin.path) is pin:
            del self.pins[pin.path]
            if pin.leaving is not None:
                pin.leaving.set()
