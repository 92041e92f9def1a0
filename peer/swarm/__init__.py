"""Bytes from other peers, every piece checked before anybody sees it.

    swarm       all contents being read, by cid; opens readers
    reader      an open handle on one version; foreground: whether somebody waits for one
    content     what a content being read must do; four kinds:
    small       contents of one piece: one request, in memory until kept
    ready       the same, in memory already when they are opened
    download    contents of several pieces: readers wait here, and in
    fetching    workers fill them, and exchange news with who reads them too
    legacy      files of the seed's peers: unknown size, checked as a whole
    plan        which run to ask of whom, next; pure: windows, pieces, holders and time in, requests out; of
    state         what is here, under way and wanted of a content
    window        an open handle's streak, and how far ahead of it to fetch
    holding       what one holder has, and how fast it gives
    rarity        how many readers have each piece
    streaks     who reads small files one after another, and which come next; pure
    prefetch    fetches these: `batch`, several in one request; `ahead`, where they are until they are read
    bench       who lied, stalled or died, and until when it is not asked; pure
    holders     who has a content, and whom to ask for what one holder gives at a time
    neighbours  who else reads a content
    opened      a content whose manifest is known: store, plan, lock
    knowledge   the manifest of a content; which pieces a partial holder has
    receive     a run of pieces off one holder, verified as they come
    store       where the verified pieces of a content are
    source      one holder
    sockets     the connections to all holders, kept alive: how many there may be, who waits for one
    connection  HTTP/1.1 as far as it is needed, every limit enforced; `resolve` its names; `body`, an answer's bytes
    pieces      a download's pieces on disk, shared with the data server
    recheck     pieces on disk read again; what rotted is missing
    partial     what is left of downloads that nobody has open
    memory      verified bytes in memory, bounded
    whole       the last check, against the SHA-256 of the whole
    keeper      hands what is whole to the scanner; `gathering`, in bunches
    commons     what all contents share; config, counters

May import `shoal`, `peer.share`, `peer.cache`, `peer.layout`, `peer.messages`, `peer.news`, `peer.bitmap`,
`peer.limiter`, `peer.priority`. Knows no FUSE and no catalogue: holders are asked for through a function, and so is
what comes after a file.
"""

from peer.swarm.commons import FindHolders, Others
from peer.swarm.config import SwarmConfig
from peer.swarm.counters import Stats
from peer.swarm.prefetch import Following
from peer.swarm.reader import Reader
from peer.swarm.swarm import Swarm

__all__ = ["FindHolders", "Following", "Others", "Reader", "Stats", "Swarm", "SwarmConfig"]
