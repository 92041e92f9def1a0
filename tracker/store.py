"""What a store of leases and catalogue can do: all that the routes know of it. `memory` has the one there is."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from shoal.wire import Announce, Changes, Evict, Evicted, Holders, Leave
from tracker.leases import Outcome, Where
from tracker.seed import SeedFile
from tracker.views import FilesPage, PeerView


@dataclass(frozen=True)
class State:
    """The catalogue's VERSION, and whether it is settling."""

    version: str
    settling: bool


@dataclass(frozen=True)
class Totals:
    """How much is listed now: peers, files and their bytes (each holder's counted)."""

    peers: int
    files: int
    bytes: int
    settling: bool


class Store(Protocol):
    """Who is alive and what each holds. Every method is one step: no two callers see two catalogues."""

    def announce(self, message: Announce, where: Where) -> tuple[Outcome, State]:
        """Takes an announcement whose sender has proved its id. Raises DataError as `Leases.announce` does."""

    def refresh_seed(self, id: str, name: str, files: dict[str, str], where: Where) -> Outcome:
        """Takes the whole list of a peer of the seed's protocol."""

    def leave(self, message: Leave) -> Outcome:
        """Ends the lease of a peer that has proved its id."""

    def evict(self, message: Evict) -> Evicted | None:
        """Delists a copy if another whole holder remains; None if the peer has no lease."""

    def changes(self, since: str | None) -> Changes | None:
        """A page of the delta feed; None if there is none from there."""

    def holders(self, cid: str) -> Holders:
        """Who has a content."""

    def peers(self) -> list[PeerView]:
        """All living peers, by name."""

    def files(self, prefix: str, q: str, limit: int, after: str) -> FilesPage:
        """A page of the files above path `after` that begin with `prefix` and contain `q`, whatever its case."""

    def seed_file(self, path: str) -> SeedFile | None:
        """What a seed peer is told of a file."""

    def seed_files(self) -> Iterator[tuple[str, SeedFile]]:
        """What seed peers are told of all files whose name has no "/"."""

    def state(self) -> State:
        """What readers are told with every answer."""

    def totals(self) -> Totals:
        """How much is listed."""

    def hints(self) -> tuple[str, list[tuple[str, int]]]:
        """The VERSION, and the (address, port) of everybody who wants to be told of it."""
