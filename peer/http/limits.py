"""The routes of the http port for limits.

GET  /v1/limits    {"down", "up"}: bytes a second, 0 for none
POST /v1/limits    {"down"?, "up"?}: changes those given, if any; the answer is as to GET
"""

from typing import Annotated, Protocol

import msgspec
from flask import Flask, Response, request

from shoal.errors import DataError

MOST = 1 << 50
"""Bytes a second that can be asked for: as good as none."""
Rate = Annotated[int, msgspec.Meta(ge=0, le=MOST)]


class Limits(Protocol):
    """What the limits are."""

    @property
    def down(self) -> int:
        """Bytes a second off other peers; 0: no limit."""
        ...

    @property
    def up(self) -> int:
        """Bytes a second to other peers; 0: no limit."""
        ...


class Limited(Protocol):
    """Who has limits."""

    @property
    def limits(self) -> Limits:
        """As they are now."""
        ...

    def change(self, down: int | None, up: int | None) -> Limits:
        """Sets those that are given; all of them then."""
        ...


class _Change(msgspec.Struct, forbid_unknown_fields=True):
    down: Rate | None = None
    up: Rate | None = None


def add_limits(app: Flask, limited: Limited) -> None:
    """Adds the routes."""

    @app.get("/v1/limits")
    def limits() -> Response:
        return _told(limited.limits)

    @app.post("/v1/limits")
    def change() -> Response:
        try:
            asked = msgspec.json.decode(request.get_data(), type=_Change)
        except msgspec.DecodeError as error:
            raise DataError(
                'the body must be {"down": N, "up": N}, in bytes a second, 0 for no limit; '
                f"either or both may be left out, and stay as they are: {error}"
            ) from None
        except OSError as error:
            raise DataError(f"the body is too long, or broke off: {error}") from None
        return _told(limited.change(asked.down, asked.up))


def _told(limits: Limits) -> Response:
    return Response(msgspec.json.encode({"down": limits.down, "up": limits.up}), content_type="application/json")
