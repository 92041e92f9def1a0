"""`.shoal/` inside the mount: the peer's state as files.

    .shoal/status      how this peer is, as JSON
    .shoal/peers/NAME  what the peer of that name owns, each version under its own name

It is found by its name and not listed.
"""

from collections.abc import Callable, Mapping

from peer.catalogue.catalogue import Catalogue
from peer.catalogue.tree import Folder
from peer.vfs.nodes import Node, StateDir, StateFile, leads_inside
from shoal.names import STATE_DIR


class State:
    """The tree of `.shoal/`. `status` gives the text of `.shoal/status`."""

    def __init__(self, catalogue: Catalogue, status: Callable[[], bytes]) -> None:
        self._catalogue = catalogue
        peers = StateDir("peers", self._peers, catalogue.peer_folder)
        children: Mapping[str, Node] = {"status": StateFile("status", status), "peers": peers}
        self._root = StateDir(STATE_DIR, lambda: children)

    def _peers(self) -> dict[str, Node]:
        folders = {name: self._catalogue.peer_folder(name) for name in self._catalogue.peer_names()}
        return {name: folder for name, folder in folders.items() if folder is not None}

    def find(self, path: str) -> Node | None:
        """What is at a path that begins with `.shoal`."""
        node: Node | None = self._root
        for part in path.split("/")[1:]:
            if isinstance(node, StateDir):
                node = node.child(part)
            elif isinstance(node, Folder):
                node = node.children.get(part)
            else:
                return None
        if node is not None and not isinstance(node, (StateDir, StateFile, Folder)):
            return node if not node.entry.link or leads_inside(node) else None
        return node
