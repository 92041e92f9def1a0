"""Who this peer is: a secret in the share, bound to this machine and this place.

The peer's id is the SHA-256 of the secret, which only trackers see. Found on
another machine, or in a copied directory, the secret is replaced: two peers
with one id would end each other's leases.
"""

import fcntl
import logging
import os
import secrets
import socket
from pathlib import Path

import msgspec

from peer.layout import Layout
from shoal.errors import UsageError
from shoal.wire import peer_id

log = logging.getLogger(__name__)
_MACHINE_ID = Path("/etc/machine-id")
_CREDIBLE_MS = 100 * 365 * 86_400_000
"""An epoch further ahead than that was never a clock's."""


class Identity(msgspec.Struct, frozen=True):
    """`machine` and `place` (the inode of `.shoal/`) say where the secret (64 hex digits) was made."""

    secret: str
    machine: str
    place: int

    @property
    def id(self) -> str:
        """The peer's id, 64 hex digits."""
        return peer_id(self.secret)


def machine_id() -> str:
    """What tells this machine from others: systemd's id, else the host's name."""
    try:
        return _MACHINE_ID.read_text().strip() or socket.gethostname()
    except OSError:
        return socket.gethostname()


def load_identity(layout: Layout) -> Identity:
    """The identity of this share, made new where there is none, or one from elsewhere.

    Raises:
        OSError: `.shoal/` cannot be written.
    """
    machine, place = machine_id(), layout.state.stat().st_ino
    try:
        known = msgspec.json.decode(layout.identity.read_bytes(), type=Identity)
    except FileNotFoundError:
        pass
    except msgspec.DecodeError:
        log.warning("%s cannot be read; this peer gets a new identity", layout.identity)
    else:
        if (known.machine, known.place) == (machine, place):
            return known
        log.warning("%s comes from another machine or directory; this peer gets a new identity", layout.identity)
    fresh = Identity(secrets.token_hex(32), machine, place)
    write_whole(layout.identity, msgspec.json.encode(fresh))
    return fresh


def next_epoch(layout: Layout, now_ms: int) -> int:
    """The epoch of this start: the clock in milliseconds, but above the last one, also when the clock was set back."""
    path = layout.state / "epoch"
    try:
        last = int(path.read_text())
    except (FileNotFoundError, ValueError):
        last = 0
    epoch = max(now_ms, last + 1) if last < now_ms + _CREDIBLE_MS else now_ms
    try:
        write_whole(path, str(epoch).encode())
    except OSError as error:  # a full disk; the clock alone nearly always does
        log.warning("the epoch of this start cannot be kept: %s", error)
    return epoch


def write_whole(path: Path, body: bytes) -> None:
    """Writes a small file for the user alone, so that after a crash it is the old or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(fd)
    os.rename(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def lock(layout: Layout) -> int:
    """Locks the share for this process; the descriptor that holds the lock, not inherited by others.

    Raises:
        UsageError: another peer runs on this share.
    """
    fd = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise UsageError(f"another peer already runs on {layout.local}") from None
    return fd
