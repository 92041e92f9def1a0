"""The one table from errors to errno."""

import errno
import logging

import pytest

from peer.mount import errnos
from peer.mount.errnos import answer, errno_of
from shoal import errors

TABLE = [
    (errors.BadName("x"), errno.ENOENT),
    (errors.Unreachable("x"), errno.EHOSTUNREACH),
    (errors.Busy("x"), errno.EHOSTUNREACH),
    (errors.Gone("x"), errno.ESTALE),
    (errors.Refused("x"), errno.EIO),
    (errors.Misbehaved("x"), errno.EIO),
    (errors.Lied("x"), errno.EIO),
    (errors.LocalError("x"), errno.EIO),
    (errors.BadManifest("x"), errno.EIO),
    (OSError(errno.EROFS, "x"), errno.EROFS),
    (OSError(errno.ENODATA, "x"), errno.ENODATA),
    (OSError(errno.EOPNOTSUPP, "x"), errno.EOPNOTSUPP),
    (FileNotFoundError(errno.ENOENT, "x"), errno.ENOENT),
    (OSError(errno.ENOSPC, "x"), errno.EIO),
    (OSError("no number"), errno.EIO),
    (TimeoutError(), errno.EIO),
    (KeyError("x"), errno.EIO),
    (KeyboardInterrupt(), errno.EIO),
]


@pytest.mark.parametrize(("error", "number"), TABLE, ids=lambda value: getattr(type(value), "__name__", value))
def test_each_error_has_its_number(error: BaseException, number: int) -> None:
    assert errno_of(error) == answer(error, "some/path") == number


def test_every_error_of_ours_has_a_number() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ShoalError)]
    assert len(kinds) > 10
    assert all(errno_of(kind("x")) > 0 for kind in kinds)


def test_what_nobody_thought_of_is_said_once_for_each_path(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errnos, "_said", set())
    with caplog.at_level(logging.ERROR):
        for path in ("a", "a", "b\x1b[2J", "a"):
            answer(ZeroDivisionError("oh"), path)
            answer(errors.Unreachable("nobody"), path)
    assert [record.getMessage() for record in caplog.records] == [
        "a: ZeroDivisionError('oh')",
        "b\\x1b[2J: ZeroDivisionError('oh')",
    ]
