"""The routes about what is kept of others' files.

    GET  /v1/du?path=   how much there is at and beneath a path, and the limits
    POST /v1/pin        {"path": …}: keep it, and what comes beneath, and fetch what is not here
    POST /v1/unpin      {"path": …}
    POST /v1/evict      {"path": …, "after": …}: give up the copies at and beneath it
    POST /v1/free       {"keep": N, "after": …}: give up the copies that at least N others have whole

`evict` and `free` answer in pages: what has `next` is continued with `after`.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec
from flask import Flask, Response, request

from shoal.errors import DataError

T = TypeVar("T")


class Stock(Protocol):
    """What is kept; all raise ShoalError."""

    def evict(self, path: str, after: str = "") -> dict[str, Any]:
        """Gives up what is at and beneath a path."""

    def free(self, keep: int, after: str = "") -> dict[str, Any]:
        """Gives up what so many others have."""

    def du(self, path: str) -> dict[str, Any]:
        """How much there is."""

    @property
    def pin(self) -> Callable[[str], None]:
        """Pins a path."""

    @property
    def unpin(self) -> Callable[[str], None]:
        """Does not any more."""


class _Path(msgspec.Struct, forbid_unknown_fields=True):
    path: str


class _Evict(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    after: str = ""


class _Free(msgspec.Struct, forbid_unknown_fields=True):
    keep: int
    after: str = ""


def add_stock(app: Flask, stock: Stock, answer: Callable[[object], Response]) -> None:
    """Adds the routes; `answer` makes JSON of a value."""

    @app.get("/v1/du")
    def du() -> Response:
        return answer(stock.du(request.args.get("path", "")))

    @app.post("/v1/pin")
    def pin() -> Response:
        path = _body(_Path).path.strip("/")
        stock.pin(path)
        return answer({"path": path, "pinned": True})

    @app.post("/v1/unpin")
    def unpin() -> Response:
        path = _body(_Path).path.strip("/")
        stock.unpin(path)
        return answer({"path": path, "pinned": False})

    @app.post("/v1/evict")
    def evict() -> Response:
        asked = _body(_Evict)
        return answer(stock.evict(asked.path, asked.after))

    @app.post("/v1/free")
    def free() -> Response:
        asked = _body(_Free)
        return answer(stock.free(asked.keep, asked.after))


def _body(kind: type[T]) -> T:
    try:
        return msgspec.json.decode(request.get_data(), type=kind)
    except msgspec.DecodeError as error:
        raise DataError(f"the body is not what this route takes: {error}") from None
    except OSError as error:
        raise DataError(f"the body is too long, or broke off: {error}") from None
