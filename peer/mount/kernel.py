"""The vfs mounted by the kernel's own protocol: begun and ended."""

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from peer.mount.backing import Backings
from peer.mount.device import open_mounted
from peer.mount.mounting import check_mountpoint, tune, unmount
from peer.mount.notices import Notices
from peer.mount.protocol import Init
from peer.mount.requests import Requests
from peer.mount.session import Session
from peer.mount.table import Table
from peer.mount.watchers import Watchers
from peer.vfs import Vfs
from shoal.errors import LocalError
from shoal.names import printable

_STARTING = 10.0
_OPENING = 16
"""Threads that open files of unknown size."""
log = logging.getLogger(__name__)


class KernelMount:
    """A mounted vfs."""

    def __init__(self, vfs: Vfs, mountpoint: Path, unblock: Callable[[], object] = lambda: None) -> None:
        """`unblock` is called when the mount ends: it makes every waiting read fail."""
        self._vfs, self._unblock = vfs, unblock
        self._point = os.path.realpath(mountpoint)
        self._device = 0
        self._stopping = threading.Event()
        self._session: Session | None = None

    @property
    def mode(self) -> str:
        """How it is mounted."""
        session = self._session
        if session is None or self._requests.files.backings is None:
            return "kernel"
        why = self._requests.files.backings.why_not
        return f"kernel 7.{session.minor}, {f'no passthrough: {why}' if why else 'passthrough'}"

    @property
    def alive(self) -> bool:
        """Whether it is mounted, as far as one knows without asking the kernel."""
        return self._session is not None and self._session.alive

    def start(self) -> None:
        """Mounts; returns when it answers.

        Raises:
            UsageError: the mountpoint cannot be used.
            LocalError: FUSE is missing, or refuses; says what to do.
        """
        check_mountpoint(Path(self._point))
        root = self._vfs.find("")
        assert root is not None
        self._table = Table(root, self._vfs.find)
        self._fd = open_mounted(self._point)
        self._opening = ThreadPoolExecutor(_OPENING, "mount-open")
        session = self._session = Session(
            self._fd, lambda request: self._requests.answer(request), passthrough=os.geteuid() == 0
        )
        self._requests = Requests(self._vfs, self._table, session.write, self._opening.submit, session.give_way)
        self._watchers = Watchers(self._vfs, self._table, self._requests.stage, session.write, self._point)
        self._notices = Notices(self._table, session.write, self._requests.files.free_pages, self._watchers.changed)
        if not session.start(_STARTING):
            unmount(self._point, 0, session.wait)
            raise LocalError(f"{printable(self._point)} cannot be mounted: the kernel does not answer")
        self._requests.files.backings = Backings(self._fd, Init.PASSTHROUGH in session.features)
        self._notices.start()
        self._vfs.changed_at(self._notices.changed)
        self._device = os.stat(self._point).st_dev
        self._watchers.start(self._device)
        tune(Path(self._point))

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the mount has ended, whoever ended it; whether it has."""
        return self._session is None or self._session.wait(timeout)

    def stop(self) -> None:
        """Ends waiting reads with an error, unmounts, and closes what is open; within 5 s. Again is harmless."""
        if self._session is None or self._stopping.is_set():
            return
        self._stopping.set()
        self._watchers.close()
        self._unblock()
        unmount(self._point, self._device, self.wait)
        self._notices.close()
        if not self.wait(0):
            log.error("the mount at %s does not end", printable(self._point))
            return
        self._opening.shutdown(wait=False, cancel_futures=True)
        self._requests.close()
        os.close(self._fd)
