"""Waiting with a deadline: the only way in which tests wait."""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class TooLate(AssertionError):
    """Something did not happen, or did not end, in the time it had."""


def until(true: Callable[[], T], seconds: float, what: str, every: float = 0.02) -> T:
    """Asks again and again until the answer is true, and returns it.

    Raises:
        TooLate: it was not in `seconds`; the message says what was waited for, and the last error.
    """
    end = time.monotonic() + seconds
    error: Exception | None = None
    while time.monotonic() < end:
        try:
            if answer := true():
                return answer
        except (OSError, ValueError) as failed:
            error = failed
        time.sleep(every)
    raise TooLate(f"not in {seconds:g} s: {what}" + (f" ({error!r})" if error else ""))


def within(seconds: float, call: Callable[..., T], *args: Any) -> T:
    """The call's result, or its exception; for calls that a wedged mount could hold for ever.

    Raises:
        TooLate: it did not end in `seconds`. Its thread is left to the end of the program that holds it.
    """
    outcome: list[Callable[[], T]] = []

    def run() -> None:
        try:
            result = call(*args)
        except BaseException as raised:  # noqa: BLE001 - handed to the caller's thread
            error = raised
            outcome.append(lambda: _throw(error))
        else:
            outcome.append(lambda: result)

    thread = threading.Thread(target=run, daemon=True, name=f"within-{getattr(call, '__name__', call)}")
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TooLate(f"did not end in {seconds:g} s: {getattr(call, '__name__', call)}{args}")
    return outcome[0]()


def _throw(error: BaseException) -> Any:
    raise error
