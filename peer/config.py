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
