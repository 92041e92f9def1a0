"""What a tracker says, checked again: trackers are other people's machines."""

import ipaddress
from urllib.parse import urlsplit

from shoal.addresses import never_a_peer
from shoal.errors import DataError
from shoal.manifest import DIR_CID, NOTHING_CID, link_cid
from shoal.names import SafePath, safe_link, safe_peer_name
from shoal.wire import Entry, PeerRow

_OWNERS = 64
"""Owners of one version at most: as many as an item has revs."""
_HOLDERS = 16


def check_entry(path: SafePath, entry: Entry) -> None:
    """Checks what the message's types cannot.

    Raises:
        BadName: the link or an owner's name is unfit.
        DataError: its fields contradict each other.
    """
    if entry.link:
        safe_link(path, entry.link)
        if entry.cid != link_cid(entry.link):
            raise DataError("a link whose cid is not its target's")
    elif entry.cid == NOTHING_CID:
        raise DataError("'nothing' is not shown")
    elif entry.cid != DIR_CID and not entry.sha1:
        raise DataError("a file without a SHA-1")
    if entry.cid and entry.size is None:
        raise DataError("a manifest's file has a size")
    if len(entry.owners) > _OWNERS or len(entry.holders) > _HOLDERS:
        raise DataError("too many owners or holders")
    for owner in entry.owners:
        safe_peer_name(owner.name)


def check_peer(row: PeerRow) -> None:
    """Checks a peer's name, and that its address can be one.

    Raises:
        BadName: the name is unfit.
        DataError: an address at which no peer can be (see `shoal.addresses`), or none at all.
    """
    safe_peer_name(row.name)
    if row.url and not _is_reachable(row.url):
        raise DataError("an address at which no peer can be")


def _is_reachable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    if parts.scheme != "http" or not host or not port:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return True  # a name: where it leads is looked at when it is resolved
    return not never_a_peer(address)
