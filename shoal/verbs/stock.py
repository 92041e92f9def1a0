"""What is kept here of others' files: pin, unpin, evict, free, du."""

import sys
from collections import Counter
from typing import Any

import click
import msgspec

from shoal.asking import network_path, verb
from shoal.errors import ShoalError
from shoal.names import printable
from shoal.output import print_columns, print_json, typed
from shoal.remote import Remote
from shoal.units import show_size

_SAID = {
    "evicted": "given up",
    "absent": "not here",
    "own": "yours: it stays",
    "pinned": "pinned: it stays",
    "open": "open: it stays",
    "last": "nobody else has all of it: it stays",
    "unsure": "nobody else says that it has all of it: it stays; try again",
    "later": "no tracker can tell yet whether another has all of it: it stays; try again",
}
_GOOD = frozenset({"evicted", "absent"})
_AGAIN = frozenset({"unsure", "later"})
NAMED = 10
"""Files named of which the same became at most; --json tells of all."""


class Result(msgspec.Struct, frozen=True):
    """What became of one copy. `bytes` is its size."""

    path: str
    outcome: str
    bytes: int = 0


class Results(msgspec.Struct, frozen=True):
    """What became of some."""

    results: list[Result]
    kept: int = 0


class Sum(msgspec.Struct, frozen=True):
    """So many files, and their bytes."""

    files: int
    bytes: int


class Limits(msgspec.Struct, frozen=True):
    """In bytes; `limit` 0: none."""

    used: int
    limit: int
    free: int
    min_free: int


class Kept(msgspec.Struct, frozen=True):
    """How much is kept."""

    own: Sum
    copies: Sum
    pinned: Sum
    partial: Sum
    limits: Limits


@click.command(epilog="Example:  shoal pin data/models")
@click.argument("path")
@verb
def pin(remote: Remote, as_json: bool, path: str) -> None:
    """Keep a file or folder here: fetch what is missing, also what comes later, and never evict it."""
    _say(remote.post("/v1/pin", {"path": network_path(path)}), as_json, "pinned")


@click.command(epilog="Example:  shoal unpin data/models")
@click.argument("path")
@verb
def unpin(remote: Remote, as_json: bool, path: str) -> None:
    """Let go of a pinned file or folder: it stays here until its room is needed."""
    _say(remote.post("/v1/unpin", {"path": network_path(path)}), as_json, "not pinned any more")


@click.command(epilog="Example:  shoal evict data/models data/old.bin")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@verb
def evict(remote: Remote, as_json: bool, paths: tuple[str, ...]) -> None:
    """Give up the copies kept here of files and folders; never the last copy, nor your own files."""
    found: list[dict[str, Any]] = []
    failures: list[ShoalError] = []
    for path in paths:
        try:
            found += _pages(remote, "/v1/evict", {"path": network_path(path)})["results"]
        except ShoalError as error:  # the others are still to be done
            failures.append(error)
    code = tell({"results": found}, as_json) if found or as_json else 0
    for failure in failures[1:]:
        click.echo(f"shoal: {printable(str(failure))}", err=True)
    if failures:
        raise failures[0]
    sys.exit(code)


@click.command(epilog="Example:  shoal free --keep 2")
@click.option("--keep", type=click.IntRange(1), required=True, help="How many others must have all of it.")
@verb
def free(remote: Remote, as_json: bool, keep: int) -> None:
    """Give up the copies that at least so many others have."""
    sys.exit(tell(_pages(remote, "/v1/free", {"keep": keep}), as_json))


@click.command(epilog="Example:  shoal du data")
@click.argument("path", default="")
@verb
def du(remote: Remote, as_json: bool, path: str) -> None:
    """Show how much is kept here: your own files, copies of others', how much of them is pinned, and parts."""
    answer = remote.get("/v1/du", path=network_path(path))
    if as_json:
        print_json(answer)
        return
    kept = typed(answer, Kept)
    rows = [("own", kept.own), ("copies", kept.copies), ("  pinned", kept.pinned), ("partial", kept.partial)]
    print_columns([("", "FILES", "SIZE"), *((name, str(it.files), show_size(it.bytes)) for name, it in rows)])
    limits = kept.limits
    limit = f" of {show_size(limits.limit)}" if limits.limit else ""
    click.echo(f"cache: {show_size(limits.used)}{limit}; disk: {show_size(limits.free)} free, ", nl=False)
    click.echo(f"{show_size(limits.min_free)} of that to stay so")


def _pages(remote: Remote, route: str, message: dict[str, object]) -> dict[str, Any]:
    """All pages of an answer as one."""
    answer = page = remote.post(route, message)
    while after := page.pop("next", None):
        page = remote.post(route, message | {"after": after})
        answer["results"] += page["results"]
        if "kept" in answer:
            answer["kept"] += page["kept"]
    return answer


def _say(answer: dict[str, Any], as_json: bool, what: str) -> None:
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{what}: {printable(str(answer.get('path', '')) or 'everything')}")


def _tell_one(what: str, outcome: str) -> None:
    line, stays = f"{what}: {_SAID.get(outcome, printable(outcome))}", outcome not in _GOOD
    click.echo(f"shoal: {line}" if stays else line, err=stays)


def tell(answer: dict[str, Any], as_json: bool) -> int:
    """Says what became of each, what stays among the errors; the exit code: 1 if one could not go, 5 if it may yet."""
    told = typed(answer, Results)
    stay = [result for result in told.results if result.outcome not in _GOOD]
    if as_json:
        print_json(answer)
    else:
        count = Counter[str]()
        for result in told.results:
            count[result.outcome] += 1
            if count[result.outcome] <= NAMED:
                _tell_one(printable(result.path), result.outcome)
        for outcome, times in count.items():
            if times > NAMED:
                _tell_one(f"and {times - NAMED:,} more", outcome)
        gone = [result.bytes for result in told.results if result.outcome == "evicted"]
        if gone or not stay:
            click.echo(f"given up: {len(gone)} files, {show_size(sum(gone))}")
    if not stay:
        return 0
    return 5 if all(result.outcome in _AGAIN for result in stay) else 1
