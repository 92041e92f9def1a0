"""What one source address may take of a tracker. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Quotas of one source address: leases, and rows of all its lists together (long rows count more)."""

    leases: int = 1000
    files: int = 2_000_000


@dataclass
class _Usage:
    leases: int = 0
    files: int = 0


class Quotas:
    """What each source has taken of its quota; sources without a lease are not known. Not thread-safe."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._usage: dict[str, _Usage] = {}

    def may_join(self, source: str) -> bool:
        """Whether the source may have one more lease."""
        usage = self._usage.get(source)
        return usage is None or usage.leases < self._limits.leases

    def join(self, source: str) -> None:
        """Counts one more lease, which `may_join`."""
        self._usage.setdefault(source, _Usage()).leases += 1

    def charge(self, source: str, files: int) -> bool:
        """Counts so many more files of a lease that joined, or fewer; False, and nothing counted, if too many."""
        usage = self._usage[source]
        if files > 0 and usage.files + files > self._limits.files:
            return False
        usage.files += files
        return True

    def move(self, source: str, target: str, files: int) -> bool:
        """Counts a lease and its files for another source from now on; False, and nothing changed, if that is full."""
        usage = self._usage.get(target, _Usage())
        if not self.may_join(target) or usage.files + files > self._limits.files:
            return False
        self.join(target)
        self.charge(target, files)
        self.leave(source, files)
        return True

    def leave(self, source: str, files: int) -> None:
        """A lease with so many files ends."""
        usage = self._usage[source]
        usage.leases -= 1
        usage.files -= files
        if not usage.leases:
            del self._usage[source]
