"""What the swarm is told at its start."""

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class SwarmConfig:
    """Times in seconds, sizes in bytes."""

    read_timeout: float = 15.0
    """A read ends this long after the last useful byte for it arrived, at the latest."""
    connect_timeout: float = 1.5
    """To make a connection, the resolution of a name included."""
    stall_timeout: float = 2.4
    """A holder that sends no byte for so long, or fewer than `lowest_speed` allows, failed."""
    lowest_speed: int = 16 << 10
    """Bytes a second below which a holder counts as stalled."""
    idle_timeout: float = 20.0
    """Connections that nobody used, and contents that nobody has open, are let go after this."""
    memory: int = 64 * MIB
    """Verified bytes in memory at most: small files until they are kept, pieces when the disk is full."""
    ahead: int = 8 * MIB
    """Bytes in memory of small files that were fetched ahead and not read yet, at most."""
    threads: int = 48
    """Runs fetched at one time at most, by threads of the swarm's own."""
    max_sockets: int = 200
    """Connections made to holders at most."""
    down_limit: int = 0
    """Bytes a second off holders at most, at first; 0: no limit."""
