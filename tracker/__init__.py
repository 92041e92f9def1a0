"""The tracker: who is alive and what each holds. Keeps nothing on disk.

Pure, time is an argument:

    leases     who is listed, until when, with which list: the rules of announcements
    lists      a peer's list as it changes; quotas, what one source may take; settling, when a catalogue is complete
    catalogue  the merged entries, their version and the delta feed
    listing    peers at a path; rows, items packed small; contents, who has a cid; changelog, what changed in order
    patience   a clock that does not count the tracker's own stops
    address    where a peer is listed
    seed       the protocol of the first peers, both ways
    views      rows for people and programs

Around that:

    store      what the routes know of a store; memory, the one there is: all of the above behind one lock, on a
               cachetools TTLCache with an injected timer
    request    a request's source, body and proof, each with its limit
    app        the routes (Flask); announcing, the hot one in front of them
    pages      the plain page for browsers
    hints      datagrams that say: there is something to pull
    figures    what is counted, for Prometheus
    machine    this machine's addresses
    cli        argv, Granian, signals: the composition root

May import `shoal`; never `peer`. Flask is named in `app` (and `pages`) only, cachetools in `memory` only.
"""
