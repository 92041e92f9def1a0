"""What the tests of the cache share: the `shoal` command, bytes on disk while something happens, who holds what."""

import json
import os
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.cluster import ROOT, Peer, Tracker
from tests.support.patience import until

SHOAL = ROOT / ".venv" / "bin" / "shoal"


def shoal(peer: Peer, *words: str) -> tuple[int, Any]:
    """(exit code, what it said as JSON, None if nothing) of the `shoal` command for a peer."""
    done = subprocess.run([SHOAL, "--peer", peer.http, "--json", *words], capture_output=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else None


def said(peer: Peer, *words: str) -> tuple[int, str, str]:
    """(exit code, what it said, its errors) of the `shoal` command for a peer, as a person sees them."""
    command = [SHOAL, "--peer", peer.http, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def asking(peer: Peer, *words: str) -> subprocess.Popen[bytes]:
    """The `shoal` command for a peer, begun; `outcomes_of` waits for its end."""
    command = [SHOAL, "--peer", peer.http, "--json", *words]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def outcomes_of(begun: subprocess.Popen[bytes]) -> dict[str, str]:
    """What became of each path by the `shoal evict` that was begun; {} if its peer went meanwhile."""
    out, _ = begun.communicate(timeout=60)
    return {result["path"]: result["outcome"] for result in json.loads(out)["results"]} if out.strip() else {}


def fetch(peer: Peer, *paths: str) -> None:
    """Has a peer keep copies of these files and folders."""
    until(lambda: said(peer, "warm", *paths)[0] == 0, 30, f"{peer.name} keeps {paths}")


def settled(tracker: Tracker) -> None:
    """Waits until the tracker says that what is missing from its catalogue is gone."""
    until(lambda: not tracker.get("/healthz")["settling"], 30, "the tracker's catalogue is settled")


def outcomes(peer: Peer, *words: str) -> dict[str, str]:
    """What became of each path by `shoal evict` or `free`."""
    _, told = shoal(peer, *words)
    return {result["path"]: result["outcome"] for result in told["results"]}


def holders(tracker: Tracker) -> dict[str, list[str]]:
    """The names of the whole holders that the tracker lists, by path."""
    names = {peer["id"]: peer["name"] for peer in tracker.get("/v1/peers")["peers"]}
    files = tracker.get("/v1/files")["files"]
    return {file["path"]: sorted(names.get(id, id) for id in file["holders"]) for file in files}


def on_disk(local: Path) -> int:
    """Bytes that a share takes on a disk of its own, `.shoal` included, and files that are open and have no name."""
    disk = os.statvfs(local)
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize


class Watched:
    """The most that a share took on its disk inside a `with` block; looked at all the time by a thread of its own."""

    def __init__(self, local: Path) -> None:
        self._local = local
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watched", daemon=True)
        self.most = self.looks = 0

    def _look(self) -> None:
        while not self._stopping.wait(0.005):
            self.most = max(self.most, on_disk(self._local))
            self.looks += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._stopping.set()
        self._thread.join(10)
