"""What is in LOCAL: one process scans, watches, hashes, keeps downloads, and alone writes the index.

    rows      the index's rows and its reader (any process)
    pins      what is kept on purpose; pure (any process)
    local     whole files on this disk, opened and found unchanged (any process)
    index     the index's writer (this process only, as all below)
    scan      the walk, its comparison with the index, and what becomes of a path; decisions are pure
    watch     file system events, as hints (the only use of watchdog)
    hashing   the manifest of a file that holds still while it is read
    hashers   the threads that hash, small and new files first
    look      looks at one name on disk and collects the changes that follow
    skips     what cannot be shared; each said once
    survey    the thread that keeps the index true to the disk
    mark      the xattr by which a copy is known without the index
    moves     files into LOCAL and out of it, never over a user's file
    copies    finished downloads kept, and taken away
    partials  downloads under way, as rows
    giveup    copies given up, in two steps
    recover   what a crash left half done, ended
    durable   copies that a power cut may have torn, hashed again
    rounds    when which byte is read again; pure
    check     a file read again from the disk, piece by piece
    scrub     the thread that reads again what is kept
    rotten    what becomes of what it found
    withdraw  paths forgotten, withdrawn, and revs overtaken
    keep      the thread that does what the peer asks
    scanner   the process: wires the above, talks to the peer

May import `shoal`, `peer.layout`, `peer.beneath`, `peer.messages`, `peer.process`, `peer.priority`.
"""
