"""One open handle's streak: where it reads, and how far ahead of it to fetch. Pure."""

MIB = 1 << 20
AHEAD = 64 * MIB
"""Bytes that a window reaches ahead of its reader at most."""
SLACK = 2 * MIB
"""A read this near to where the streak stands belongs to it: the kernel's read-ahead does not arrive in order."""
STREAM = 4 * MIB
"""Who read so much in one streak streams: the window reaches as far as it may."""
FAR = 256 * MIB
"""Bytes beyond the window that a stream takes from a swarm meanwhile, at most; and no more than 8 times its streak."""
EARLY = 16 * MIB
"""How far into the file that reaches at least for who read the first `BEGUN` of it: where many begin at once they would
all ask for the same few pieces."""
BEGUN = MIB
"""Bytes at a file's start of which a look at its head, or a preview, reads fewer."""


class Window:
    """Where one handle reads. Sizes and offsets in bytes."""

    __slots__ = ("_size", "limit", "position", "streak")

    def __init__(self, size: int, limit: int = AHEAD) -> None:
        self._size, self.limit = size, limit
        self.position = 0
        self.streak = 0

    def read(self, offset: int, length: int) -> None:
        """The handle reads `length` bytes at `offset`."""
        end = min(offset + length, self._size)
        if abs(offset - self.position) > SLACK:
            self.streak = 0
            self.position = end
        elif end > self.position:
            self.streak += min(length, end - self.position)
            self.position = end

    @property
    def ahead(self) -> int:
        """Bytes to fetch ahead of the position: twice what the streak has read, all that is allowed for a stream."""
        return self.limit if self.streak >= STREAM else min(self.limit, 2 * self.streak)

    @property
    def end(self) -> int:
        """The offset that the window reaches to."""
        return min(self._size, self.position + self.ahead)

    @property
    def far(self) -> int:
        """The offset up to which a stream takes what others happen to have, or nobody else fetches."""
        if self.limit < AHEAD:
            return self.end
        if self.streak < STREAM:
            from_start = BEGUN <= self.position == self.streak
            return max(self.end, min(self._size, EARLY)) if from_start else self.end
        return min(self._size, self.end + max(EARLY, min(FAR, 8 * self.streak)))
