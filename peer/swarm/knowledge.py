"""What must be known of a content of several pieces: its manifest, and which pieces a partial holder has."""

import time
from collections.abc import Mapping

from peer import bitmap
from peer.swarm.commons import Commons
from peer.swarm.holders import Holders
from peer.swarm.pieces import PiecesReader
from peer.swarm.source import Source, by_cid
from shoal.errors import BadManifest, DataError, Misbehaved
from shoal.manifest import MAX_SIZE, Cid, Manifest, manifest_length
from shoal.wire import PeerRow


def fetch_manifest(holders: Holders, commons: Commons, cid: str, size: int) -> Manifest:
    """The manifest of a content of `size` bytes.

    Raises:
        RemoteError: nobody gives it.
        DataError: there is no file of that size.
    """
    if size > MAX_SIZE:
        raise DataError(f"a file of {size} bytes is too large")
    length = manifest_length(size)

    def get(_: PeerRow, source: Source) -> Manifest:
        with source.get(f"{by_cid(cid)}/manifest", 0, length, length) as body:
            return _decode(body.read(), cid, size)

    found = _on_disk(commons, cid, size)
    return found or holders.first(get, time.monotonic() + commons.config.read_timeout, seeds=False)


def fetch_pieces(source: Source, cid: str, count: int, say: bytes = b"") -> tuple[int, Mapping[bytes, bytes]]:
    """(the pieces that the holder has, the fields of its answer's head); `say` goes with the request.

    Raises:
        Misbehaved: it does not say so in the way it should.
        RemoteError: see `Source.get`.
    """
    length = -(-count // 8)
    with source.get(f"{by_cid(cid)}/pieces", 0, length, length, say) as body:
        try:
            return bitmap.from_wire(body.read(), count), body.fields
        except DataError as error:
            raise Misbehaved(f"{source.name}: {error}") from None


def _decode(body: bytes, cid: str, size: int) -> Manifest:
    manifest = Manifest.decode(body, Cid(cid))
    if manifest.size != size:
        raise BadManifest(f"the manifest of {cid[:12]} is of another size than the entry")
    return manifest


def _on_disk(commons: Commons, cid: str, size: int) -> Manifest | None:
    """The manifest of a download that began earlier; one that does not fit is as good as none."""
    reader = PiecesReader.open(commons.layout, cid)
    if reader is None:
        return None
    try:
        return _decode(reader.manifest(), cid, size) if reader.size == size else None
    except (BadManifest, OSError):
        return None
    finally:
        reader.close()
