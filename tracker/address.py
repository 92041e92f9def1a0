"""Where a peer is listed: at the address it spoke from, unless it may say otherwise. Pure, given a `Machine`.

A tracker that listed whatever address it is told would send every reader there:
to a machine that never asked for it, or to one that only the reader can reach.
So a literal address that is not the sender's own is refused, a name is replaced
by the sender's address, and what is never a peer (link-local, multicast, the
clouds' metadata services, no address at all) is refused whoever says it.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Protocol

from shoal.addresses import Address, never_a_peer
from shoal.errors import DataError, Refused
from shoal.units import show_address

Network = IPv4Network | IPv6Network

_HOST_NAME = re.compile(r"(?:[0-9a-z_](?:[0-9a-z_-]{0,62})\.)*[a-z_][0-9a-z_-]{0,62}\.?", re.ASCII | re.IGNORECASE)


class Machine(Protocol):
    """What the tracker's own machine knows of its addresses."""

    def owns(self, address: Address) -> bool:
        """Whether the address is one of this machine's."""

    def routed(self) -> Address | None:
        """The machine's address on its default route; None if it has none."""


def parse(text: str) -> Address:
    """The literal address; an IPv4 address inside an IPv6 one as what it is.

    Raises:
        ValueError: it is not a literal address.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.scope_id is not None and not address.is_link_local:
            raise ValueError("an address with a zone")
    return address


def source_of(remote: str, forwarded: str, trusted: Sequence[Network]) -> Address:
    """Who sent a request: the connection's other end, or, behind trusted proxies, the last address they did not add.

    `forwarded` is the X-Forwarded-For header.

    Raises:
        DataError: neither is an address.
    """
    hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
    try:
        address = parse(remote)
        while hops and any(address in network for network in trusted):
            address = parse(hops.pop())
    except ValueError:
        raise DataError("the request's source is not an address") from None
    return address


def quota_key(address: Address) -> str:
    """Whose quota an address takes: its own; of IPv6 that of its /64, for whoever has one has all of them."""
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address) >> 64 << 64, 64)))
    return str(address)


def peer_url(source: Address, advertise: str, port: int, machine: Machine) -> str:
    """The URL at which a peer of ours is listed that announces from `source` and wants to be `advertise` ("": no wish).

    Raises:
        Refused: a literal address that is not the sender's, or one that no peer ever has (403).
        DataError: what it wants is neither an address nor a name.
    """
    literal = _literal(advertise)
    if not source.is_loopback:
        return _url(_its_own(source, literal), port)
    if literal is not None:
        return _url(literal, port)
    if advertise:
        return f"http://{show_address(advertise, port)}"
    return _url(machine.routed() or source, port)


def seed_url(source: Address, host: str, port: int, machine: Machine) -> str:
    """The URL at which a peer of the seed's protocol is listed that calls itself `host`.

    Raises:
        Refused: a literal address that is neither the sender's nor, on loopback, this machine's (403); or no peer's.
        DataError: it is neither an address nor a name.
    """
    literal = _literal(host)
    if literal is not None and source.is_loopback and machine.owns(literal):
        return _url(literal, port)
    return _url(_its_own(source, literal), port)


def _literal(host: str) -> Address | None:
    """The literal address, or None for a name (or nothing)."""
    if not host:
        return None
    try:
        return parse(host)
    except ValueError:
        # "127.1" or "0x7f000001" are addresses to many a resolver: no label at the end may begin with a digit.
        if len(host) > 253 or not _HOST_NAME.fullmatch(host):
            raise DataError("neither an address nor a host's name") from None
        return None


def _its_own(source: Address, literal: Address | None) -> Address:
    if literal is not None and literal != source:
        raise Refused("an address that is not the sender's", status=403)
    return source


def _url(address: Address, port: int) -> str:
    if never_a_peer(address):
        raise Refused("an address at which no peer can be", status=403)
    return f"http://{show_address(str(address), port)}"
