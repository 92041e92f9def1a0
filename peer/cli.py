"""The peer's composition root: the only code that reads argv, the environment and files given there."""

import logging
import os
import resource
import signal
import socket
import sys
import threading
from pathlib import Path

import click

from peer.config import Fuse, PeerConfig
from peer.identity import lock
from peer.layout import Layout
from peer.mount.mounting import check_apart, check_mountpoint
from peer.node import Node
from peer.process import save_memory
from shoal.errors import BadName, ShoalError, UsageError
from shoal.names import safe_peer_name
from shoal.units import parse_address, parse_size, parse_time

EPILOG = """\b
Example: share ~/models and see everybody's files at ~/net, with a tracker at lab1:6667
  ./peer.py lab1:6667 ~/models ~/net --mkdir
"""
_STOP_WITHIN = 4.5  # seconds; the promise is 5


@click.command(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("server", metavar="SERVER")
@click.argument("local", metavar="LOCAL", type=click.Path(path_type=Path))
@click.argument("rest", metavar="MOUNT [LOCAL-PORT]", nargs=-1)
@click.option("--port", type=click.IntRange(0, 65535), help="The data port, for peers (default: any free one).")
@click.option("--http", default="127.0.0.1:0", show_default=True, help="The http port, for people and programs here.")
@click.option("--name", help="What others see this peer as (default: the host's name).")
@click.option("--advertise", default="", help="The host that others reach the data port at.")
@click.option(
    "--read-timeout",
    type=click.FloatRange(0.1),
    default=15.0,
    show_default=True,
    help="Seconds after the last useful byte in which a read ends.",
)
@click.option("--leave-timeout", type=click.FloatRange(0), default=3.0, show_default=True, help="Seconds for leaving.")
@click.option("--token-file", type=click.Path(path_type=Path), help="Holds the token that changes need off loopback.")
@click.option("--open", "open_", is_flag=True, help="Let everybody who reaches the http port change things.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="A name that the http port answers for.")
@click.option(
    "--fuse",
    type=click.Choice(["auto", "kernel", "libfuse"]),
    default="auto",
    show_default=True,
    help="How to mount: by the kernel's protocol, or by libfuse where that cannot be.",
)
@click.option(
    "--cache-limit", metavar="SIZE", help="Bytes of copies and pieces kept on disk at most (default: no limit)."
)
@click.option(
    "--min-free", metavar="SIZE", help="Bytes of the disk that stay free (default: 1G or 5 % of it, whichever is less)."
)
@click.option(
    "--scrub-every", metavar="TIME", default="30d", show_default=True, help="All that is kept is checked in that time."
)
@click.option("--down-limit", metavar="RATE", help="Bytes a second from other peers at most (20M; default: no limit).")
@click.option("--up-limit", metavar="RATE", help="Bytes a second to other peers at most (default: no limit).")
@click.option(
    "--max-sockets",
    type=click.IntRange(8),
    default=200,
    show_default=True,
    help="Connections with other peers at most: those made here, and those taken.",
)
@click.option("--no-prefetch", is_flag=True, help="Do not fetch small files ahead of who reads a folder.")
@click.option("--no-mount", is_flag=True, help="Share and serve only; MOUNT may be left out.")
@click.option("--mkdir", is_flag=True, help="Make LOCAL and MOUNT where they do not exist.")
def command(
    server: str,
    local: Path,
    rest: tuple[str, ...],
    port: int | None,
    http: str,
    name: str | None,
    advertise: str,
    read_timeout: float,
    leave_timeout: float,
    token_file: Path | None,
    open_: bool,
    allow_host: tuple[str, ...],
    fuse: Fuse,
    cache_limit: str | None,
    min_free: str | None,
    scrub_every: str,
    down_limit: str | None,
    up_limit: str | None,
    max_sockets: int,
    no_prefetch: bool,
    no_mount: bool,
    mkdir: bool,
) -> int:
    """Share LOCAL, and mount the files of the whole network at MOUNT.

    SERVER is the tracker's host:port, or several, separated by commas.
    """
    mount, local_port = _mount_and_port(rest, no_mount)
    local, mount = local.absolute(), None if mount is None or no_mount else mount.absolute()
    if port is not None and local_port is not None and port != local_port:
        raise UsageError(f"two data ports: --port {port} and LOCAL-PORT {local_port}; give one")
    if mount is not None:
        check_apart(local, mount)  # before anything is made in either
    local = _directory(local, "LOCAL", mkdir)
    mount = mount and _directory(mount, "MOUNT", mkdir)
    config = PeerConfig(
        trackers=tuple(parse_address(part) for part in server.split(",")),
        local=local,
        mount=mount,
        name=_peer_name(name),
        port=port or local_port or 0,
        http=_listen_address(http),
        advertise=advertise,
        read_timeout=read_timeout,
        leave_timeout=leave_timeout,
        token=_token(token_file),
        open=open_,
        allowed_hosts=allow_host,
        fuse=fuse,
        cache_limit=_size("--cache-limit", cache_limit) or 0,
        min_free=_size("--min-free", min_free),
        scrub_every=parse_time(scrub_every),
        down_limit=_size("--down-limit", down_limit) or 0,
        up_limit=_size("--up-limit", up_limit) or 0,
        max_sockets=max_sockets,
        prefetch=not no_prefetch,
    )
    return run(config)


def run(config: PeerConfig) -> int:
    """Runs a peer until SIGINT or SIGTERM; the exit code.

    Raises:
        UsageError: the places or ports given cannot be used, or a peer runs on LOCAL already.
        LocalError: this machine lacks what a mount needs.
    """
    if config.mount is not None:
        check_mountpoint(config.mount)
    layout = Layout(config.local)
    try:
        layout.make()
        held = lock(layout)
    except OSError as error:
        raise UsageError(f"cannot write in {config.local}: {error.strerror}") from None
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        node = Node(config, layout)
    except OSError as error:
        raise UsageError(f"cannot write in {layout.state}: {error.strerror}") from None
    try:
        for url in node.start(stop):
            print(f"ready: {url}", flush=True)
        node.wait(stop)
    finally:
        # Whatever hangs, the promise to be gone holds; helpers and the mount's connection end with this process.
        last = threading.Timer(_STOP_WITHIN, _give_up)
        last.daemon = True
        last.start()
        node.stop()
        last.cancel()
        os.close(held)
    return 0


def _give_up() -> None:
    logging.getLogger(__name__).error("not everything could be ended in time; leaving it to the system")
    os._exit(1)


def _mount_and_port(rest: tuple[str, ...], no_mount: bool) -> tuple[Path | None, int | None]:
    """MOUNT and LOCAL-PORT, either of which may be left out in its place."""
    if no_mount and len(rest) == 1 and rest[0].isascii() and rest[0].isdigit():
        rest = ("", *rest)
    if len(rest) > 2:
        raise UsageError(f"too many arguments: {' '.join(rest[2:])}")
    if not rest and not no_mount:
        raise UsageError("MOUNT is missing (or give --no-mount)")
    port = None
    if len(rest) == 2:
        if not (rest[1].isascii() and rest[1].isdigit() and int(rest[1]) < 65536):
            raise UsageError(f"not a port: {rest[1]!r}")
        port = int(rest[1])
    return (Path(rest[0]) if rest and rest[0] else None), port


def _directory(path: Path, what: str, mkdir: bool) -> Path:
    try:
        if mkdir:
            path.mkdir(parents=True, exist_ok=True)
        status_ok = path.is_dir()
    except OSError as error:
        if what == "MOUNT":  # a dead mount answers every question with an error; the check of the places cleans it
            return path.absolute()
        raise UsageError(f"{what} cannot be used: {path}: {error.strerror}") from None
    if not status_ok:
        raise UsageError(f"{what} is not a directory: {path} (--mkdir makes it)")
    return path.resolve()


def _peer_name(name: str | None) -> str:
    try:
        return safe_peer_name(name if name is not None else socket.gethostname()[:64])
    except BadName as error:
        raise UsageError(f"not a name for a peer: {error}") from None


def _listen_address(text: str) -> tuple[str, int]:
    """Like `parse_address`, but port 0 is any free one, and the host is turned into a literal address."""
    host, _, port = text.rpartition(":")
    try:
        if port != "0":
            host, number = parse_address(text)
        else:
            host, number = host.removeprefix("[").removesuffix("]"), 0
        return str(socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0][4][0]), number
    except (UsageError, OSError):
        raise UsageError(f"--http: not an address to listen at: {text!r} (example: 127.0.0.1:8080)") from None


def _size(option: str, text: str | None) -> int | None:
    """Bytes, or bytes a second, of an option; None if it was not given."""
    try:
        return None if text is None else parse_size(text)
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from None


def _token(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the token file cannot be read: {path}: {error}") from None
    if not token:
        raise UsageError(f"the token file is empty: {path}")
    return token


def main() -> None:
    """Runs the command; one clear line and exit 2 for what was asked wrongly."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    save_memory()
    try:
        code = command.main(prog_name="peer.py", standalone_mode=False)
    except click.ClickException as error:
        print(f"peer.py: {error.format_message()} (see --help)", file=sys.stderr)
        sys.exit(2)
    except UsageError as error:
        print(f"peer.py: {error}", file=sys.stderr)
        sys.exit(2)
    except ShoalError as error:
        print(f"peer.py: {error}", file=sys.stderr)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    sys.exit(code or 0)
