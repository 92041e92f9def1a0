"""Pieces of downloads under way, read again from the disk: what rotted is missing from then on, and given to nobody.

Threading: none of its own; any thread that has time.
"""

import logging
import time
from collections.abc import Callable, Iterator

from peer.layout import Layout
from peer.share.check import Disk, pass_cache, piece_is_right
from peer.swarm.pieces import CHECKED, PiecesReader
from peer.swarm.swarm import Swarm
from shoal.errors import BadManifest
from shoal.manifest import Cid, Manifest, is_cid

log = logging.getLogger(__name__)
_PATIENCE = 5.0
"""Seconds in which a download that is just being opened can be told of a rotten piece."""


def downloads(layout: Layout) -> list[str]:
    """The cids of all downloads of which there are pieces on disk."""
    try:
        return sorted(path.stem for path in layout.partial.glob("*.bits") if is_cid(path.stem))
    except OSError as error:
        log.warning("cannot look for downloads: %s", error)
        return []


def recheck(layout: Layout, swarm: Swarm, cid: str, disk: Disk) -> Iterator[tuple[int, int | None]]:
    """For each piece of the download that is here: (its bytes, its number if it was rotten, else None).

    A rotten one is missing by then, for this process and for the data server.
    """
    reader = PiecesReader.open(layout, cid)
    if reader is None:
        return  # done with, or of another boot: then each is hashed when it is first asked for
    try:
        manifest = Manifest.decode(reader.manifest(), Cid(cid))
        pass_cache(reader.fd)
        for number, flag in enumerate(reader.flags()):
            if flag != CHECKED:
                continue
            why = piece_is_right(disk, reader.fd, manifest, number)
            if why and reader.covers(*manifest.span(number)):
                log.error("a download of %s: %s; it is fetched again when it is wanted", cid[:12], why)
                _spoil(lambda number=number: swarm.spoil(cid, number))  # type: ignore[misc]
            yield manifest.span(number)[1], number if why else None
    except (OSError, BadManifest) as error:
        log.warning("a download of %s cannot be checked: %s", cid[:12], error)
    finally:
        reader.close()


def _spoil(spoil: Callable[[], bool]) -> None:
    until = time.monotonic() + _PATIENCE
    while not spoil() and time.monotonic() < until:
        time.sleep(0.05)
