"""A share under a new identity: what its user owns is owned by the new peer from then on.

On a copied disk both peers own the same bytes: two owners of one entry.
"""

import logging
import time
from dataclasses import replace

from peer.share.index import Change, Index
from peer.share.rows import Row
from shoal.ownership import next_rev

log = logging.getLogger(__name__)


def adopt(index: Index, peer: str) -> None:
    """Makes `peer` the owner of all own rows, if the index was another peer's.

    Raises:
        LocalError: the index cannot be written; started again, it goes on.
    """
    if index.noted("peer") == peer:
        return
    for page in index.listed():
        rows = [row for row in page if row.kind == "own" and peer not in row.revs]
        if rows:
            index.apply([Change(row.path, index.at(row.path), put=[_owned(row, peer)]) for row in rows])
            log.info("%d files are owned by this peer's new identity", len(rows))
    index.note("peer", peer)


def _owned(row: Row, peer: str) -> Row:
    return replace(row, revs={peer: next_rev(max(row.revs.values(), default=0), 0, time.time_ns() // 1_000_000)})
