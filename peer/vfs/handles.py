"""Open files. Each is bound to one version when it is opened, and stays with it.

What is whole here is read from this disk; one's own file follows the file, as
on any disk; everything else comes from the swarm.

Threading: any thread, any number of reads at a time, until `close`.
"""

import errno
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, Protocol

from peer.catalogue.tree import File
from peer.share.local import Identity, identity
from peer.swarm.pending import Done, Pending, read_into
from peer.vfs.nodes import FILE, Attributes
from shoal.errors import Gone, LocalError, ShoalError, Unreachable
from shoal.names import SafePath, printable
from shoal.wire import Entry


class Reader(Protocol):
    """An open content of the swarm."""

    @property
    def size(self) -> int:
        """Bytes."""

    def begin(self, offset: int, size: int, done: Done) -> Pending | None:
        """Begins a read: `done` is told, at once or later, the bytes (fewer only at the end), or a ShoalError.

        What is returned waits; None if `done` was told already.
        """

    def whole(self) -> int:
        """A new descriptor of the file, if it is on this disk whole and checked; else -1."""

    def close(self) -> None:
        """Ends it."""


class Swarm(Protocol):
    """Where contents that are not here are read from."""

    def open(self, path: SafePath, entry: Entry) -> Reader:
        """A reader of this version. Raises ShoalError."""

    def ready(self, path: SafePath, entry: Entry) -> Reader | None:
        """A reader of a version whose bytes are in memory. Raises ShoalError."""

    def holds(self, cid: str) -> bool:
        """Whether `ready` is worth asking."""

    def state(self, entry: Entry) -> str:
        """ "partial", "remote" or "unreachable"."""


class Opens(Protocol):
    """Who counts how many handles are open on what is kept of others' files."""

    def opened(self, cid: str) -> None:
        """A handle was opened."""

    def closed(self, cid: str) -> None:
        """It was closed."""


class Seen(NamedTuple):
    """What was opened: enough to tell later, without opening it, whether it still is the same."""

    version: str
    source: str
    own: str = ""
    """Its name below LOCAL, if it is one's own file."""
    hashed: Identity = (0, 0, 0, 0, 0)


class Handle(ABC):
    """An open file."""

    version: str
    """What its bytes are: two handles of one version read the same."""
    source: str
    """Where they come from: two handles of one source read the same at any time, whatever becomes of it."""
    direct = False
    """Whether nothing of it may be cached."""
    follows = False
    """Whether its attributes change with a file on this disk."""
    quick = False
    """Whether its reads are answered at once, from memory."""
    fd = -1
    """A descriptor that can be read in place of `read`, or -1."""

    @property
    @abstractmethod
    def attributes(self) -> Attributes:
        """The attributes of what is open, which may be another version than the path shows now."""

    @abstractmethod
    def begin(self, offset: int, size: int, done: Done) -> Pending | None:
        """Begins a read that does not wait for the network.

        `done` is told once, at once or later by another thread, the bytes (fewer only at the end of the file), or
        what went wrong: a ShoalError, an OSError. What is returned waits; None if `done` was told already.
        """

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fills the view from `offset` on, waiting; how many bytes, fewer only at the end. Raises what went wrong."""
        return read_into(self.begin, offset, view)

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on; as `read_into`."""
        data = bytearray(size)
        return bytes(memoryview(data)[: self.read_into(offset, memoryview(data))])

    def check_end(self, end: int) -> None:  # noqa: B027 - most have nothing to check
        """Told by who read `fd`: there is nothing after `end`. Raises ShoalError if there should be."""

    @property
    def seen(self) -> Seen | None:
        """What it is open on, if that can be opened again by `Vfs.reopen`."""
        return None

    @property
    def settled(self) -> bool:
        """Whether what was read is `version` and nothing else, so that it may stay cached."""
        return True

    @abstractmethod
    def close(self) -> None:
        """Ends the handle; once."""


class DiskHandle(Handle):
    """A file of this disk. `hashed` is its `identity` when it was last hashed.

    One's own file, which has a name below LOCAL, follows what is written to it. A copy does not: cut short, it is an
    error.
    """

    def __init__(
        self,
        fd: int,
        version: str,
        attributes: Attributes,
        hashed: Identity,
        own: str = "",
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        self.fd, self._attributes, self._hashed, self._own = fd, attributes, hashed, own
        self._closed = closed
        now = os.fstat(fd)
        self.version = version if identity(now) == hashed else f"disk {now.st_ino} {now.st_mtime_ns}"
        self.direct = self.version != version
        self.source = f"disk {now.st_dev} {now.st_ino}" if own else version
        self.follows = bool(own)

    @property
    def attributes(self) -> Attributes:
        """Those of the version while it is unchanged, else those of the disk."""
        now = os.fstat(self.fd)
        if not self._own or identity(now) == self._hashed:
            return self._attributes
        return Attributes(self._attributes.mode, now.st_size, now.st_mtime_ns)

    @property
    def seen(self) -> Seen | None:
        """See `Handle.seen`."""
        return None if self.direct else Seen(self.version, self.source, self._own, self._hashed)

    def begin(self, offset: int, size: int, done: Done) -> Pending | None:
        """See `Handle.begin`."""
        try:
            data = os.pread(self.fd, size, offset)
            if len(data) < size:
                self.check_end(offset + len(data))
        except (OSError, LocalError) as error:
            done((), error)
        else:
            done((data,), None)
        return None

    def check_end(self, end: int) -> None:
        """See `Handle.check_end`."""
        if not self._own and end < self._attributes.size:
            raise LocalError("a copy on this disk was cut short")

    @property
    def settled(self) -> bool:
        """See `Handle.settled`."""
        now = identity(os.fstat(self.fd))
        same = now == self._hashed if self._own else now[2:4] == self._hashed[2:4]  # a name or a mode is nothing
        return same and not self.direct

    def close(self) -> None:
        """See `Handle.close`."""
        os.close(self.fd)
        self._closed()


class SwarmHandle(Handle):
    """A version that is not here, or not whole. `listed` says whether it still is in the network."""

    def __init__(self, file: File, version: str, attributes: Attributes, reader: Reader, catalogue: "Listing") -> None:
        self._file, self._reader, self._catalogue = file, reader, catalogue
        self.version = self.source = version
        self._attributes = attributes._replace(size=reader.size)
        # Its size was not known to those who asked before it was opened.
        self.direct = file.entry.size is None

    @property
    def attributes(self) -> Attributes:
        """See `Handle.attributes`."""
        return self._attributes

    @property
    def seen(self) -> Seen | None:
        """See `Handle.seen`."""
        return None if self.direct else Seen(self.version, self.source)

    def begin(self, offset: int, size: int, done: Done) -> Pending | None:
        """See `Handle.begin`; Gone if nobody has it and it left the network."""
        return self._reader.begin(offset, size, lambda parts, error: done(parts, error and self._meant(error)))

    def _meant(self, error: BaseException) -> BaseException:
        """Of a version that left the network nobody asks for long: it is gone."""
        if not isinstance(error, Unreachable) or self._catalogue.listed(self._file.path, self._file.entry.cid):
            return error
        return Gone(f"this version left the network: {printable(self._file.path)}")

    def close(self) -> None:
        """See `Handle.close`."""
        self._reader.close()


class ReadyHandle(SwarmHandle):
    """A version whose bytes are in memory."""

    quick = True


class Listing(Protocol):
    """What a handle asks the catalogue."""

    def listed(self, path: str, cid: str) -> bool:
        """Whether this version of the path is in the network, or here."""


class Reopened(Handle):
    """A version that was open before, and of which the kernel may have all bytes: opened when one is asked for."""

    def __init__(
        self, seen: Seen, attributes: Attributes, open: Callable[[], Handle], closed: Callable[[], None]
    ) -> None:
        self.version, self.source = seen.version, seen.source
        self._closed = closed
        self._seen, self._attributes, self._open = seen, attributes, open
        self._lock = threading.Lock()
        self._handle: Handle | None = None

    @property
    def attributes(self) -> Attributes:
        """See `Handle.attributes`."""
        return self._attributes

    @property
    def seen(self) -> Seen | None:
        """See `Handle.seen`."""
        return self._seen

    def begin(self, offset: int, size: int, done: Done) -> Pending | None:
        """See `Handle.begin`."""
        try:
            handle = self._now()
        except (OSError, ShoalError) as error:
            done((), error)
            return None
        return handle.begin(offset, size, done)

    @property
    def settled(self) -> bool:
        """See `Handle.settled`."""
        return self._handle is None or self._handle.settled

    def close(self) -> None:
        """See `Handle.close`."""
        if self._handle is not None:
            self._handle.close()
        self._closed()

    def _now(self) -> Handle:
        """The file, open. Raises OSError (ESTALE) if it was replaced meanwhile."""
        with self._lock:
            if self._handle is None:
                handle = self._open()
                if handle.source != self.source:
                    handle.close()
                    raise OSError(errno.ESTALE, "the file was replaced before it was read")
                self._handle = handle
            return self._handle


class StateHandle(Handle):
    """A file of `.shoal/`, as it was when it was opened."""

    direct = True

    def __init__(self, version: str, data: bytes) -> None:
        self.version = self.source = version
        self._data = data

    @property
    def attributes(self) -> Attributes:
        """See `Handle.attributes`."""
        return Attributes(FILE, len(self._data), 0)

    def begin(self, offset: int, size: int, done: Done) -> Pending | None:
        """See `Handle.begin`."""
        done((self._data[offset : offset + size],), None)
        return None

    def close(self) -> None:
        """See `Handle.close`."""
