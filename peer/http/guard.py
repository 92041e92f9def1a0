"""Who may ask and who may change things at the http port: the one place that decides.

- A `Host` that is neither a name of loopback, nor an address that the port is bound to
  (bound to a wildcard: any literal address of this machine), nor allowed by name is refused whole: a page
  on the Internet whose name was pointed at this machine sends its own name (DNS rebinding).
- A change with a foreign `Origin`, or marked cross-site by the browser, is refused always.
- A port bound to loopback asks no more. On any other address a change needs the token, or that
  the port was opened to all on purpose.

Pure, but for asking the machine whether an address is its own.
"""

import hmac
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Guard:
    """The rules for one listener. `bound` is the address it listens at, a literal."""

    bound: str
    allowed: frozenset[str] = frozenset()
    token: str = ""
    open: bool = False

    def refusal(self, method: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """(status, reason) why a request is refused, or None when it may pass."""
        host = headers.get("Host", "")
        if not self._host_fits(_name_of(host)):
            return 403, f"this port does not answer for the host {host!r}; see --allow-host"
        if method in _READS:
            return None
        origin = headers.get("Origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return 403, "a change asked for by a page from elsewhere"
        if headers.get("Sec-Fetch-Site", "").lower() == "cross-site":
            return 403, "a change asked for by a page from elsewhere"
        if self.open or _address(self.bound).is_loopback:
            return None
        if not self.token:
            return 403, "changes from other machines need a token; start the peer with --token-file"
        given = headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            return 403, "the token is missing or wrong; see --token-file"
        return None

    def _host_fits(self, name: str) -> bool:
        if name in self.allowed or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        bound = _address(self.bound)
        if bound.is_unspecified:
            return address.is_loopback or is_own_address(str(address))
        return address == bound or (address.is_loopback and bound.is_loopback)


def is_own_address(address: str) -> bool:
    """Whether a literal address is one of this machine's: a socket can be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return not _address(address).is_multicast


def _name_of(host: str) -> str:
    """The name in a Host header, without port and brackets, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(text)
