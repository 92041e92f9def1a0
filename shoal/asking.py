"""How a verb of the `shoal` command gets the peer that it talks to."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from shoal.errors import UsageError
from shoal.remote import Remote


@dataclass(frozen=True)
class Asked:
    """What was said before the verb, or after it."""

    peer: str | None = None
    json: bool = False
    token_file: Path | None = None


def common(command: Callable[..., Any]) -> Callable[..., Any]:
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


def verb(function: Callable[..., None]) -> Callable[..., None]:
    """A verb: gets the peer to ask, whether to speak JSON, and its own arguments by name."""

    @common
    @wraps(function)
    def run(peer: str | None, token_file: Path | None, as_json: bool, **own: Any) -> None:
        before: Asked = click.get_current_context().obj
        peer = peer or before.peer or os.environ.get("SHOAL_PEER")
        token = token_file or before.token_file or os.environ.get("SHOAL_TOKEN_FILE")
        with Remote(peer, Path(token) if token else None) as remote:
            function(remote, as_json or before.json, **own)

    return run


def network_path(given: str) -> str:
    """A path of the network as people write it; whether it can be one is the peer's to say."""
    try:
        given.encode()
    except UnicodeEncodeError:
        raise UsageError(f"a path is UTF-8: {given!r}") from None
    return given.strip("/")
