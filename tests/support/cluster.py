"""A tracker and peers as real programs: what tests, features, the demo and the benchmarks share.

    with Cluster() as cluster:
        tracker = cluster.tracker()
        anna, ben = cluster.peer("anna"), cluster.peer("ben")
        anna.put("notes.txt", b"hello")
        ben.wait_for("notes.txt")
        assert ben.cat("notes.txt") == b"hello"

Every program listens on a port of its own choice on loopback (or at a host of `tests.support.lab`), in a process
group of its own, with its share, its mount and its log in one temporary directory. Everything that waits has a
deadline. Leaving the block ends all programs, unmounts and removes all, whatever happened inside; when an exception
leaves it, the ends of the logs are shown on stderr.

Not thread-safe: one thread starts and stops programs.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.support import sweep
from tests.support.patience import until, within

ROOT = Path(__file__).resolve().parents[2]
START = 20.0
"""Seconds that a program has until it says that it is ready."""
STOP = 7.0
"""Seconds that a program has to end after SIGTERM."""
SEEN = 15.0
"""Seconds until something shared must show in a mount: a refresh, a settled file's 2 s, and a slow machine."""
READ = 40.0
"""Seconds until a read must have ended, well or not: the peer's own limit of 15 s, and a slow machine."""
N = TypeVar("N", bound="Node")
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_READY = re.compile(r"^ready: (http://\S+)$", re.MULTILINE)


class Place:
    """Where a program runs: this machine itself, on loopback. `tests.support.lab` has hosts of their own."""

    address = "127.0.0.1"
    """Where others there reach it."""
    prefix: Sequence[str] = ()
    """What a command begins with to be run there."""

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets that the calling thread makes in the block are of that place."""
        yield


LOOPBACK = Place()


class Node:
    """A running program with its log."""

    listeners = 1
    """How many `ready:` lines it prints."""

    def __init__(self, name: str, home: Path, command: Sequence[str], place: Place = LOOPBACK) -> None:
        self.name, self.home, self.command, self.place = name, home, list(command), place
        self.out, self.log = home / f"{name}.out", home / f"{name}.log"
        self.urls: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Starts the program; `wait_ready` waits for it."""
        with open(self.out, "wb") as out, open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*self.place.prefix, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                cwd=self.home,
                start_new_session=True,
                env={**os.environ, sweep.MARK: str(self.home), "PYTHONUNBUFFERED": "1"},
            )

    def wait_ready(self, seconds: float = START) -> None:
        """Waits for the `ready:` lines."""
        until(self._is_ready, seconds, f"{self.name} is ready")

    def _is_ready(self) -> bool:
        if not self.running:
            raise RuntimeError(f"{self.name} ended with {self.code} before it was ready:\n{self.tail()}")
        self.urls = _READY.findall(self.out.read_text())
        return len(self.urls) >= self.listeners

    @property
    def url(self) -> str:
        """Where it listens first: the tracker's port, a peer's data port."""
        return self.urls[0]

    @property
    def address(self) -> str:
        """The same as host:port."""
        return self.url.removeprefix("http://").rstrip("/")

    @property
    def pid(self) -> int:
        """The process id of the current run."""
        assert self.process is not None
        return self.process.pid

    @property
    def code(self) -> int | None:
        """The exit code, None while it runs."""
        return self.process.poll() if self.process else None

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """As a crash does: kill -9 of the program itself."""
        self._signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(STOP)

    def pause(self) -> None:
        """As a machine that hangs does: SIGSTOP of all its processes."""
        self._signal(signal.SIGSTOP, group=True)

    def resume(self) -> None:
        """SIGCONT of all its processes."""
        self._signal(signal.SIGCONT, group=True)

    def terminate(self) -> None:
        """Asks it to end; `stop` also waits."""
        self._signal(signal.SIGTERM)

    def stop(self) -> int:
        """Asks it to end and waits; its exit code, by force -9 when it did not end in time."""
        self.terminate()
        return self.wait_ended(STOP)

    def end(self) -> None:
        """kill -9 of all its processes."""
        self._signal(signal.SIGKILL, group=True)
        if self.process is not None:
            self.process.wait(STOP)

    def wait_ended(self, seconds: float) -> int:
        """Waits for the end, and makes one when `seconds` are over."""
        if self.process is None:
            return 0
        try:
            return self.process.wait(max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            self.end()
            return -signal.SIGKILL

    def _signal(self, number: signal.Signals, group: bool = False) -> None:
        if self.process is None:
            return
        try:
            if group:
                os.killpg(self.process.pid, number)
            elif self.running:
                self.process.send_signal(number)
        except ProcessLookupError:
            pass  # it ended first

    def _get(self, url: str, seconds: float = 10.0) -> bytes:
        """The body at a URL, asked from where the program runs."""
        with self.place.entered(), _direct.open(url, timeout=seconds) as answer:
            body: bytes = answer.read()
            return body

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(f"  {self.name} | {line}" for line in text.splitlines()[-lines:])

    def said(self, words: str) -> int:
        """How many lines of its log hold these words."""
        return sum(words in line for line in self.log.read_text(errors="replace").splitlines())


class Tracker(Node):
    """`./tracker.py` on a port of its own; started again it keeps the port."""

    def __init__(self, name: str, home: Path, args: Sequence[str], place: Place = LOOPBACK) -> None:
        super().__init__(name, home, [], place)
        self._args = list(args)

    def launch(self) -> None:
        """Starts it, where it was before if it ran before."""
        port = self.address.rpartition(":")[2] if self.urls else "0"
        self.command = [sys.executable, str(ROOT / "tracker.py"), port, "--host", self.place.address, *self._args]
        super().launch()

    def restart(self) -> None:
        """Starts it again, empty, on the same port."""
        self.launch()
        self.wait_ready()

    def get(self, route: str) -> Any:
        """The JSON at a route."""
        return json.loads(self._get(self.url.rstrip("/") + route))


class Peer(Node):
    """`./peer.py` with a share, a mount and an http port."""

    listeners = 2

    def __init__(
        self, name: str, home: Path, server: str, args: Sequence[str], local: Path | None, place: Place = LOOPBACK
    ) -> None:
        self.local, self.mount = local or home / name / "local", home / name / "mount"
        self.local.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(ROOT / "peer.py"), server, str(self.local), str(self.mount), "--port", "0"]
        command += ["--http", "127.0.0.1:0", "--advertise", place.address, "--name", name, "--mkdir"]
        super().__init__(name, home, [*command, *args], place)

    @property
    def http(self) -> str:
        """The URL of its http port, without a slash at the end."""
        return self.urls[1].rstrip("/")

    def restart(self) -> None:
        """Starts it again on the same share."""
        self.launch()
        self.wait_ready()

    def put(self, path: str, data: bytes) -> Path:
        """Writes a file into its share."""
        file = self.local / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return file

    def cat(self, path: str, offset: int = 0, size: int | None = None, seconds: float = READ) -> bytes:
        """What the mount gives: all of a file, or `size` bytes from `offset`. Raises OSError as the read does."""

        def read() -> bytes:
            with open(self.mount / path, "rb", buffering=0) as file:
                if offset:
                    file.seek(offset)
                return bytes(file.read() if size is None else file.read(size) or b"")

        return within(seconds, read)

    def ls(self, path: str = "", seconds: float = READ) -> list[str]:
        """The sorted names in a directory of the mount."""
        return sorted(within(seconds, os.listdir, self.mount / path))

    def sees(self, path: str) -> bool:
        """Whether the mount shows this path now."""
        return within(READ, os.path.lexists, self.mount / path)

    def wait_for(self, path: str, size: int | None = None, seconds: float = SEEN) -> None:
        """Waits until the mount shows the path (with this size)."""

        def shown() -> bool:
            status = within(READ, os.stat, self.mount / path)
            return size is None or status.st_size == size

        until(shown, seconds, f"{self.name} sees {path}")

    def wait_gone(self, path: str, seconds: float = 40.0) -> None:
        """Waits until the mount shows the path no more; the default leaves time for a lease to end."""
        until(lambda: not self.sees(path), seconds, f"{self.name} sees no {path} any more", every=0.1)

    def wait_kept(self, path: str, seconds: float = SEEN) -> Path:
        """Waits until a download stands in its share, and returns where."""
        file = self.local / path
        until(file.exists, seconds, f"{self.name} keeps {path}")
        return file

    def status(self) -> Any:
        """Its `/v1/status`."""
        return json.loads(self._get(self.http + "/v1/status"))

    def metric(self, name: str, seconds: float = 10.0) -> float:
        """The sum of a metric over its labels, 0.0 if it has none yet."""
        text = self._get(self.http + "/metrics", seconds).decode()
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if re.match(rf"{re.escape(name)}(\{{| )", line))
        return sum(float(value) for _, value in lines)

    def fetched(self) -> int:
        """Bytes it got from other peers since it started."""
        return int(self.metric("shoal_fetched_bytes_total"))


class Cluster:
    """A temporary network; see the module."""

    def __init__(self) -> None:
        self.home = sweep.make_directory()
        self.nodes: list[Node] = []

    def tracker(self, *args: str, name: str = "tracker", place: Place = LOOPBACK) -> Tracker:
        """Starts a tracker. `args` are options of its command line."""
        return self._start(Tracker(name, self.home, args, place))

    def peer(
        self,
        name: str,
        *args: str,
        server: str = "",
        local: Path | None = None,
        wait: bool = True,
        place: Place = LOOPBACK,
    ) -> Peer:
        """Starts a peer of the first tracker, or of `server`; without `wait` it may not be ready yet."""
        server = server or next(node.address for node in self.nodes if isinstance(node, Tracker))
        return self._start(Peer(name, self.home, server, args, local, place), wait)

    def _start(self, node: N, wait: bool = True) -> N:
        self.nodes.append(node)
        node.launch()
        if wait:
            node.wait_ready()
        return node

    def show_logs(self) -> None:
        """The end of every program's log, on stderr."""
        for node in self.nodes:
            state = "running" if node.running else f"ended with {node.code}"
            print(f"--- {node.name} ({state}, {' '.join(node.command[1:4])} …)\n{node.tail()}", file=sys.stderr)

    def close(self) -> None:
        """Ends all programs at once (`Node.stop` is the gentle way), unmounts and removes everything."""
        for node in self.nodes:
            node.end()
        sweep.take_away(str(self.home))
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        try:
            if kind is not None:
                self.show_logs()
        finally:
            self.close()
