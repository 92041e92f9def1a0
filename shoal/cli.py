"""The `shoal` command: asks a running peer, and tells people or programs what it said.

    shoal status         how the peer is
    shoal ls [PATH]      a directory of the network
    shoal peers          who is there
    shoal forget PATH    withdraw one's own file from the network

Exit codes: 0 done, 1 failed, 2 usage, 4 no such path or key, 5 try again, 130 interrupted.
"""

import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from rich.cells import cell_len

from shoal.errors import Busy, Gone, Misbehaved, Refused, ShoalError, UsageError
from shoal.names import printable
from shoal.remote import Remote
from shoal.units import show_size

T = TypeVar("T")
FAILED, USAGE, NO_SUCH, AGAIN, INTERRUPTED = 1, 2, 4, 5, 130
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@dataclass(frozen=True)
class Asked:
    """What was said before the verb, or after it."""

    peer: str | None = None
    json: bool = False
    token_file: Path | None = None


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that are taken before and after the verb."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="For programs: the answer as JSON."),
        click.option(
            "--token-file",
            type=click.Path(path_type=Path),
            help="Holds the token for changes from afar. [env: SHOAL_TOKEN_FILE]",
        ),
        click.option(
            "--peer", metavar="URL|HOST:PORT", help="Which peer (default: the one on this machine). [env: SHOAL_PEER]"
        ),
    ):
        command = option(command)
    return command


def _verb(function: Callable[..., None]) -> Callable[..., None]:
    """A verb: gets the peer to ask, whether to speak JSON, and its own arguments by name."""

    @_common
    @wraps(function)
    def run(peer: str | None, token_file: Path | None, as_json: bool, **own: str) -> None:
        before: Asked = click.get_current_context().obj
        peer = peer or before.peer or os.environ.get("SHOAL_PEER")
        token = token_file or before.token_file or os.environ.get("SHOAL_TOKEN_FILE")
        with Remote(peer, Path(token) if token else None) as remote:
            function(remote, as_json or before.json, **own)

    return run


@click.group(
    context_settings=_SETTINGS,
    no_args_is_help=False,
    epilog="""\b
Examples:
  shoal status                           how the peer on this machine is
  shoal ls data                          what the network has in data/
  shoal peers --json                     who is there, for a program
  shoal forget data/old.bin              withdraw your own file from the network
  shoal --peer lab3:8080 status          how the peer at lab3 is
""",
)
@_common
@click.pass_context
def command(context: click.Context, peer: str | None, token_file: Path | None, as_json: bool) -> None:
    """Talk to a running peer.

    Exit codes: 0 done, 1 failed, 2 usage, 4 no such path or key, 5 try again.
    """
    context.obj = Asked(peer, as_json, token_file)


@command.command(epilog="Example:  shoal status")
@_verb
def status(remote: Remote, as_json: bool) -> None:
    """Show how the peer is: its mount, trackers, transfers, cache."""
    answer = remote.get("/v1/status")
    if as_json:
        _print_json(answer)
    else:
        _print_columns([("", ""), *_lines(answer)])


@command.command(epilog="Example:  shoal ls data/models")
@click.argument("path", default="")
@_verb
def ls(remote: Remote, as_json: bool, path: str) -> None:
    """List a directory of the network, or one file."""
    path = _path(path)
    answer = page = remote.get("/v1/ls", path=path)
    listing = _typed(answer, Listing)
    while (after := page.pop("next", None)) and page["entries"]:  # a large directory comes in pages
        page = remote.get("/v1/ls", path=path, after=str(after))
        listing.entries.extend(_typed(page, Listing).entries)
        answer["entries"].extend(page["entries"])
    if as_json:
        _print_json(answer)
        return
    rows = [
        (
            entry.state or "-",
            "-" if entry.size is None or entry.shown.endswith("/") else show_size(entry.size),
            entry.mtime or "-",
            ",".join(entry.owners),
            entry.shown,
        )
        for entry in listing.entries
    ]
    _print_columns([("STATE", "SIZE", "CHANGED", "OWNERS", "NAME"), *rows])


@command.command(epilog="Example:  shoal peers")
@_verb
def peers(remote: Remote, as_json: bool) -> None:
    """List the peers of the network."""
    answer = remote.get("/v1/peers")
    if as_json:
        _print_json(answer)
        return
    rows = [
        (peer.name, peer.id[:12], peer.url, str(peer.files), show_size(peer.bytes), peer.last_seen)
        for peer in _typed(answer, Peers).peers
    ]
    _print_columns([("NAME", "ID", "URL", "FILES", "SIZE", "LAST SEEN"), *rows])


@command.command(epilog="Example:  shoal forget data/old.bin")
@click.argument("path")
@_verb
def forget(remote: Remote, as_json: bool, path: str) -> None:
    """Withdraw your own file from the network: copies elsewhere go too, your file stays in LOCAL."""
    answer = remote.post("/v1/forget", {"path": _path(path)})
    if as_json:
        _print_json(answer)
    else:
        click.echo(f"forgotten: {printable(str(answer.get('path', path)))}")


class File(msgspec.Struct, frozen=True):
    """One line of a listing. `size` in bytes, `mtime` ISO 8601 UTC; None where it is not known."""

    name: str
    type: str
    size: int | None = None
    mtime: str | None = None
    cid: str | None = None
    state: str = ""
    owners: list[str] = []

    @property
    def shown(self) -> str:
        """The name, marked as `ls -F` does."""
        return self.name + {"dir": "/", "link": "@"}.get(self.type, "")


class Listing(msgspec.Struct, frozen=True):
    """A directory, or one file, of the network."""

    path: str
    entries: list[File]


class Peer(msgspec.Struct, frozen=True):
    """A peer of the network. `bytes` is the size of all it has, `last_seen` ISO 8601 UTC."""

    id: str
    name: str
    url: str = ""
    files: int = 0
    bytes: int = 0
    last_seen: str = ""


class Peers(msgspec.Struct, frozen=True):
    """The peers of the network."""

    peers: list[Peer]


def _path(given: str) -> str:
    """A path of the network as people write it; whether it can be one is the peer's to say."""
    try:
        given.encode()
    except UnicodeEncodeError:
        raise UsageError(f"a path is UTF-8: {given!r}") from None
    return given.strip("/")


def _typed(answer: dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as error:
        raise Misbehaved(f"the peer's answer is not understood: {error}") from None


def _print_json(value: object) -> None:
    """ASCII only, so that no name steers a terminal, and still the same JSON."""
    click.echo(json.dumps(value, indent=2))


def _print_columns(rows: list[tuple[str, ...]]) -> None:
    """Lines with their cells under each other; the first line is the head. Never cut, never wrapped."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
    for number, row in enumerate(shown):
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        line = "  ".join(padded).rstrip()
        if line:
            click.echo(click.style(line, bold=True) if number == 0 else line)


def _lines(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Any JSON as lines of (name, value), names of what is inside joined by dots."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _lines(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(inner, (dict, list)) for inner in value):
        for number, inner in enumerate(value):
            yield from _lines(inner, f"{name}.{number}")
    elif isinstance(value, list):
        yield name, ", ".join(map(_word, value)) or "-"
    else:
        yield name, show_size(value) if isinstance(value, int) and "bytes" in name else _word(value)


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value in (None, "", {}) else str(value)


def _code(error: ShoalError) -> int:
    """The exit code of an error."""
    if isinstance(error, UsageError):
        return USAGE
    if isinstance(error, Gone):
        return NO_SUCH
    return AGAIN if isinstance(error, Busy) or (isinstance(error, Refused) and error.status == 409) else FAILED


def main() -> None:
    """Runs the command and exits with its code; errors are one line on stderr."""
    signal.signal(signal.SIGINT, lambda *_: sys.exit(INTERRUPTED))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 shows the escaped name
    try:
        code = command.main(prog_name="shoal", standalone_mode=False)
    except click.ClickException as error:
        code = _complain(f"{error.format_message()} (see --help)", error.exit_code)
    except ShoalError as error:
        code = _complain(str(error), _code(error))
    sys.exit(code or 0)


def _complain(sentence: str, code: int) -> int:
    click.echo(f"shoal: {printable(sentence)}", err=True)
    return code
