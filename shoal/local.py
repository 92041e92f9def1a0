"""Finding the one peer on this machine: each running peer leaves a small file that names its ports.

The file `PID.json` lies in a directory of the user's own (mode 0700) and is
locked by its peer for as long as that runs. A file that can be locked is
therefore a dead peer's, whoever has its pid by now, and is removed.

No peer runs on Windows: there none is found, and `--peer` is needed.
"""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from shoal.errors import LocalError, UsageError
from shoal.names import printable

if sys.platform != "win32":
    import fcntl

_MAX_FILE = 1 << 16


class PeerInfo(msgspec.Struct, frozen=True):
    """A running peer: its pid, its ports as `http://host:port`, LOCAL, MOUNT (None: not mounted) and its name."""

    pid: int
    http: str
    data: str
    local: str
    mount: str | None
    name: str


def runtime_directory() -> Path:
    """Where the files are: `$XDG_RUNTIME_DIR/shoal`, else /run/shoal (root), else /tmp/shoal-UID."""
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(given) and os.path.isdir(given):
        return Path(given) / "shoal"
    user = os.geteuid()
    return Path("/run/shoal") if user == 0 else Path(f"/tmp/shoal-{user}")


def register(info: PeerInfo) -> Callable[[], None]:
    """Says that this process is a running peer, until the function it gives is called or the process ends.

    Raises:
        LocalError: there is no safe place for the file; a peer can do without.
    """
    name = f"{info.pid}.json"
    try:
        with _directory(make=True) as directory:
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            held = os.open(f".{name}", flags, 0o600, dir_fd=directory)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.write(held, msgspec.json.encode(info))
                os.rename(f".{name}", name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                os.close(held)
                raise
    except OSError as error:
        raise LocalError(f"`shoal` will not find this peer by itself: {error}") from error

    def remove() -> None:
        with _directory() as directory:
            os.unlink(name, dir_fd=directory)
        os.close(held)

    return remove


def running() -> list[PeerInfo]:
    """All peers of this user on this machine, by pid; files of dead ones are removed.

    Raises:
        LocalError: the directory cannot be used, or is not the user's own.
    """
    if sys.platform == "win32":
        return []
    try:
        with _directory() as directory:
            names = [name for name in os.listdir(directory) if name.endswith(".json") and not name.startswith(".")]
            found = [info for name in names if (info := _read(directory, name)) is not None]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LocalError(f"cannot look for running peers: {error}") from error
    return sorted(found, key=lambda info: info.pid)


def find() -> PeerInfo:
    """The one peer of this user on this machine.

    Raises:
        LocalError: there is none.
        UsageError: there are several; the message lists them.
    """
    found = running()
    if not found:
        raise LocalError("no peer of yours runs on this machine; start one, or say which with --peer HOST:PORT")
    if len(found) > 1:
        several = ", ".join(f"{info.http} ({printable(info.name)}: {printable(info.local)})" for info in found)
        raise UsageError(f"several peers run on this machine; choose one with --peer: {several}")
    return found[0]


def _read(directory: int, name: str) -> PeerInfo | None:
    """What a file says, or None for one whose peer is dead (it is removed then) or that is no peer's."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:  # the peer ended just now
        return None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return msgspec.json.decode(os.read(fd, _MAX_FILE), type=PeerInfo)
        os.unlink(name, dir_fd=directory)
    except (msgspec.DecodeError, UnicodeDecodeError, FileNotFoundError):
        pass  # not written by a peer of this version, or removed by somebody who saw the same
    finally:
        os.close(fd)
    return None


@contextmanager
def _directory(make: bool = False) -> Iterator[int]:
    """A descriptor of the directory, which is the user's own and nobody else's. Raises OSError, LocalError."""
    path = runtime_directory()
    if make:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise LocalError(f"{path} is not this user's alone (owner, or mode other than 0700); remove it")
        yield fd
    finally:
        os.close(fd)
