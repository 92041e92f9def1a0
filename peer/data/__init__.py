"""The data server: a process that gives the share's bytes to other peers, over HTTP/1.1.

    ranges   Range and If-Range, as RFC 9110 has them; pure
    content  where the bytes of a path or of a cid are: whole files, pieces of downloads
    request  one request's head, bounded; the answer's head
    handler  a connection: requests in, files out with sendfile, timeouts, caps
    server   the process: takes the listening socket, counts, ends with the peer

May import `shoal`, `peer.share.rows`, `peer.share.local`, `peer.swarm.pieces`, `peer.process`. No framework.
"""
