"""Files of the seed's peers: no cid, no pieces, a size that only the holder knows.

The whole file is fetched to a temporary file, and not a byte is given out before its SHA-1 is right. Its manifest is
computed on the way, so that it can be kept, and shared on, under its cid.

Threading: one task fetches, and reads wait for it; `_changed` guards the count of reads.
"""

import errno
import logging
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from threading import Condition

from peer.messages import Kept
from peer.swarm.commons import Commons, keep_message
from peer.swarm.content import Content
from peer.swarm.holders import Holders
from peer.swarm.pending import Done, Flight, Parts, Pending
from peer.swarm.plan import Window
from peer.swarm.source import Body, Source, by_path
from shoal.errors import Gone, Lied, LocalError
from shoal.manifest import MAX_SIZE, Manifest, ManifestBuilder
from shoal.names import SafePath
from shoal.wire import Entry, PeerRow

CHUNK = 256 << 10
IN_MEMORY = 16 << 20
"""A file of at most this many bytes is read without being kept when the disk is full."""
TEMPORARY = "seed-"
"""How the names of unfinished files in `.shoal/partial/` begin."""
log = logging.getLogger(__name__)


class Legacy(Content):
    """A file of a peer that speaks only the seed's protocol. `cid` is "" until its bytes are here."""

    def __init__(self, path: SafePath, entry: Entry, commons: Commons, identified: Callable[["Legacy"], None]) -> None:
        """`identified` is called when its bytes are here and its cid is known."""
        self.cid = ""
        self.size = -1
        self._identified = identified
        self._path, self._entry, self._commons = path, entry, commons
        self._holders = Holders(path, entry, commons)
        self._changed = Condition()
        self._flight = Flight(lambda task: commons.submit(commons.fetching, task), self._fetch_whole, self._cut)
        self._fd = -1
        self._reads = 0

    @property
    def active(self) -> bool:
        """Whether it is being fetched just now."""
        return self._flight.under_way

    @property
    def partly_here(self) -> bool:
        """Whether its bytes are here."""
        return self._fd >= 0

    def open(self) -> None:
        """Asks for the size, unless it is known. Raises RemoteError."""
        if self.size < 0:
            deadline = time.monotonic() + self._commons.config.read_timeout
            self.size = self._holders.first(self._ask_size, deadline)

    def begin(self, window: Window, offset: int, size: int, done: Done) -> Pending | None:
        """See `Content.begin`."""
        self._commons.check_open()
        with self._changed:
            self._reads += 1
        pending = Pending(offset, size, self._ending(done))
        if self._fd < 0:
            self._flight.join(pending)
            return pending
        try:
            parts = self._cut(pending, self._fd)
        finally:
            self._ended()
        done(parts, None)
        return None

    def _ending(self, done: Done) -> Done:
        def end(parts: Parts, error: BaseException | None) -> None:
            self._ended()
            done(parts, error)

        return end

    def _ended(self) -> None:
        with self._changed:
            self._reads -= 1
            self._changed.notify_all()

    def _cut(self, pending: Pending, fd: int) -> Parts:
        try:
            data = os.pread(fd, pending.size, pending.offset)
        except OSError as error:
            raise LocalError(f"cannot read a download: {error.strerror}") from error
        if len(data) < pending.size:
            raise LocalError("a download's file was cut short by somebody else")
        return (data,)

    def kept(self, message: Kept) -> None:
        """The scanner's answer. What it does not keep has no name any more; open handles go on with it."""
        if not message.place:
            self._data_path().unlink(missing_ok=True)

    def dispose(self, wait: float = 0.0) -> bool:
        """Gives everything back once no read is under way, for which it waits up to `wait` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._reads, wait):
                return False
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        return True

    def _data_path(self) -> Path:
        return self._commons.layout.partial / f"{self.cid}.data"

    def _ask_size(self, row: PeerRow, source: Source) -> int:
        with source.get(by_path(self._path)) as body:
            if body.size > MAX_SIZE:
                raise Gone("no file is so large")
            return body.size

    def _fetch_whole(self) -> int:
        if self._fd < 0:
            deadline = time.monotonic() + self._commons.config.read_timeout
            self._fd = self._holders.first(self._fetch, deadline)
        return self._fd

    def _fetch(self, row: PeerRow, source: Source) -> int:
        """The descriptor of the file, checked. Raises RemoteError; LocalError when there is no room."""
        with source.get(by_path(self._path), 0, self.size, self.size) as body:
            place, fd = self._room()
            done = False
            try:
                manifest = self._receive(body, fd)
                if manifest.sha1 != self._entry.sha1:
                    raise Lied(f"{source.name} sent other bytes than were announced")
                if place is not None:
                    place.rename(self._commons.layout.partial / f"{manifest.cid}.data")
                    self._commons.room.turn("coming", place.name, "coming", manifest.cid)
                done = True
            except OSError as error:
                raise LocalError(f"cannot keep a download: {error.strerror}") from error
            finally:
                if not done:
                    os.close(fd)
                    if place is not None:
                        place.unlink(missing_ok=True)
                        self._commons.room.gone("coming", place.name)
        self._commons.counters.fetched(source.name, self.size)
        self.cid = manifest.cid
        self._identified(self)
        if place is not None:
            self._commons.keeper.offer(keep_message(self._path, self._entry, manifest, None))
        return fd

    def _room(self) -> tuple[Path | None, int]:
        """(a new file's path, its descriptor); in memory, without a path, when the disk is full and the file small."""
        place = self._commons.layout.partial / f"{TEMPORARY}{secrets.token_hex(8)}"
        fd, room = -1, self._commons.room
        try:
            if not room.take("coming", place.name, self.size):
                room.not_kept(self.size)
                raise OSError(errno.ENOSPC, "the share's disk has no room for it")
            fd = os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.posix_fallocate(fd, 0, max(1, self.size))  # a full disk shows here, before anything is fetched
            return place, fd
        except OSError as error:
            if fd >= 0:
                os.close(fd)
                place.unlink(missing_ok=True)
            room.gone("coming", place.name)
            if self.size > IN_MEMORY:
                raise LocalError(f"no room for a download: {error.strerror}") from error
            self._commons.say_not_kept(f"no room for a download: {error.strerror}")
            return None, os.memfd_create("shoal", os.MFD_CLOEXEC)

    def _receive(self, body: Body, fd: int) -> Manifest:
        builder = ManifestBuilder(self.size)
        view = memoryview(bytearray(CHUNK))
        left = self.size
        while left:
            self._commons.check_open()
            got = body.readinto(view[: min(CHUNK, left)])
            builder.update(view[:got])
            os.write(fd, view[:got])
            left -= got
        return builder.finish()


def remove_unfinished(commons: Commons) -> None:
    """Takes away what an earlier run of the program left half fetched, and marks whose pieces are gone."""
    try:
        for path in commons.layout.partial.iterdir():
            orphan = path.suffix in (".bits", ".manifest") and not path.with_suffix(".data").exists()
            if orphan or path.name.startswith(TEMPORARY) or path.suffix == ".new":
                path.unlink(missing_ok=True)
    except OSError as error:
        raise LocalError(f"cannot tidy {commons.layout.partial}: {error.strerror}") from error
