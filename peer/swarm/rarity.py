"""How many readers have each piece: counts of all pieces at a time, in planes of bits. Pure.

Plane k holds bit k of every piece's count, so that a whole set of pieces is counted up, or the rarest of a set found,
in a few operations on long integers.
"""


class Rarity:
    """Counts, by piece, of the holders that have it."""

    __slots__ = ("_planes",)

    def __init__(self) -> None:
        self._planes: list[int] = []

    def add(self, pieces: int) -> None:
        """One more has these."""
        planes, at = self._planes, 0
        while pieces:
            if at == len(planes):
                planes.append(0)
            planes[at], pieces = planes[at] ^ pieces, planes[at] & pieces
            at += 1

    def remove(self, pieces: int) -> None:
        """One fewer has these, each of which was added."""
        planes, at = self._planes, 0
        while pieces:
            planes[at], pieces = planes[at] ^ pieces, ~planes[at] & pieces
            at += 1

    @property
    def any(self) -> int:
        """The pieces that somebody has."""
        found = 0
        for plane in self._planes:
            found |= plane
        return found

    def rarest(self, pieces: int) -> int:
        """Those of the set that the fewest have."""
        for plane in reversed(self._planes):
            fewer = pieces & ~plane
            if fewer:
                pieces = fewer
        return pieces

    def count(self, number: int) -> int:
        """How many have the piece."""
        return sum((plane >> number & 1) << at for at, plane in enumerate(self._planes))
