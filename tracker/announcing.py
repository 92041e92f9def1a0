"""`POST /v1/announce`, in front of Flask: the one request that every peer makes every few seconds.

What Flask would do for it (match a route, build its request and response
objects) costs several times what the renewal itself does.
"""

import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from prometheus_client import Counter

from shoal.errors import Refused, ShoalError
from shoal.wire import Announce, Problem, Renewed, decode, encode
from tracker.request import Environ, Requests, check_proof, problem
from tracker.store import Store

log = logging.getLogger(__name__)

ROUTE = "/v1/announce"
HEADERS = [("Content-Type", "application/json"), ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]

StartResponse = Callable[[str, list[tuple[str, str]]], object]
Application = Callable[[Environ, Any], Iterable[bytes]]


class Announcing:
    """A WSGI application that answers announcements, and hands on all else. Thread-safe, as its store is.

    `refresh` and `ttl` are in seconds.
    """

    def __init__(
        self, store: Store, requests: Requests, refresh: float, ttl: float, outcomes: Counter, rest: Application
    ) -> None:
        self._store, self._requests, self._rest, self._outcomes = store, requests, rest, outcomes
        self._refresh, self._ttl = refresh, ttl

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answers a request."""
        if environ["PATH_INFO"] != ROUTE:
            return self._rest(environ, start_response)
        status, body = self._answer(environ)
        self._outcomes.labels(str(status)).inc()
        answer = encode(body)
        head = [*HEADERS, ("Content-Length", str(len(answer)))]
        if status == 405:
            head.append(("Allow", "POST"))
        start_response(f"{status} {HTTPStatus(status).phrase}", head)
        return [answer]

    def _answer(self, environ: Environ) -> tuple[int, Renewed | Problem]:
        try:
            if environ["REQUEST_METHOD"] != "POST":
                raise Refused("announcements are sent by POST", status=405)
            source = self._requests.source(environ)
            message = decode(self._requests.body(environ, source), Announce)
            check_proof(environ, message.id)
            where = self._requests.peer_at(source, message.advertise, message.port)
            outcome, state = self._store.announce(message, where)
        except ShoalError as error:
            return problem(error)
        except Exception:
            log.exception("an announcement went wrong here")
            return 500, Problem("this tracker failed")
        if outcome.status != 200:
            return outcome.status, Problem(outcome.why, outcome.need)
        return 200, Renewed(state.version, state.settling, self._refresh, self._ttl)
