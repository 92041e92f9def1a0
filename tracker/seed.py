"""The protocol of the first peers: what they say, and what they want to hear. Pure.

    POST /refresh   {"PEER": "host:port", "files": {name: sha1}}   → 204
    GET /           → {name: {"sha1": …, "peers": ["host:port", …]}}, names without "/" only
    GET /?q=NAME    → that file's {"sha1", "peers"}, or {}

Such a peer says all it has every few seconds, and is gone when it stops.
"""

import hashlib
import logging
import re
from collections.abc import Mapping

from msgspec import Struct

from shoal.errors import BadName, DataError, UsageError
from shoal.names import printable, safe_path, safe_peer_name
from shoal.ownership import Version
from shoal.units import parse_address
from shoal.wire import decode
from tracker.catalogue import shown_cid
from tracker.listing import Listing

log = logging.getLogger(__name__)
_SHA1 = re.compile(r"[0-9a-fA-F]{40}", re.ASCII)


class Refresh(Struct, frozen=True):
    """What a seed peer says of itself: its data port, and the SHA-1 of each of its files by name."""

    PEER: str
    files: dict[str, str]


class SeedFile(Struct, frozen=True):
    """What a seed peer is told of a file."""

    sha1: str
    peers: list[str]


def read_refresh(body: bytes) -> tuple[str, int, dict[str, str]]:
    """The host and port that the peer says it has, and its files: safe path to SHA-1 in lower case.

    A name that cannot be a path is left out.

    Raises:
        DataError: it is not what a peer of that protocol says.
    """
    refresh = decode(body, Refresh)
    try:
        host, port = parse_address(refresh.PEER)
    except UsageError as error:
        raise DataError(f"PEER: {error}") from None
    files: dict[str, str] = {}
    for name, sha1 in refresh.files.items():
        if not _SHA1.fullmatch(sha1):
            raise DataError("a file without a SHA-1 of 40 hex digits")
        try:
            files[safe_path(name)] = sha1.lower()
        except BadName as error:  # that file cannot be listed; the peer's others can
            log.info("%s: %s", printable(refresh.PEER), error)
    return host, port, files


def seed_id(url: str) -> str:
    """The id of the seed peer at a URL. No secret of a peer of ours, 64 hex digits, has this hash."""
    return hashlib.sha256(f"seed {url}".encode()).hexdigest()


def seed_name(host: str, address: str) -> str:
    """The seed peer's name for people: what it calls its host, if that can be one, or its address."""
    try:
        return safe_peer_name(host)
    except BadName:
        return address


def winner(versions: list[Version]) -> Version | None:
    """Of a path's versions the file that a seed peer is told of: the first of those that somebody has whole."""
    files = [version for version in versions if version.item.sha1 and version.holders]
    return min(files, key=lambda version: (-version.mtime, shown_cid(version.item), version.item.sha1), default=None)


def seed_file(version: Version, listings: Mapping[str, Listing]) -> SeedFile:
    """A version as a seed peer is told of it."""
    return SeedFile(version.item.sha1, [listings[id].url.removeprefix("http://") for id in version.holders])
