"""How many bytes a second: limit."""

import click
import msgspec

from shoal.asking import verb
from shoal.output import print_columns, print_json, typed
from shoal.remote import Remote
from shoal.units import parse_size, show_size


class Limits(msgspec.Struct, frozen=True):
    """Bytes a second, off other peers and to them; 0: no limit."""

    down: int
    up: int


@click.command(epilog="Example:  shoal limit --down 20M --up 0")
@click.option("--down", metavar="RATE", help="Bytes a second from other peers at most (20M; 0: no limit).")
@click.option("--up", metavar="RATE", help="Bytes a second to other peers at most (0: no limit).")
@verb
def limit(remote: Remote, as_json: bool, down: str | None, up: str | None) -> None:
    """Show how many bytes a second the peer moves at most, or change that until it ends."""
    change = {name: parse_size(rate) for name, rate in (("down", down), ("up", up)) if rate is not None}
    answer = remote.post("/v1/limits", change) if change else remote.get("/v1/limits")
    if as_json:
        print_json(answer)
        return
    limits = typed(answer, Limits)
    rows = [
        (name, f"{show_size(rate)}/s" if rate else "no limit") for name, rate in msgspec.structs.asdict(limits).items()
    ]
    print_columns([("", ""), *rows])
