"""A peer: offers a share, mounts everybody's, and passes on what it reads.

Three processes: the peer itself (mount, swarm, catalogue, announcer, http
port), the scanner (`share`, the index's only writer) and the data server
(`data`); and, once somebody watches a directory of the mount, the helper that
tells him (`mount.actor`). What they say to each other is in `messages`.

    share      what is in LOCAL: scan, watch, index, hash, keep downloads
    data       the data port: bytes for other peers
    catalogue  what the network has: pulled from the tracker, merged into one tree
    announcer  the lease and the list, told to the tracker
    swarm      bytes from other peers: plan, sources, pieces on disk
    vfs        the tree as nodes and handles; no FUSE
    mount      the vfs as a mounted file system: the only FUSE code
    http       the http port: status and control for people and programs
    cli        the composition root: argv, environment, wiring

May import `shoal`; never `tracker`. Inside: `cli` → `mount`, `http` → `vfs` →
`swarm`, `catalogue` → `share`; `data` → `share`, `swarm.pieces`. Never the reverse.
"""
