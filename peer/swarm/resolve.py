"""Hosts to socket addresses, with a timeout: the system's resolver has none of its own.

Where a name leads is looked at here, and not only what it looks like: "2852039166" is 169.254.169.254 to the resolver.
"""

import contextlib
import ipaddress
import socket
import threading

from shoal.addresses import never_a_peer
from shoal.errors import Unreachable


def resolve(host: str, port: int, timeout: float) -> tuple[int, tuple[str, int]]:
    """(address family, socket address) of a host, which is nearly always a literal address.

    Raises:
        Unreachable: the name is not known, or not within the timeout, or no peer can be where it leads.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        if never_a_peer(address):
            raise Unreachable(f"no peer can be at {host}")
        return socket.AF_INET6 if address.version == 6 else socket.AF_INET, (host, port)
    found: list[tuple[int, tuple[str, int]]] = []

    def ask() -> None:
        with contextlib.suppress(OSError):  # then nothing is found, which is the answer
            for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                if not never_a_peer(ipaddress.ip_address(str(address[0]))):
                    found.append((family, (str(address[0]), port)))

    thread = threading.Thread(target=ask, name="resolve", daemon=True)
    thread.start()
    thread.join(timeout)
    if not found:
        raise Unreachable(f"the name {host} leads nowhere")
    return found[0]
