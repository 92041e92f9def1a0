"""The data server: a process that gives the share's bytes to other peers, over HTTP/1.1.

    ranges   Range and If-Range, as RFC 9110 has them; pure
    pace     who reads too slowly; pure
    request  one request's head, bounded; the answer's head; pure
    turns    whose large answer is sent now, and whose waits; pure
    uplink   the way out that all connections share: turns, and the up-limit
    clients  who is connected, and who makes room
    content  where the bytes of a path or of a cid are: whole files, pieces of downloads
    askers   who asks for which content, and what they told of their pieces
    sending  the way out of one connection: files with sendfile, turns, the up-limit, who reads too slowly
    handler  a connection: requests in, answers out, news, timeouts
    server   the process: takes the listening socket, caps and counts, ends with the peer

May import `shoal`, `peer.share.rows`, `peer.share.local`, `peer.swarm.pieces`, `peer.process`,
`peer.news`, `peer.bitmap`. No framework.
"""
