"""The language that trackers, peers and people share, and the client.

Here live the words of Shoal as types: names made safe (`names`), manifests and
content ids (`manifest`), entries, items and messages (`wire`), the rules of
owners and copies (`ownership`), errors, units, the control HTTP client, and
the `shoal` command. Nothing here knows a tracker's store, a peer's disk, FUSE
or Flask.

May import: the standard library, msgspec, requests, click, rich.
May be imported by: `tracker` and `peer`. Imports neither.
"""

__version__ = "0.1.0"
