"""What an owner, or the catalogue, says about a path: forgotten, withdrawn, a higher rev seen. No files are touched.

Each function is a loop around one change, which is made anew when the rows changed meanwhile.

Threading: none; they belong to the keeper's thread. Raises (all): LocalError when the index cannot be written.
"""

from dataclasses import replace

from peer.share.index import Change, Index
from peer.share.rows import Row
from peer.share.scan import used_rev
from shoal.manifest import NOTHING_CID
from shoal.ownership import next_rev


def forget(index: Index, path: str, peer: str, now_ns: int) -> str:
    """Announces "nothing" as the owner's next version of a path; returns why not, or "".

    The user's file stays on the disk. Its inode and ctime are in the row, and until they change it is not shared.
    """
    while True:
        rows = index.at(path)
        own = [row for row in rows if row.kind == "own" and row.state != "moving"]
        if not own:
            copied = any(row.kind == "copy" for row in rows)
            return "only its owner can withdraw it" if copied else "no such path in this peer's share"
        nothing = Row(path, NOTHING_CID, "nothing", 0, now_ns, disk=own[0].disk)
        nothing.dev, nothing.ino, nothing.ctime = own[0].dev, own[0].ino, own[0].ctime
        nothing.revs = {peer: next_rev(used_rev(rows, peer), 0, now_ns // 1_000_000)}
        if not index.apply([Change(path, rows, [nothing], [row.cid for row in own])]):
            return ""


def withdrawn(index: Index, path: str, revs: dict[str, int], now_ns: int) -> None:
    """Notes that the owners withdrew a path with these revs, and announces it."""
    while True:
        rows = index.at(path)
        row = Row(path, NOTHING_CID, "nothing", 0, now_ns, revs=dict(revs))
        for old in rows:
            if old.kind == "nothing":
                if all(old.revs.get(owner, -1) >= rev for owner, rev in revs.items()):
                    return
                revs = {owner: max(rev, revs.get(owner, 0)) for owner, rev in (revs | old.revs).items()}
                row = replace(old, revs=revs, mtime=now_ns)
        if not index.apply([Change(path, rows, [row])]):
            return


def seen(index: Index, path: str, peer: str, rev: int, now_ms: int) -> None:
    """The catalogue has this rev of ours: if it is higher than what the index used, takes the next above."""
    while True:
        rows = index.at(path)
        mine = [row for row in rows if row.kind in ("own", "nothing") and peer in row.revs and row.state == "ok"]
        if not mine or max(row.revs[peer] for row in mine) >= rev:
            return
        newest = max(mine, key=lambda row: row.revs[peer])
        revs = newest.revs | {peer: next_rev(used_rev(rows, peer), rev, now_ms)}
        if not index.apply([Change(path, rows, [replace(newest, revs=revs)])]):
            return
