"""The tracker: who is alive and what each holds. Keeps nothing on disk.

    leases     who is listed, until when, with which list; pure, takes time as an argument
    catalogue  the merged entries, their version and the delta feed; pure
    store      both behind one lock, on a cachetools TTLCache with an injected timer
    seed       the protocol of the first peers, both ways
    app        the routes (Flask), and the renewal's short cut in front of them
    pages      the plain page for browsers
    hints      datagrams that say: there is something to pull
    cli        argv, Granian, signals: the composition root

May import `shoal`; never `peer`. Flask is named in `app` (and `pages`) only, cachetools in `store` only.
"""
