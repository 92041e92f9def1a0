"""The control HTTP client: small JSON messages to trackers and to a peer's http port.

What comes back is from another machine, so everything has a limit: the body
(`wire.MAX_BODY`), the time to connect, each silence, and the whole exchange,
header lines that come byte by byte included. No redirect is followed, no proxy
or netrc of the environment is used, nothing compressed is taken. Bulk bytes do
not go this way.
"""

import http.client
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from shoal import wire
from shoal.errors import Busy, DataError, Gone, Misbehaved, Refused, RemoteError, Unreachable
from shoal.names import printable

T = TypeVar("T")
_CHUNK = 1 << 16
_NO_ADDRESS = (
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
)
_WORDS = 200
"""Characters of another's error message that are passed on at most."""
_IDLE = 8
"""Sessions kept for later at most."""


class _Deadline(threading.local):
    at = float("inf")


_deadline = _Deadline()


class _Socket(socket.socket):
    """A socket whose every read also ends at the deadline of the request that its thread is in."""

    silence = 0.0
    """Seconds that one read may wait."""

    def recv_into(self, *args: Any) -> int:
        left = _deadline.at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the whole exchange took too long")
        self.settimeout(min(self.silence, left))
        return super().recv_into(*args)


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        plain = super()._new_conn()
        timeout = plain.gettimeout()
        sock = _Socket(plain.family, plain.type, plain.proto, plain.detach())
        sock.settimeout(timeout)
        return sock

    def getresponse(self) -> Any:
        assert isinstance(self.sock, _Socket)
        assert self.timeout is not None, "every request has a limit of silence"
        self.sock.silence = self.timeout
        return super().getresponse()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool}


class Client:
    """Asks for messages and posts them. All times are in seconds.

    `connect`: until a connection stands; `read`: the longest silence; `total`: the
    whole exchange, if its caller does not say otherwise.

    Raises (all requests):
        Unreachable: no connection, silence, or the answer was cut off; 502, 504.
        Busy: 429 or 503. Gone: 404 or 410. Refused: any other 4xx.
        Misbehaved: a redirect, another 5xx, too long, compressed, or not the message that was expected.

    Threading: any thread may ask at any time; each request takes an idle session for itself.
    Connections are kept alive until `close`.
    """

    def __init__(self, connect: float = 2.0, read: float = 5.0, total: float = 10.0) -> None:
        self._connect, self._read, self._total = connect, read, total
        self._idle: list[requests.Session] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Closes the connections that are not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()

    def get(
        self,
        url: str,
        kind: type[T],
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        total: float | None = None,
    ) -> T:
        """The message at `url`."""
        return self._request("GET", url, kind, params, None, headers, total)

    def post(
        self,
        url: str,
        message: object,
        kind: type[T],
        headers: Mapping[str, str] | None = None,
        total: float | None = None,
    ) -> T:
        """Sends a message as JSON; the answer. With `type(None)` as `kind` any 2xx is one, and None is returned."""
        return self._request("POST", url, kind, None, wire.encode(message), headers, total)

    def delete(self, url: str, kind: type[T], headers: Mapping[str, str] | None = None) -> T:
        """Has what is at `url` ended or taken away; the answer, as of `post`."""
        return self._request("DELETE", url, kind, None, None, headers, None)

    def _request(
        self,
        method: str,
        url: str,
        kind: type[T],
        params: Mapping[str, str] | None,
        body: bytes | None,
        headers: Mapping[str, str] | None,
        total: float | None,
    ) -> T:
        total = self._total if total is None else total
        sent = {"Accept-Encoding": "identity", "Accept": "application/json", **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
        with self._session() as session, _until(time.monotonic() + total):
            try:
                response = session.request(
                    method,
                    url,
                    params=params,
                    data=body,
                    headers=sent,
                    timeout=(min(self._connect, total), min(self._read, total)),
                    allow_redirects=False,
                    stream=True,
                )
                with response:
                    answer = _body(response)
            except _NO_ADDRESS as error:
                raise Misbehaved(f"not an http address: {printable(url[:_WORDS])}") from error
            except (
                requests.RequestException,
                urllib3.exceptions.HTTPError,
                http.client.HTTPException,
                OSError,
            ) as error:
                raise Unreachable(f"{_origin(url)} does not answer: {_reason(error)}") from error
        if not 200 <= response.status_code < 300:
            raise _error_of(response.status_code, answer, _origin(url))
        if kind is type(None):
            return None
        try:
            return wire.decode(answer, kind)
        except DataError as error:
            raise Misbehaved(f"{_origin(url)} sent what is {printable(str(error)[:_WORDS])}") from None

    @contextmanager
    def _session(self) -> Iterator[requests.Session]:
        with self._lock:
            session = self._idle.pop() if self._idle else None
        if session is None:
            session = requests.Session()
            session.trust_env = False
            session.adapters.clear()
            session.mount("http://", _Adapter(pool_maxsize=1))
        try:
            yield session
        finally:
            session.cookies.clear()
            with self._lock:
                keep = len(self._idle) < _IDLE
                if keep:
                    self._idle.append(session)
            if not keep:
                session.close()


@contextmanager
def _until(at: float) -> Iterator[None]:
    _deadline.at = at
    try:
        yield
    finally:
        _deadline.at = float("inf")


def _body(response: requests.Response) -> bytes:
    """The body as it came, at most `wire.MAX_BODY` bytes; raises Misbehaved."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Misbehaved(f"{_origin(response.url)} sent a compressed answer, unasked")
    found = bytearray()
    while chunk := response.raw.read1(_CHUNK, decode_content=False):
        found += chunk
        if len(found) > wire.MAX_BODY:
            raise Misbehaved(f"{_origin(response.url)} sent more than {wire.MAX_BODY} bytes")
    return bytes(found)


def _error_of(status: int, body: bytes, origin: str) -> RemoteError:
    try:
        problem = wire.decode(body, wire.Problem)
    except DataError:
        problem = wire.Problem("")
    said = f"{origin} answered {status}"
    if problem.error:
        said = f"{said}: {printable(problem.error[:_WORDS])}"
    if status in (429, 503):
        return Busy(said)
    if status in (404, 410):
        return Gone(said)
    if status in (502, 504):
        return Unreachable(said)
    if 400 <= status < 500:
        return Refused(said, status, problem.need[:16])
    return Misbehaved(said)


def _origin(url: str) -> str:
    return printable("/".join(url[:_WORDS].split("/", 3)[:3]))


def _reason(error: BaseException) -> str:
    """The innermost cause, which is the one that says something: "Connection refused"."""
    if isinstance(error, requests.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, (requests.Timeout, TimeoutError, urllib3.exceptions.TimeoutError)):
        return "silence"
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__cause__ or inner.__context__
    return "the answer was cut off, or is not HTTP"
