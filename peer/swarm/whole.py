"""The last check: a whole file against its manifest's SHA-256 and SHA-1.

Pieces are checked by SHA-1, for which collisions can be made; the manifest commits to a SHA-256 of the whole, and
nothing is kept or shared on as whole before it was found right. Nobody waits for that: its pieces are read, and given
to others, meanwhile.
"""

import hashlib
import threading

from peer.priority import Patience
from peer.swarm.pieces import Pieces
from shoal.errors import Lied, Unreachable
from shoal.manifest import Manifest

CHUNK = 1 << 20


def check_whole(pieces: Pieces, closing: threading.Event) -> None:
    """Hashes the file on disk, both ways in one pass, while nobody else wants the CPU.

    Raises:
        Lied: it is not what its manifest says, though every piece is.
        LocalError: the disk fails.
        Unreachable: the program ends.
    """
    manifest: Manifest = pieces.manifest
    sha1, sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
    patience = Patience()
    for offset in range(0, manifest.size, CHUNK):
        if closing.is_set():
            raise Unreachable("the program ends before a download was checked")
        data = pieces.read(offset, min(CHUNK, manifest.size - offset))
        sha1.update(data)
        sha256.update(data)
        patience.rest()
    if (sha1.hexdigest(), sha256.hexdigest()) != (manifest.sha1, manifest.sha256):
        raise Lied(f"the pieces of {manifest.cid[:12]} are right and the whole is not")
