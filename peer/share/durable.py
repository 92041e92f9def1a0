"""Copies that a power cut may have torn.

Copies are not fsynced one by one. Every 30 s in which any were kept, and at the
end, the file system is synced as a whole, and the sequence number up to which
copies are safe is noted. After a start with another boot id the copies above
that number are hashed again before they are announced or served.

Threading: one thread syncs, one hashes; `recover` before `start`; `take` and `unproved` on the keeper's thread.
"""

import ctypes
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from peer.beneath import Beneath
from peer.priority import give_way
from peer.share.hashing import Hashed, NotHashed, hash_file
from peer.share.index import Change, Index
from peer.share.moves import is_file_of
from peer.share.rows import Row
from shoal.errors import LocalError
from shoal.names import STATE_DIR, printable

SYNC_EVERY = 30.0
"""Seconds between two syncs of the file system, while copies are being kept."""
_libc = ctypes.CDLL(None, use_errno=True)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Proved:
    """What became of hashing a copy again."""

    row: Row
    result: Hashed | NotHashed


def boot_id() -> str:
    """Another one after every boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Durable:
    """Syncs copies, and proves those that were not synced; `put` is called with each `Proved`."""

    def __init__(self, root: Beneath, index: Index, peer: str, put: Callable[[Proved], None]) -> None:
        self._root, self._index, self._peer, self._put = root, index, peer, put
        self._stop = threading.Event()
        self.unproved: set[tuple[str, str]] = set()
        """(path, cid) of copies that are being hashed again."""
        self._to_prove: list[Row] = []
        self._threads = [
            threading.Thread(target=self._run_sync, name="sync", daemon=True),
            threading.Thread(target=self._run_prove, name="prove", daemon=True),
        ]

    def recover(self) -> None:
        """After another boot: takes the copies that were not synced out of the list until they are proved.

        Raises:
            LocalError: the index cannot be written.
        """
        if self._index.noted("boot") != boot_id():
            for row in self._index.copies_after(int(self._index.noted("synced") or 0)):
                moving = replace(row, state="moving")
                self._index.apply([Change(row.path, self._index.at(row.path), [moving])])
                self._to_prove.append(moving)
                self.unproved.add((row.path, row.cid))
        self._note_boot()

    def _note_boot(self) -> None:
        if not self.unproved:
            self._index.note("boot", boot_id())

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the threads, and syncs."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._sync()

    def _run_sync(self) -> None:
        while not self._stop.wait(SYNC_EVERY):
            self._sync()

    def _sync(self) -> None:
        sequence, synced = self._index.sequence, int(self._index.noted("synced") or 0)
        if not self._index.copies_after(synced, 1):
            return
        if _libc.syncfs(self._root.fd) < 0:
            log.error("the share could not be synced: %s", os.strerror(ctypes.get_errno()))
            return
        try:
            self._index.note("synced", str(sequence))
        except LocalError as error:
            log.debug("%s", error)  # then more is hashed again after a power cut than must be

    def _run_prove(self) -> None:
        give_way()
        for row in self._to_prove:
            disk = row.disk if row.place == "local" else f"{STATE_DIR}/copies/{row.cid}"
            result = hash_file(self._root, disk, row.path, self._peer, True, time.time, self._go_on)
            if self._stop.is_set():
                return
            self._put(Proved(row, result))

    def _go_on(self, left: int) -> bool:
        return not self._stop.is_set()

    def take(self, proved: Proved) -> None:
        """Announces a copy that is whole again; of one that is torn, the row goes.

        Raises:
            LocalError: the index cannot be written.
        """
        result = proved.result
        while True:
            rows = self._index.at(proved.row.path)
            row = next((row for row in rows if row.cid == proved.row.cid and row.state == "moving"), None)
            if row is None:
                break
            change = Change(row.path, rows, gone=[row.cid])
            if isinstance(result, Hashed) and result.manifest.cid == row.cid and is_file_of(row, result.status):
                whole = replace(row, state="ok", ctime=result.status.st_ctime_ns)
                change = Change(row.path, rows, [whole], manifest=result.manifest)
            elif row.place == "local":
                log.warning("%s was torn by a crash; it is fetched again when it is read", printable(row.path))
            if not self._index.apply([change]):
                break
        self.unproved.discard((proved.row.path, proved.row.cid))
        self._note_boot()
