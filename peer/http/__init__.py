"""The http port: status and control, for people and programs on this machine.

    guard  who may ask, who may change: Host, Origin, token; the one place
    app    the routes (Flask)
    care   the routes of warm and scrub
    limits those for limits
    serve  the app behind cheroot, in threads of the peer's process

May import `shoal`, `peer.vfs`, `peer.swarm`, `peer.catalogue`, `peer.share`. Imported by `peer.cli` only.
"""
