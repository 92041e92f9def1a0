"""What a peer is told at its start: one frozen value, built in `peer.cli`, passed in."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Fuse = Literal["auto", "kernel", "libfuse"]
"""How to mount."""


@dataclass(frozen=True)
class PeerConfig:
    """Everything that argv, the environment and files say. Times in seconds, sizes in bytes."""

    trackers: tuple[tuple[str, int], ...]
    """(host, port) of each tracker; the first one that answers is used."""
    local: Path
    """LOCAL, absolute, links resolved."""
    mount: Path | None
    """MOUNT, or None: do not mount."""
    name: str
    port: int = 0
    """The data port; 0: any free one."""
    http: tuple[str, int] = ("127.0.0.1", 0)
    """Where the http port listens."""
    advertise: str = ""
    """The host that others reach the data port at; "": what the tracker sees."""
    read_timeout: float = 15.0
    leave_timeout: float = 3.0
    token: str = field(default="", repr=False)
    """What changes need at an http port off loopback; "": no changes there."""
    open: bool = False
    """Changes need no token anywhere."""
    allowed_hosts: tuple[str, ...] = ()
    fuse: Fuse = "auto"
    cache_limit: int = 0
    """Bytes of copies and partial pieces on disk at most; 0: as much as `min_free` leaves."""
    min_free: int | None = None
    """Bytes of the share's disk that stay free; None: 1 GiB or 5 % of it, whichever is less."""
    scrub_every: float = 30 * 86400.0
    """Seconds in which all that is kept is read again and checked; 0: never."""
    down_limit: int = 0
    """Bytes a second from other peers at most; 0: no limit."""
    up_limit: int = 0
    """Bytes a second to other peers at most; 0: no limit."""
    max_sockets: int = 200
    """Connections with other peers at most, those made and those taken, each."""
    prefetch: bool = True
    """Whether small files are fetched ahead of who reads a folder."""
