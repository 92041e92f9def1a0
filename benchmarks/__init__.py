"""What Shoal must show beside other programs: `make bench`.

    ground   the files, the web server, the tracker and the peers that all rows stand on
    theirs   nginx, rclone, sshfs and curl, each a context manager or a call
    work     the work itself, the same for every system: read, read at random, open, list
    rows     one function for each row of the table
    spread   one file to many readers on hosts of their own (`tests.support.lab`), ours and libtorrent's (torrent)
    swarm    the rows whose programs run on such hosts
    curve    the time by the number of readers, drawn
    table    medians, ratios, bars, and what is printed

Systems take turns inside each round, so that a slow minute of the machine falls on all of them.
May import: `shoal`, `tests.support`. Nothing imports it.
"""
