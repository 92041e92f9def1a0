"""Where things are in `LOCAL/.shoal/`: one place, so that the three processes agree."""

from dataclasses import dataclass
from pathlib import Path

from shoal.names import STATE_DIR


@dataclass(frozen=True)
class Layout:
    """The paths of one peer's share and of the program's own files in it."""

    local: Path
    """LOCAL: the share's root."""

    @property
    def state(self) -> Path:
        """`.shoal/`: everything below; never shared, never listed."""
        return self.local / STATE_DIR

    @property
    def lock(self) -> Path:
        """Locked while a peer runs."""
        return self.state / "lock"

    @property
    def identity(self) -> Path:
        """The peer's secret and the machine's id."""
        return self.state / "identity"

    @property
    def index(self) -> Path:
        """The SQLite index; the scanner writes, all read."""
        return self.state / "index.sqlite"

    @property
    def partial(self) -> Path:
        """Downloads under way: `CID.data`, `CID.bits`, `CID.manifest` (see `peer.swarm.pieces`)."""
        return self.state / "partial"

    @property
    def copies(self) -> Path:
        """Whole copies that cannot stand at their path, each named by its cid."""
        return self.state / "copies"

    @property
    def reads(self) -> Path:
        """What was read last (see `peer.cache.reads`)."""
        return self.state / "reads"

    @property
    def quarantine(self) -> Path:
        """What turned out not to be what it said it was."""
        return self.state / "quarantine"

    def make(self) -> None:
        """Makes the directories that are missing, for the user alone."""
        for path in (self.state, self.partial, self.copies, self.quarantine):
            path.mkdir(mode=0o700, exist_ok=True)
