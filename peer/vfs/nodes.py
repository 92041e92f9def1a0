"""What can be found at a path, and its attributes."""

import stat
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from peer.catalogue.tree import Children, File, Folder
from shoal.errors import BadName
from shoal.manifest import Cid
from shoal.names import safe_link

FILE, PROGRAM = stat.S_IFREG | 0o444, stat.S_IFREG | 0o555
DIRECTORY, LINK = stat.S_IFDIR | 0o555, stat.S_IFLNK | 0o777


class Attributes(NamedTuple):
    """What `stat` shows. `mode` with the type's bits, `size` in bytes, `mtime` in nanoseconds since 1970."""

    mode: int
    size: int
    mtime: int


class StateFile:
    """A file of `.shoal/`: its content is made when it is opened."""

    def __init__(self, name: str, content: Callable[[], bytes]) -> None:
        self.name = name
        self.content = content


class StateDir:
    """A directory of `.shoal/`. `children` is called when it is listed, `child` when one name is looked up."""

    def __init__(
        self,
        name: str,
        children: "Callable[[], Mapping[str, Node]]",
        child: "Callable[[str], Node | None] | None" = None,
    ) -> None:
        self.name = name
        self.children = children
        self.child = child or (lambda name: children().get(name))


Node = Folder | File | StateDir | StateFile


def leads_inside(file: File) -> bool:
    """Whether a link may be shown: from where it stands it can only lead to what is in the tree."""
    try:
        safe_link(file.path, file.entry.link)
    except BadName:
        return False
    return True


def shown(children: Children) -> Iterator[tuple[str, Folder | File]]:
    """The children of a folder without the links that could lead out of it."""
    for name, child in children.pairs():
        if not isinstance(child, File) or not child.version.is_link or leads_inside(child):
            yield name, child


def version_of(node: Node | None) -> str:
    """What tells one content at a path from another, without reading it; "" for anything that is not a file."""
    if isinstance(node, File):
        return node.entry.cid or Cid(f"sha1 {node.entry.sha1}")
    return f"state {node.name}" if isinstance(node, StateFile) else ""
