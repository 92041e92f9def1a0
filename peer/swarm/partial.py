"""What is in `.shoal/partial/` of downloads that nobody has open: how much, and taken away."""

import os
from collections.abc import Iterator

from peer.layout import Layout
from peer.swarm.pieces import paths_of
from shoal.errors import LocalError
from shoal.manifest import is_cid


def partial_sizes(layout: Layout) -> Iterator[tuple[str, int]]:
    """(cid, bytes on disk) of each, the oldest first.

    Raises:
        LocalError: the directory cannot be read.
    """
    found: dict[str, tuple[int, int]] = {}
    try:
        with os.scandir(layout.partial) as entries:
            for entry in entries:
                cid = entry.name.partition(".")[0]
                if is_cid(cid):
                    status = entry.stat(follow_symlinks=False)
                    size, latest = found.get(cid, (0, 0))
                    found[cid] = size + status.st_blocks * 512, max(latest, status.st_mtime_ns)
    except OSError as error:
        raise LocalError(f"cannot look into {layout.partial}: {error.strerror}") from error
    for cid in sorted(found, key=lambda cid: found[cid][1]):
        yield cid, found[cid][0]


def remove_partial(layout: Layout, cid: str) -> None:
    """Removes the files of one download.

    Raises:
        LocalError: the disk is broken.
    """
    data, bits, text = paths_of(layout, cid)
    try:
        for path in (bits, data, text):  # without bits the rest is not trusted
            path.unlink(missing_ok=True)
    except OSError as error:
        raise LocalError(f"cannot remove a download: {error.strerror}") from error
