"""What is kept here: fetched before it is read, and read again: warm, scrub."""

import sys

import click

from shoal.asking import network_path, verb
from shoal.jobs import State, follow, show_time
from shoal.names import printable
from shoal.output import typed
from shoal.remote import Remote
from shoal.units import show_size


@click.command(epilog="Example:  shoal warm data/models notes.txt")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@verb
def warm(remote: Remote, as_json: bool, paths: tuple[str, ...]) -> None:
    """Fetch files, or all files in folders, so that they are here before somebody reads them."""
    message = {"paths": [network_path(path) for path in paths]}
    answer = follow(remote, "/v1/warm", message, as_json, "warming")
    state = typed(answer, State)
    if not as_json:
        for failure in state.failed:
            click.echo(f"shoal: {printable(failure['path'])}: {printable(failure['why'])}", err=True)
        here = state.files - state.failures
        click.echo(f"here: {here:,} of {state.files_total:,} files, {show_size(state.bytes_total)} in all")
    if state.failures:
        sys.exit(1)


@click.command(epilog="Example:  shoal scrub data/models")
@click.argument("path", default="")
@verb
def scrub(remote: Remote, as_json: bool, path: str) -> None:
    """Read again all that is kept here, or what is at and below PATH, and compare it with its hashes.

    Exit code 1 says that something was rotten, whatever became of it.
    """
    answer = follow(remote, "/v1/scrub", {"path": network_path(path)}, as_json, "scrubbing")
    state = typed(answer, State)
    if not as_json:
        for rotten in state.failed:
            line = f"rotten: {rotten['path']} ({rotten.get('kind', '')}): {rotten['why']}: {rotten.get('outcome', '')}"
            click.echo(printable(line))
        seconds = show_time(state.bytes / state.rate) if state.rate else "no time"
        click.echo(
            f"read again: {state.files:,} files, {show_size(state.bytes)} in {seconds}; rotten: {state.failures}"
        )
        if isinstance(changed := answer.get("changed"), int) and changed:
            click.echo(f"not judged, because they are being changed: {changed:,} files")
    if state.failures:
        sys.exit(1)
