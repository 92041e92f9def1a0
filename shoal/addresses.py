"""Addresses at which no peer can be, whoever says so. Pure.

A tracker does not list them, and a reader, to whom trackers too are other people's machines, does not connect to them.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address

_METADATA = frozenset({ip_address("100.100.100.200"), ip_address("fd00:ec2::254")})  # others are link-local


def never_a_peer(address: Address) -> bool:
    """Whether it is link-local, multicast, that of a cloud's metadata service, reserved, or no address at all."""
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    never = address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA
    return never or (isinstance(address, IPv4Address) and address.is_reserved)
