"""The peer that the `shoal` command talks to: found, and asked over its http port."""

import ipaddress
import re
import socket
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from shoal import local
from shoal.errors import LocalError, Misbehaved, UsageError
from shoal.http import Client
from shoal.names import printable
from shoal.units import parse_address, show_address

_TOKEN = re.compile(r"[!-~]{1,1024}")
_TOTAL = 60.0
"""Seconds for one answer: what a peer is asked for may wait for its disk."""


class Remote:
    """One peer. What it answers is any JSON object; the caller says what it must be.

    `peer` is a URL, the http port's `host:port` or the data port's; None or "": the one peer on this machine.

    Raises (all methods, and the constructor): UsageError, LocalError, and what `shoal.http.Client` raises.
    """

    def __init__(self, peer: str | None, token_file: Path | None) -> None:
        self._headers = _authorization(token_file)
        self._client = Client(read=30.0, total=_TOTAL)
        try:
            self.url = self._resolve(*_address(peer)) if peer else local.find().http
        except BaseException:
            self._client.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, route: str, **params: str) -> dict[str, Any]:
        """The answer to a GET."""
        return self._client.get(self.url + route, dict, params, self._headers)

    def post(self, route: str, message: object) -> dict[str, Any]:
        """The answer to a POST."""
        return self._client.post(self.url + route, message, dict, self._headers)

    def delete(self, route: str) -> dict[str, Any]:
        """The answer to a DELETE."""
        return self._client.delete(self.url + route, dict, self._headers)

    def _resolve(self, host: str, port: int) -> str:
        """The http port's URL, whichever of a peer's two ports was given. The token is not sent to find out."""
        given = f"http://{show_address(host, port)}"
        named = self._client.get(given + "/healthz", dict).get("http")
        if named is None:
            return given
        if not isinstance(named, str):
            raise Misbehaved(f"{given} does not say where its http port is")
        http_host, http_port = _address(named)
        if not _same_machine(host, http_host):
            raise LocalError(
                f"{given} is a data port, and its http port {printable(named)} cannot be reached from here, "
                "or is another machine's; if that is meant, give it to --peer"
            )
        if ipaddress.ip_address(http_host).is_unspecified:
            http_host = host
        return f"http://{show_address(http_host, http_port)}"


def _address(text: str) -> tuple[str, int]:
    """(host, port) of a URL or of host:port. Raises UsageError."""
    if "://" not in text:
        return parse_address(text)
    try:
        url = urlsplit(text)
        port = url.port or 80
    except ValueError:
        raise UsageError(f"not an address: {text!r}") from None
    if url.scheme != "http" or url.path not in ("", "/") or url.query or url.fragment or url.username is not None:
        raise UsageError(f"not the address of a peer: {text!r} (example: http://lab3:8080)")
    return parse_address(show_address(url.hostname or "", port))


def _same_machine(host: str, http_host: str) -> bool:
    """Whether an http port at the literal `http_host`, named by the data port at `host`, is that machine's, and can
    be reached from here: a token goes nowhere else than to the machine that the user named."""
    try:
        address = ipaddress.ip_address(http_host)
        literals = {ipaddress.ip_address(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except (ValueError, OSError):
        return False
    if address.is_loopback:
        return any(_is_own(literal) for literal in literals)
    return address.is_unspecified or address in literals


def _is_own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is this machine's: a socket can be bound to it."""
    with socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


def _authorization(token_file: Path | None) -> dict[str, str]:
    """The header that carries the token of that file."""
    if token_file is None:
        return {}
    try:
        token = token_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the token file cannot be read: {token_file}: {error}") from None
    if not _TOKEN.fullmatch(token):
        raise UsageError(f"the token file must hold one line of printable ASCII: {token_file}")
    return {"Authorization": f"Bearer {token}"}
