"""The routes, over any `Store`.

    GET  /                 the page, for who prefers text/html; else the seed's listing: see `seed`
    GET  /healthz          {"ok": true, "version", "settling"}
    GET  /metrics          Prometheus
    GET  /v1/peers         living peers
    GET  /v1/files         a page of the files: prefix, q, limit, after
    GET  /v1/changes       a page of the delta feed: since
    GET  /v1/holders/CID   who has a content
    POST /v1/announce      in front of this: see `announcing`
    POST /v1/leave         a lease given back                  (proof)
    POST /v1/evict         may I give up my copy?              (proof)
    POST /refresh          the seed's announcement: see `seed`

Every error is a `wire.Problem`. Threading: as thread-safe as the store.
"""

import logging
from collections.abc import Iterator
from typing import TypeVar

import msgspec
from flask import Flask, Response, request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from werkzeug.exceptions import HTTPException

from shoal.errors import DataError, Refused, ShoalError
from shoal.manifest import is_cid
from shoal.wire import PAGE, Evict, Leave, Problem, decode, encode
from tracker.announcing import Announcing, Application
from tracker.figures import Figures
from tracker.leases import Outcome
from tracker.pages import add_page
from tracker.request import Requests, check_proof, problem
from tracker.seed import read_refresh, seed_id, seed_name
from tracker.store import Store

log = logging.getLogger(__name__)

CSP = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
SECURITY = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

T = TypeVar("T")


class Whole(msgspec.Struct, frozen=True):
    """The body of `/healthz`."""

    ok: bool
    version: str
    settling: bool


def make_app(store: Store, requests: Requests, refresh: float, ttl: float, figures: Figures) -> Application:
    """The whole tracker as one WSGI application; `refresh` and `ttl` in seconds."""
    app = Flask(__name__)
    _add_reading(app, store, figures)
    _add_changing(app, store, requests)
    _add_seed(app, store, requests)
    _add_errors(app)
    return Announcing(store, requests, refresh, ttl, figures.announcements, app)


def _json(body: object, status: int = 200) -> Response:
    return Response(encode(body), status, mimetype="application/json")


def _done(outcome: Outcome) -> Response:
    if outcome.status == 200:
        return Response(status=204)
    return _json(Problem(outcome.why, outcome.need), outcome.status)


def _add_reading(app: Flask, store: Store, figures: Figures) -> None:
    @app.get("/healthz")
    def healthz() -> Response:
        state = store.state()
        return _json(Whole(True, state.version, state.settling))

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(figures.registry), content_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/peers")
    def peers() -> Response:
        return _json({"peers": store.peers()})

    @app.get("/v1/files")
    def files() -> Response:
        args = request.args
        limit = args.get("limit", str(PAGE))
        if not (limit.isascii() and limit.isdigit() and 0 < len(limit) < 10 and int(limit) > 0):
            raise DataError("limit must be a whole number above 0")
        return _json(store.files(args.get("prefix", ""), args.get("q", ""), int(limit), args.get("after", "")))

    @app.get("/v1/changes")
    def changes() -> Response:
        found = store.changes(request.args.get("since") or None)
        if found is None:
            raise Refused("no changes from that version on are known here: start over", status=410)
        return _json(found)

    @app.get("/v1/holders/<cid>")
    def holders(cid: str) -> Response:
        if not is_cid(cid):
            raise DataError("a content id has 64 lower-case hex digits")
        return _json(store.holders(cid))


def _add_changing(app: Flask, store: Store, requests: Requests) -> None:
    def message(kind: type[T]) -> T:
        return decode(requests.body(request.environ, requests.source(request.environ)), kind)

    @app.post("/v1/leave")
    def leave() -> Response:
        told = message(Leave)
        check_proof(request.environ, told.id)
        return _done(store.leave(told))

    @app.post("/v1/evict")
    def evict() -> Response:
        told = message(Evict)
        check_proof(request.environ, told.id)
        evicted = store.evict(told)
        if evicted is None:
            raise Refused("this peer's list is not known here; send the whole list", status=409, need="all")
        return _json(evicted)


def _add_seed(app: Flask, store: Store, requests: Requests) -> None:
    show_page = add_page(app, store)

    @app.get("/")
    def root() -> Response:
        name = request.args.get("q")
        if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
            return show_page(name or "", request.args.get("after", ""))
        if name is not None:
            return _json(store.seed_file(name) or {})
        return Response(_listing(store), mimetype="application/json")

    @app.post("/refresh")
    def refresh() -> Response:
        source = requests.source(request.environ)
        host, port, files = read_refresh(requests.body(request.environ, source))
        where = requests.seed_at(source, host, port)
        name = seed_name(host, str(source))
        return _done(store.refresh_seed(seed_id(where.url), name, files, where))


def _listing(store: Store) -> Iterator[bytes]:
    """The seed's listing, bit by bit: it has no pages."""
    before = b"{"
    for name, file in store.seed_files():
        yield before + encode(name) + b":" + encode(file)
        before = b","
    yield b"{}" if before == b"{" else b"}"


def _add_errors(app: Flask) -> None:
    @app.errorhandler(ShoalError)
    def ours(error: ShoalError) -> Response:
        status, body = problem(error)
        return _json(body, status)

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        response = _json(Problem(error.description or error.name), error.code or 500)
        for name, value in error.get_headers():
            if name == "Allow":
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    def any_other(error: Exception) -> Response:
        log.error("a request went wrong here", exc_info=error)
        return _json(Problem("this tracker failed"), 500)

    @app.before_request
    def no_other_site() -> None:
        # Peers never send it; a browser does, for a page of another origin that would list files in its user's name.
        if request.method == "POST" and "Origin" in request.headers:
            raise Refused("changes are not taken from web pages", status=403)

    @app.after_request
    def secure(response: Response) -> Response:
        for name, value in SECURITY.items():
            response.headers.setdefault(name, value)
        return response
