"""The rules of owners and copies, for one path: pure, the same on trackers and peers.

Who put a file into a share owns that version of the path; a kept download is a
copy. Given what everybody holds at a path, `resolve` says which versions are
listed:

- An owner's newest version is its current one. What an owner with a living lease
  says of itself counts alone; what others remember of its revs counts while it says nothing of the path.
- An owner whose current version is another one has moved on. A version is
  superseded when all its owners moved on. It is not listed while anybody alive shows
  a version that one of them moved on to; when nobody does any more, it is listed again.
- A path that an owner withdrew ("nothing") moves on like any other version, to nothing.
- Two owners of the same bytes are two owners of one entry; different bytes are
  different entries side by side.

`next_rev` is the rev that an owner's next version takes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shoal.manifest import NOTHING_CID
from shoal.wire import MAX_REV, Item


@dataclass(slots=True)
class Version:
    """One listed version of a path: an item that shows it, and who owns and holds it (peer ids).

    `owners` maps each owner to the highest rev that anybody alive has of it at this path: one that used a lower one
    (its index was lost) learns from that to go above. Owners without a living lease, whose revs copies remember, count.
    `pinned` are those of the holders that keep it on purpose.
    `mtime` is the newest of the living owners' (of the copies', when no owner is alive), in nanoseconds.
    """

    item: Item
    mtime: int
    owners: dict[str, int] = field(default_factory=dict)
    holders: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    pinned: list[str] = field(default_factory=list)


def current_versions(items: Iterable[tuple[str, Item]]) -> dict[str, tuple[int, str]]:
    """Each owner's newest version of the path as (rev, cid), from all living (peer id, item)."""
    told: dict[str, tuple[int, str]] = {}
    remembered: dict[str, tuple[int, str]] = {}
    for peer, item in items:
        for owner, rev in item.revs.items():
            mine = owner == peer and item.kind in ("own", "nothing")
            known = told if mine else remembered
            known[owner] = max(known.get(owner, (-1, "")), (rev, item.cid))
    return remembered | told


def resolve(items: Mapping[str, Iterable[Item]]) -> list[Version]:
    """The listed versions of one path, by cid.

    `items` maps each peer with a living lease to what it holds at this path.
    """
    lines = [(peer, item) for peer, held in items.items() for item in held]
    if len(lines) == 1 and lines[0][1].kind == "own":  # by far the most common case
        peer, item = lines[0]
        return [Version(item, item.mtime, dict(item.revs), [peer], pinned=[peer] if item.pinned else [])]
    current = current_versions(lines)
    highest: dict[str, int] = {}
    for _, item in lines:
        for owner, rev in item.revs.items():
            highest[owner] = max(rev, highest.get(owner, -1))
    versions: dict[str, Version] = {}
    best: dict[str, tuple[bool, int, str]] = {}
    moved_on: set[str] = set()
    for peer, item in sorted(lines, key=_by_peer):
        if item.kind == "nothing":
            continue
        version = versions.setdefault(item.cid, Version(item, item.mtime))
        # Whoever is asked must show the same item: an owner's before a copy's, then the newest, then the highest id.
        rank = item.kind == "own", item.mtime, peer
        if rank >= best.setdefault(item.cid, rank):
            best[item.cid] = rank
            version.item, version.mtime = item, item.mtime
        (version.partial if item.kind == "partial" else version.holders).append(peer)
        if item.pinned:
            version.pinned.append(peer)
        for owner in item.revs:
            if current[owner][1] == item.cid:
                version.owners[owner] = highest[owner]
            else:
                moved_on.add(item.cid)
    # What `current` names is shown by somebody alive, for it was read from what the living say: a version whose
    # owners all moved on has a newer one beside it. A version of no known owner is superseded by nothing.
    return [version for cid, version in sorted(versions.items()) if version.owners or cid not in moved_on]


def _by_peer(line: tuple[str, Item]) -> str:
    return line[0]


def is_withdrawn(items: Mapping[str, Iterable[Item]]) -> bool:
    """Whether the path has no listed version because its newest known one is "nothing"."""
    lines = [(peer, item) for peer, held in items.items() for item in held]
    return any(item.cid == NOTHING_CID for _, item in lines) and not resolve(items)


def next_rev(used: int, seen: int, now_ms: int) -> int:
    """The rev of an owner's next version: above what it used, what the catalogue has for its id, and the clock (ms).

    At `MAX_REV` it stays: a rev that somebody invented must not make the owner's next message invalid, and what a
    living owner says of itself counts whatever its number.
    """
    return min(max(used, seen, now_ms) + 1, MAX_REV)
