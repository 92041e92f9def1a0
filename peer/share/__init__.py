"""What is in LOCAL: one process scans, watches, hashes, keeps downloads, and alone writes the index.

    rows     the index's rows and its reader (any process)
    index    the index's writer (this process only)
    local    whole files on this disk, opened and found unchanged (any process)
    scan     the walk: what is new, changed, gone; pure over a listing
    watch    file system events, as hints (the only use of watchdog)
    hash     manifests of files that hold still while they are read
    keep     finished downloads moved into LOCAL, never over a user's file
    scanner  the process: wires the above, talks to the peer

May import `shoal`, `peer.layout`, `peer.beneath`, `peer.messages`, `peer.process`.
"""
