"""Work of a peer that the `shoal` command waits for: followed to its end, shown, and ended when the command is."""

import json
import time
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from shoal.errors import Busy, Gone, Misbehaved, ShoalError
from shoal.output import typed
from shoal.remote import Remote
from shoal.units import show_size

_ASK, _SAY = 0.25, 1.0
"""Seconds between two questions for people, and two lines for programs."""


class State(msgspec.Struct):
    """How far a job is. Sizes in bytes, `rate` in bytes a second, `left` in seconds; `failures` is the number of all
    that failed, `failed` a page of them, `next` what to ask for the next page."""

    done: bool
    files: int
    files_total: int
    bytes: int
    bytes_total: int
    failures: int
    failed: list[dict[str, str]]
    next: int
    rate: float
    left: float | None = None


def follow(remote: Remote, route: str, message: object, as_json: bool, word: str) -> dict[str, Any]:
    """Has the peer do it, and shows how far it is until it is done; its last answer, with all that failed.

    For programs a line of JSON about once a second, and one at the end. Whatever ends this, Ctrl-C too, ends the job.

    Raises:
        ShoalError: the peer refuses. Busy: it does not know the job any more.
    """
    name = remote.post(route, message).get("job")
    if not isinstance(name, str):
        raise Misbehaved("the peer's answer names no job")
    over = False
    try:
        answer = _lines(remote, name) if as_json else _bar(remote, name, word)
        over = True
        return answer
    finally:
        _end(remote, name, over)


def _end(remote: Remote, name: str, over: bool) -> None:
    """A job that is over is forgotten, one that is not is ended."""
    try:
        remote.delete(f"/v1/jobs/{name}")
    except ShoalError:
        if not over:
            raise


def _lines(remote: Remote, name: str) -> dict[str, Any]:
    failed: list[object] = []
    while True:
        answer = _ask(remote, name, len(failed))
        failed += answer["failed"]
        if answer["done"] and not answer["failed"]:
            answer["failed"] = failed
            click.echo(json.dumps(answer))
            return answer
        if not answer["done"]:
            click.echo(json.dumps(answer))
            time.sleep(_SAY)


def _bar(remote: Remote, name: str, word: str) -> dict[str, Any]:
    failed: list[object] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(word, total=None, told="")
        while True:
            answer = _ask(remote, name, len(failed))
            failed += answer["failed"]
            state = typed(answer, State)
            total = max(1, state.bytes_total) if state.bytes_total else None
            progress.update(task, total=total, completed=state.bytes, told=told(state))
            if state.done and not state.failed:
                answer["failed"] = failed
                return answer
            if not state.done:
                time.sleep(_ASK)


def told(state: State) -> str:
    """How far it is, in words."""
    text = f"{show_size(state.bytes)} of {show_size(state.bytes_total)}, {state.files:,} of {state.files_total:,} files"
    if state.rate:
        text += f", {show_size(state.rate)}/s"
    if state.left is not None:
        text += f", {show_time(state.left)} left"
    return text


def show_time(seconds: float) -> str:
    """A length of time for people: "7 s", "3:05", "2:03:05"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, hours = whole // 60, whole // 3600
    return f"{hours}:{minutes % 60:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _ask(remote: Remote, name: str, after: int) -> dict[str, Any]:
    try:
        answer = remote.get(f"/v1/jobs/{name}", after=str(after))
    except Gone:
        raise Busy("the peer does not know of it any more: it was started again; try again") from None
    typed(answer, State)
    return answer
