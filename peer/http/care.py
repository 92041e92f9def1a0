"""Routes of what is done with what is kept: started by a POST, asked after by name, ended by DELETE or by silence.

POST   /v1/warm         {"paths": [P]}: fetch all files at and beneath these paths
POST   /v1/scrub        {"path": P}: read again all that is kept at and beneath it ("": everything)
GET    /v1/jobs/ID      how far it is; of its list of failures what comes after ?after=N
DELETE /v1/jobs/ID      end it
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec
from flask import Flask, Response, request

from shoal.errors import DataError

T = TypeVar("T")


class Jobs(Protocol):
    """See `peer.warm.jobs`."""

    def progress(self, name: str, after: int) -> dict[str, Any]:
        """Raises Gone."""

    def cancel(self, name: str) -> None:
        """Again is harmless."""


class Care(Protocol):
    """See `peer.warm.care`."""

    @property
    def jobs(self) -> Jobs:
        """What is under way."""

    def start_warm(self, paths: list[str]) -> str:
        """Raises Gone, Busy, DataError."""

    def start_scrub(self, path: str) -> str:
        """Raises Gone, Busy, DataError."""


class _Warm(msgspec.Struct, forbid_unknown_fields=True):
    paths: list[str]


class _Scrub(msgspec.Struct, forbid_unknown_fields=True):
    path: str = ""


def add_care(app: Flask, care: Care, answer: Callable[[object], Response]) -> None:
    """Adds the routes; `answer` makes JSON of a value."""

    @app.post("/v1/warm")
    def warm() -> Response:
        return answer({"job": care.start_warm(_body(_Warm).paths)})

    @app.post("/v1/scrub")
    def scrub() -> Response:
        return answer({"job": care.start_scrub(_body(_Scrub).path)})

    @app.get("/v1/jobs/<name>")
    def progress(name: str) -> Response:
        return answer(care.jobs.progress(name, max(0, request.args.get("after", 0, int))))

    @app.delete("/v1/jobs/<name>")
    def cancel(name: str) -> Response:
        care.jobs.cancel(name)
        return answer({"job": name})


def _body(kind: type[T]) -> T:
    try:
        return msgspec.json.decode(request.get_data(), type=kind)
    except msgspec.DecodeError as error:
        raise DataError(f"the body is not what is asked for here: {error}") from None
    except OSError as error:
        raise DataError(f"the body is too long, or broke off: {error}") from None
