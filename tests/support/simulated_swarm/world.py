"""What the peers of a simulation share, and who is told of what they do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peer.swarm.config import SwarmConfig
from peer.swarm.plan import Run, Wait
from peer.swarm.window import Window
from shoal.errors import RemoteError
from tests.support.simulated_swarm.clock import Clock
from tests.support.simulated_swarm.lines import Lines
from tests.support.simulated_swarm.serving import Server

if TYPE_CHECKING:
    from tests.support.simulated_swarm.fetching import Fetching as Reader


@dataclass
class World:
    """What all peers share. `servers` by id; `listed` gives who is known to have all, `partial` who to have parts."""

    clock: Clock
    lines: Lines
    config: SwarmConfig
    servers: dict[str, Server]
    listed: Callable[[], list[str]]
    partial: Callable[[], list[str]]
    rules: "Rules"


class Rules:
    """Is told what happens; raises AssertionError when that must not be. This one allows everything."""

    def told(self, reader: "Reader", holder: str, pieces: int | None) -> None:
        """A holder told a reader of these pieces, or is said to have all."""

    def corrected(self, reader: "Reader", holder: str, pieces: int) -> None:
        """A holder told a reader that it has these, and no others."""

    def asked(self, reader: "Reader", run: Run) -> None:
        """A run is about to be asked for."""

    def came(self, reader: "Reader", run: Run, number: int) -> None:
        """A piece came, and was right."""

    def cancelled(self, reader: "Reader", run: Run) -> None:
        """A run was ended early because it is not needed any more."""

    def failed(self, reader: "Reader", run: Run, error: RemoteError) -> None:
        """A run ended early, because of its holder."""

    def began(self, reader: "Reader", read: "Read") -> None:
        """A read began."""

    def ended(self, reader: "Reader", read: "Read", error: RemoteError | None) -> None:
        """A read ended."""


class Read:
    """A read of a program; `over` is called with None, or with what went wrong."""

    __slots__ = ("asked", "began", "offset", "over", "size", "useful", "wait", "window")

    def __init__(
        self, window: Window, offset: int, size: int, piece: int, now: float, over: Callable[[RemoteError | None], None]
    ) -> None:
        self.window, self.offset, self.size, self.over = window, offset, size, over
        self.began = self.useful = now
        self.wait = Wait(offset // piece, -(-(offset + size) // piece), now)
        self.asked = False
