"""What owners and copies must do because of what others did: pure.

- An owner that finds its id with a higher rev than it used takes the next above: `Seen`.
- A copy whose owners all moved on may go once a version that one of them moved on to is whole here, or when
  all they moved on to is "nothing": `Supersede`.
"""

from collections.abc import Callable, Iterable
from itertools import groupby

from peer.messages import Seen, Supersede
from peer.share.rows import Row
from shoal.wire import Entry

Told = Callable[[str], tuple[list[Entry], dict[str, int]]]
"""What a settled tracker says of a path: the entries it lists, and the revs of owners who withdrew it."""


def duties(rows: Iterable[Row], id: str, told: Told) -> list[Seen | Supersede]:
    """The messages to the scanner that follow from these rows of the peer `id`; all rows of a path stand together."""
    found: list[Seen | Supersede] = []
    for path, held in groupby(rows, key=lambda row: row.path):
        here = [row for row in held if row.announced]
        if not any(row.revs for row in here):
            continue
        entries, withdrawn = told(path)
        newest = dict(withdrawn)
        for entry in entries:
            for owner in entry.owners:
                newest[owner.id] = max(owner.rev, newest.get(owner.id, -1))
        used = [row.revs[id] for row in here if row.kind in ("own", "nothing") and id in row.revs]
        if used and newest.get(id, -1) > max(used):
            found.append(Seen(path, newest[id]))
        whole = {row.cid for row in here if row.kind in ("own", "copy")}
        for row in here:
            if row.kind == "copy" and row.revs and all(newest.get(o, -1) > rev for o, rev in row.revs.items()):
                found += _superseded(row, entries, withdrawn, whole)
    return found


def _superseded(row: Row, entries: list[Entry], withdrawn: dict[str, int], whole: set[str]) -> list[Supersede]:
    """The message about a copy whose owners all moved on, if it may go."""
    moved = {entry.cid for entry in entries for owner in entry.owners if owner.id in row.revs}
    if row.cid not in moved and moved & whole:
        return [Supersede(row.path, row.cid)]
    nothing = {owner: rev for owner, rev in withdrawn.items() if owner in row.revs}
    if not moved and nothing:
        return [Supersede(row.path, row.cid, nothing)]
    return []
