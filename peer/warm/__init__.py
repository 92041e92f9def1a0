"""Files fetched before anybody reads them, and kept as copies: `shoal warm`, and whoever else wants a file here.

    line      which file is fetched next, and how far a run is; pure
    warm      the threads that fetch
    jobs      work that somebody waits for at the http port: named, asked after, ended
    care      what the http port can have done: warm, and scrub

May import `shoal`, `peer.catalogue`, `peer.swarm`, `peer.share`, `peer.messages`, `peer.layout`, `peer.priority`.
"""
