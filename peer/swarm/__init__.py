"""Bytes from other peers, every piece checked before anybody sees it.

    plan      which run to ask of whom, next; pure: windows, pieces, holders and time in, requests out
    pieces    a download's pieces on disk, shared with the data server by mmap
    source    one holder: connections kept alive, runs fetched, every limit enforced
    bench     who lied, stalled or died, and until when it is not asked
    download  one content being fetched: readers wait here, workers fill it
    legacy    files of the seed's peers: unknown size, checked as a whole
    swarm     all downloads by cid; opens readers, hands what is whole to the scanner

May import `shoal`, `peer.share`, `peer.layout`, `peer.messages`. Knows no FUSE and no catalogue: holders are asked
for through a function.
"""
