"""This machine's addresses, asked of its kernel each time: networks come and go. Sends nothing."""

import socket

from shoal.addresses import Address
from tracker.address import parse


class ThisMachine:
    """The machine that this process runs on. Thread-safe."""

    def owns(self, address: Address) -> bool:
        """Whether the address is one of this machine's: one can listen at it."""
        try:
            with socket.socket(_family(address), socket.SOCK_DGRAM) as sock:
                sock.bind((str(address), 0))
        except OSError:
            return False
        return not address.is_unspecified and not address.is_multicast

    def routed(self) -> Address | None:
        """The machine's address on its default route, IPv4's first; None if it has none."""
        for anywhere in ("192.0.2.1", "2001:db8::1"):  # addresses for examples: any route to them is the default one
            try:
                with socket.socket(_family(parse(anywhere)), socket.SOCK_DGRAM) as sock:
                    sock.connect((anywhere, 9))  # of a datagram socket: looks up the route, sends nothing
                    address = parse(sock.getsockname()[0])
            except OSError:
                continue
            if not address.is_link_local:
                return address
        return None


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6
