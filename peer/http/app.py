"""The routes of the http port.

    GET  /healthz      alive
    GET  /readyz       mounted, a tracker known (or 3 s without one), disk fine
    GET  /metrics      Prometheus
    GET  /v1/status    all that /metrics says and more, as JSON
    GET  /v1/ls?path=  one directory of the tree, or one file; in pages: &after=
    GET  /v1/peers     who is there
    POST /v1/forget    {"path": …}: withdraw one's own file from the network
    those of `care`    warm, scrub; and those of `limits`
    those of `stock`   what is kept of others' files

Errors are `wire.Problem`. The app only translates; what it shows and does is `Control`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from flask import Flask, Response, request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from werkzeug.exceptions import HTTPException

from peer.http.care import Care, add_care
from peer.http.guard import Guard
from peer.http.limits import Limited, add_limits
from peer.http.stock import Stock, add_stock
from shoal.errors import Busy, DataError, Gone, Refused, ShoalError, UsageError
from shoal.names import printable
from shoal.wire import Problem

log = logging.getLogger(__name__)
_STATUS = ((UsageError, 400), (DataError, 400), (Gone, 404), (Busy, 503))


@dataclass(frozen=True)
class Control:
    """What the http port can show and do; each raises a `ShoalError` that becomes the answer."""

    status: Callable[[], dict[str, Any]]
    ready: Callable[[], str]
    """Why the peer is not ready, or ""."""
    ls: Callable[[str, str], dict[str, Any]]
    """(path, name after which to go on). Raises Gone when there is no such path."""
    peers: Callable[[], list[dict[str, Any]]]
    forget: Callable[[str], None]
    """Raises Gone (no such path), Refused (not one's own), Busy."""
    metrics: CollectorRegistry
    limited: Limited
    care: Care | None = None
    """What warms and scrubs."""
    stock: Stock | None = None
    """What is kept of others' files."""


class _Forget(msgspec.Struct, forbid_unknown_fields=True):
    path: str


def make_app(control: Control, guard: Guard) -> Flask:
    """The WSGI application."""
    app = Flask(__name__, static_folder=None)

    @app.before_request
    def check() -> Response | None:
        refusal = guard.refusal(request.method, dict(request.headers))
        return _problem(*refusal) if refusal else None

    @app.after_request
    def harden(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.get("/healthz")
    def healthz() -> Response:
        return _json({"ok": True})

    @app.get("/readyz")
    def readyz() -> Response:
        why = control.ready()
        return _problem(503, why) if why else _json({"ready": True})

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(control.metrics), content_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/status")
    def status() -> Response:
        return _json(control.status())

    @app.get("/v1/ls")
    def ls() -> Response:
        return _json(control.ls(request.args.get("path", ""), request.args.get("after", "")))

    @app.get("/v1/peers")
    def peers() -> Response:
        return _json({"peers": control.peers()})

    @app.post("/v1/forget")
    def forget() -> Response:
        try:
            path = msgspec.json.decode(request.get_data(), type=_Forget).path
        except msgspec.DecodeError as error:
            raise DataError(f'the body must be {{"path": "…"}}: {error}') from None
        except OSError as error:
            raise DataError(f"the body is too long, or broke off: {error}") from None
        control.forget(path)
        return _json({"path": path})

    if control.care is not None:
        add_care(app, control.care, _json)
    add_limits(app, control.limited)
    if control.stock is not None:
        add_stock(app, control.stock, _json)

    @app.errorhandler(ShoalError)
    def fail(error: ShoalError) -> Response:
        if isinstance(error, Refused):
            return _problem(error.status or 403, str(error))
        return _problem(next((status for kind, status in _STATUS if isinstance(error, kind)), 500), str(error))

    @app.errorhandler(HTTPException)
    def fail_http(error: HTTPException) -> Response:
        return _problem(error.code or 500, error.description or error.name)

    @app.errorhandler(Exception)
    def fail_unknown(error: Exception) -> Response:
        log.error("an error while answering %s", printable(request.path), exc_info=error)
        return _problem(500, "an error inside the peer; its log says more")

    return app


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), content_type="application/json")


def _problem(status: int, why: str) -> Response:
    response = _json(Problem(printable(why)))
    response.status_code = status
    return response
