"""What the swarm asks of a content being read; there are three kinds: `Small`, `Download`, `Legacy`."""

from abc import ABC, abstractmethod

from peer.messages import Heard, Kept
from peer.swarm.pending import Done, Pending
from peer.swarm.window import Window


class Content(ABC):
    """One content that handles are open on.

    Threading: any thread, any method; the swarm sees to it that `dispose` is called when no handle is open, and that
    none is opened meanwhile.
    """

    cid: str
    """The content's id; "" while it is not known."""
    size: int
    """Bytes."""
    lingers = True
    """Whether it is worth having for a while after its last handle was closed."""

    @property
    @abstractmethod
    def active(self) -> bool:
        """Whether anything is being fetched just now."""

    @property
    @abstractmethod
    def partly_here(self) -> bool:
        """Whether bytes of it are here."""

    @property
    def checking(self) -> bool:
        """Whether all of it is here, and is just being checked as a whole."""
        return False

    @property
    def is_kept(self) -> bool:
        """Whether the scanner has it, so that nothing need stay here."""
        return False

    @abstractmethod
    def begin(self, window: Window, offset: int, size: int, done: Done) -> Pending | None:
        """Begins a read for a handle whose window this is; the range lies in the file.

        None if `done` was told the bytes at once, else it is told later. What goes wrong is as of `Reader.read`;
        what is known to at once is raised. Never waits for the network.
        """

    @abstractmethod
    def kept(self, message: Kept) -> None:
        """The scanner's answer to a `Keep` of this content."""

    def heard(self, message: Heard) -> None:  # noqa: B027
        """Another reader of it told what it has."""

    @abstractmethod
    def dispose(self, wait: float = 0.0) -> bool:
        """Gives everything back once nothing is under way, for which it waits up to `wait` seconds; whether it did.

        Pieces stay on disk, unless the scanner took the file.
        """

    def open(self) -> None:  # noqa: B027 - most need nothing
        """A handle is opened: learns what must be known for that. Raises RemoteError."""

    def whole(self) -> int:
        """A new descriptor of the file, if it is on this disk whole and checked; else -1."""
        return -1

    def window(self) -> Window:
        """A new handle's window."""
        return Window(self.size)

    def leave(self, window: Window) -> None:  # noqa: B027
        """A handle was closed."""

    def wake(self) -> None:  # noqa: B027
        """The program ends: what waits here looks at that."""

    def spoil(self, number: int) -> bool:
        """A piece on disk turned out to be rotten, and is marked missing there; False: not now, try again."""
        return True

    def discard(self, waiting: bool) -> bool:
        """As `dispose`, and what is on disk goes too; False if it is not to. What was read to its end, and only waits
        for room to be kept, goes if it is `waiting` that is to go, too.
        """
        return self.dispose()

    def write_back(self) -> None:  # noqa: B027
        """There is room on the disk again for what is only in memory."""

    def lost(self, number: int) -> None:  # noqa: B027
        """A piece that was only in memory had to go."""
