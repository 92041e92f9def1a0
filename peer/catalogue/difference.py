"""What changed in the tree at once: where, and what was there before."""

from dataclasses import dataclass, field

from peer.catalogue.version import Version


@dataclass
class Difference:
    """Paths at which something else may be shown now."""

    paths: dict[str, tuple[Version, ...]] = field(default_factory=dict)
    """By path of the network: the versions that it had."""
    folders: dict[str, bool] = field(default_factory=dict)
    """Of folders that were made or taken away, perhaps both: whether each was there before."""

    def add(self, path: str, before: tuple[Version, ...] | None) -> None:
        """These versions were shown; None if the same still are."""
        if before is not None:
            self.paths.setdefault(path, before)

    def follow(self, later: "Difference") -> None:
        """Takes in a difference that came after this one."""
        for path, before in later.paths.items():
            self.paths.setdefault(path, before)
        for path, was in later.folders.items():
            self.folders.setdefault(path, was)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.paths or self.folders)
