"""Hosts to socket addresses, with a timeout: the system's resolver has none of its own."""

import contextlib
import ipaddress
import socket
import threading

from shoal.errors import Unreachable


def resolve(host: str, port: int, timeout: float) -> tuple[int, tuple[str, int]]:
    """(address family, socket address) of a host, which is nearly always a literal address.

    Raises:
        Unreachable: the name is not known, or not within the timeout.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return socket.AF_INET6 if address.version == 6 else socket.AF_INET, (host, port)
    found: list[tuple[int, tuple[str, int]]] = []

    def ask() -> None:
        with contextlib.suppress(OSError):  # then nothing is found, which is the answer
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            found.append((family, (str(address[0]), port)))

    thread = threading.Thread(target=ask, name="resolve", daemon=True)
    thread.start()
    thread.join(timeout)
    if not found:
        raise Unreachable(f"the name {host} leads nowhere")
    return found[0]
