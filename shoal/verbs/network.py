"""Who is there and what they have: status, ls, peers, forget."""

import click
import msgspec

from shoal.asking import network_path, verb
from shoal.names import printable
from shoal.output import lines, print_columns, print_json, typed
from shoal.remote import Remote
from shoal.units import show_size

_SIZES = {
    f"cache.{name}" for name in ("used", "limit", "free", "min_free", "copies", "partial", "prefetched", "pinned")
}
"""What is bytes in a status and does not say so."""


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


@click.command(epilog="Example:  shoal status")
@verb
def status(remote: Remote, as_json: bool) -> None:
    """Show how the peer is: its mount, trackers, transfers, cache."""
    answer = remote.get("/v1/status")
    if as_json:
        print_json(answer)
    else:
        print_columns([("", ""), *lines(answer, sizes=_SIZES)])


@click.command(epilog="Example:  shoal ls data/models")
@click.argument("path", default="")
@verb
def ls(remote: Remote, as_json: bool, path: str) -> None:
    """List a directory of the network, or one file."""
    path = network_path(path)
    answer = page = remote.get("/v1/ls", path=path)
    listing = typed(answer, Listing)
    while (after := page.pop("next", None)) and page["entries"]:  # a large directory comes in pages
        page = remote.get("/v1/ls", path=path, after=str(after))
        listing.entries.extend(typed(page, Listing).entries)
        answer["entries"].extend(page["entries"])
    if as_json:
        print_json(answer)
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
    print_columns([("STATE", "SIZE", "CHANGED", "OWNERS", "NAME"), *rows])


@click.command(epilog="Example:  shoal peers")
@verb
def peers(remote: Remote, as_json: bool) -> None:
    """List the peers of the network."""
    answer = remote.get("/v1/peers")
    if as_json:
        print_json(answer)
        return
    rows = [
        (peer.name, peer.id[:12], peer.url, str(peer.files), show_size(peer.bytes), peer.last_seen)
        for peer in typed(answer, Peers).peers
    ]
    print_columns([("NAME", "ID", "URL", "FILES", "SIZE", "LAST SEEN"), *rows])


@click.command(epilog="Example:  shoal forget data/old.bin")
@click.argument("path")
@verb
def forget(remote: Remote, as_json: bool, path: str) -> None:
    """Withdraw your own file from the network: copies elsewhere go too, your file stays in LOCAL."""
    answer = remote.post("/v1/forget", {"path": network_path(path)})
    if as_json:
        print_json(answer)
    else:
        click.echo(f"forgotten: {printable(str(answer.get('path', path)))}")
