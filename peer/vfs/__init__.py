"""The tree as nodes and handles: what is shown, and what is read when it is opened. No FUSE.

    nodes    what can be found at a path, and its attributes
    handles  an open file, bound to one version
    state    `.shoal/`: the peer's state as files, and each peer's own tree
    sights   what is or was to be seen at a path, to tell differences by
    vfs      finds nodes, lists them, opens them

May import `shoal`, `peer.catalogue`, `peer.swarm`, `peer.share`. Nothing here opens a path inside the mount.
"""

from peer.vfs.handles import Handle, Seen
from peer.vfs.nodes import Attributes, Node, StateDir, StateFile, version_of
from peer.vfs.sights import Sight
from peer.vfs.vfs import Vfs

__all__ = ["Attributes", "Handle", "Node", "Seen", "Sight", "StateDir", "StateFile", "Vfs", "version_of"]
