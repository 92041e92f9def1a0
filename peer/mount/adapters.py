"""Which of the two adapters mounts: the kernel's own protocol where it can be spoken, else libfuse."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from peer.config import Fuse
from peer.mount.kernel import KernelMount
from peer.mount.libfuse import LibfuseMount
from peer.vfs import Vfs
from shoal.errors import LocalError

log = logging.getLogger(__name__)


class Mount(Protocol):
    """A vfs that is, or was, mounted."""

    @property
    def mode(self) -> str:
        """How it is mounted."""

    @property
    def alive(self) -> bool:
        """Whether it is mounted, as far as one knows without asking the kernel."""

    def start(self) -> None:
        """Mounts; returns when it answers. Raises UsageError, LocalError."""

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the mount has ended, whoever ended it; whether it has."""

    def stop(self) -> None:
        """Ends waiting reads with an error, unmounts, and closes what is open; within 5 s. Again is harmless."""


def start_mount(fuse: Fuse, vfs: Vfs, mountpoint: Path, unblock: Callable[[], object] = lambda: None) -> Mount:
    """A vfs mounted; `unblock` is called when the mount ends: it makes every waiting read fail.

    Raises:
        UsageError: the mountpoint cannot be used.
        LocalError: FUSE is missing, or refuses; says what to do.
    """
    if fuse == "kernel" or (fuse == "auto" and sys.platform == "linux"):
        mount: Mount = KernelMount(vfs, mountpoint, unblock)
        try:
            mount.start()
        except LocalError as error:
            if fuse == "kernel":
                raise
            log.warning("%s; going on with libfuse", error)
        else:
            return mount
    mount = LibfuseMount(vfs, mountpoint, unblock)
    mount.start()
    return mount
