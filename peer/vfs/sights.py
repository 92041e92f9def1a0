"""What is, or was, to be seen at a path: enough to tell whether who looks again sees a difference."""

from typing import Literal, NamedTuple

from peer.catalogue.tree import File


class Sight(NamedTuple):
    """`content` tells one content from another; "" of a folder, which also has no times."""

    kind: Literal["file", "link", "folder"]
    content: str = ""
    x: bool = False
    mtime: int = 0


FOLDER = Sight("folder")


def sight_of(file: File) -> Sight:
    """What is seen where this is shown."""
    entry = file.entry
    if entry.link:
        return Sight("link", entry.link, mtime=entry.mtime)
    return Sight("file", entry.sha1 or entry.cid, entry.x, entry.mtime)
