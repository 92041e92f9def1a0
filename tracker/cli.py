"""The composition root: arguments, the server, signals.

The program is two processes. This one reads the arguments, starts Granian, says
`ready:` once the tracker answers, and takes the signals. The other, Granian's one
worker, holds all state: it builds everything in `_build`. When either dies the
other ends.
"""

import contextlib
import ctypes
import errno
import http.client
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network

import click
from granian import Granian
from granian.constants import Interfaces
from granian.http import HTTP1Settings

from shoal.errors import UsageError
from shoal.names import printable
from shoal.units import show_address
from tracker.address import Network
from tracker.announcing import Application
from tracker.app import make_app
from tracker.figures import Figures
from tracker.hints import Hints
from tracker.machine import ThisMachine
from tracker.memory import MemoryStore
from tracker.patience import PatientClock
from tracker.quotas import Limits
from tracker.request import Requests

log = logging.getLogger(__name__)

THREADS = 256
"""Threads that answer requests, made when they are needed: mostly a few are enough, but a slow body holds one."""
BODIES = 12, 224
"""Of these, threads that one source may hold with slow bodies, and that all together may."""
CONNECTIONS = 16_384
"""Connections at most, most of them idle ones of peers between two renewals."""
START = 20.0
"""Seconds within which the worker must answer."""
STOP = 3
"""Seconds that the worker has to finish what it is doing."""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Config:
    """All that a tracker is told. `ttl` and `refresh` in seconds."""

    port: int
    host: str
    ttl: float
    refresh: float
    store: str
    limits: Limits
    trusted: tuple[Network, ...]


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: ./tracker.py 6667, then on each machine ./peer.py TRACKER:6667 ~/shared /mnt/shoal",
)
@click.argument("port", type=click.IntRange(0, 65535), default=6667)
@click.option("--host", default="0.0.0.0", show_default=True, help="Address to listen at.")
@click.option(
    "--ttl", type=float, default=15, show_default=True, help="Seconds a peer is listed without a sign of life."
)
@click.option("--refresh", type=float, default=5, show_default=True, help="Seconds between two signs of life.")
@click.option("--store", default="memory://", show_default=True, help="Where the state is kept.")
@click.option(
    "--max-leases-per-source",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Peers taken from one address.",
)
@click.option(
    "--max-files-per-source",
    type=click.IntRange(min=1),
    default=2_000_000,
    show_default=True,
    help="Files taken from one address, of all its peers together.",
)
@click.option(
    "--trusted-proxy",
    multiple=True,
    metavar="CIDR",
    help="Proxies whose X-Forwarded-For is believed. May be given several times.",
)
def _command(
    port: int,
    host: str,
    ttl: float,
    refresh: float,
    store: str,
    max_leases_per_source: int,
    max_files_per_source: int,
    trusted_proxy: tuple[str, ...],
) -> None:
    """Runs a Shoal tracker at PORT (6667; 0 picks a free one): it knows which peers are alive and what each holds.

    It keeps nothing on disk, and can be stopped and started at any time: two refreshes later it knows all again.
    """
    if not 0.01 <= refresh < ttl <= 86_400:  # also refuses NaN
        raise UsageError("--refresh must be at least 0.01 seconds and less than --ttl, and --ttl at most 86400")
    _check_store(store)
    trusted = tuple(_network(text) for text in trusted_proxy)
    limits = Limits(max_leases_per_source, max_files_per_source)
    _run(Config(port, host, ttl, refresh, store, limits, trusted))


def main(args: Sequence[str] | None = None) -> None:
    """Runs the program and exits: 0 after a signal, 1 when the worker died, 2 for what cannot be done as asked."""
    try:
        _command.main(args, prog_name="tracker.py", standalone_mode=False)
    except (UsageError, click.ClickException) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        print(f"tracker.py: {message} (see --help)", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


def _check_store(url: str) -> None:
    if url.startswith(("redis://", "rediss://")):
        raise UsageError("--store redis://: not built yet; memory:// is the only store")
    if url != "memory://":
        raise UsageError(f"--store {printable(url)}: no such store; memory:// is the only one")


def _network(text: str) -> Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise UsageError(f"--trusted-proxy {printable(text)}: not a network (example: 10.0.0.0/8)") from None


def _run(config: Config) -> None:
    """Serves until a signal comes."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    _allow_files()
    with contextlib.closing(_claim(config.host, config.port)) as claim:
        host, port = claim.host, claim.port
        server = Granian(
            "tracker",
            address=host,
            port=port,
            interface=Interfaces.WSGI,
            blocking_threads=THREADS,
            backlog=4096,
            backpressure=CONNECTIONS,
            http1_settings=HTTP1Settings(header_read_timeout=15_000, max_buffer_size=65_536),
            workers_kill_timeout=STOP,
            log_enabled=False,
        )
        threading.Thread(target=_say_ready, args=(host, port), name="ready", daemon=True).start()
        try:
            server.serve(target_loader=partial(_build, config, os.getpid()), wrap_loader=False)
        except SystemExit:
            # On Ctrl-C the worker gets the signal too, and may be gone before this process looks: no accident.
            if not server.interrupt_signal:
                log.error("the worker died; so does this tracker")
                sys.exit(1)


def _build(config: Config, parent: int) -> Application:
    """Builds the tracker; runs in the worker, and starts all its threads there."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        sys.exit(1)
    hints = Hints(lambda: store.hints())
    # The only store there is: see `_check_store`.
    store = MemoryStore(config.ttl, config.limits, hints.changed, PatientClock(time.monotonic))
    requests = Requests(ThisMachine(), config.trusted, BODIES)
    figures = Figures(store.totals, lambda: hints.sent)
    app = make_app(store, requests, config.refresh, config.ttl, figures)
    store.start()
    hints.start()
    return app


def _allow_files() -> None:
    """As many open files as may be: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + 1024
    if soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


@dataclass
class _Claim:
    """A host and port that nobody listens at, and that no other tracker of this machine is about to take."""

    host: str
    port: int
    lock: socket.socket

    def close(self) -> None:
        self.lock.close()


def _claim(host: str, port: int) -> _Claim:
    """The address to listen at, with PORT 0 replaced by a free one.

    Granian listens with SO_REUSEPORT: a second tracker at the same port would get every other connection. So
    whether the port is free is tried without it, and an abstract socket keeps out who starts at the same moment.

    Raises:
        UsageError: it is taken, or is no address of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        with socket.create_server((str(address[0]), port), family=family) as probe:
            taken_host, taken_port = probe.getsockname()[:2]
            lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                lock.bind(f"\0shoal-tracker-{taken_port}-{taken_host}")
            except OSError:
                lock.close()
                raise
        return _Claim(taken_host, taken_port, lock)
    except OSError as error:
        why = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        raise UsageError(f"cannot listen at {show_address(host, port)}: {why}") from None


def _say_ready(host: str, port: int) -> None:
    """Says that the tracker can be used, as soon as it answers; ends the program if it never does."""
    target = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(target, port, timeout=2)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                print(f"ready: http://{show_address(host, port)}", flush=True)
                return
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)  # not listening yet
        finally:
            connection.close()
    log.error("the tracker does not answer after %d seconds", START)
    os._exit(1)
