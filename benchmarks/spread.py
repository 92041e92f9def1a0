"""One file from one owner to several readers at once, each on a host of its own: ours, and libtorrent's."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import work
from tests.support import sweep
from tests.support.cluster import ROOT, Peer
from tests.support.lab import PAYLOAD, Host, Lab
from tests.support.patience import within

FILE = "big.bin"


@dataclass(frozen=True)
class Spread:
    """What it took."""

    seconds: float
    """Until the last reader had the last byte."""
    uploaded: int
    """Bytes that the owner sent, headers included."""
    cpu: float
    """Seconds of CPU time that all the programs used for it, and the kernel in their name."""
    busy: float
    """The share of this machine's CPUs that was not idle meanwhile, 0 to 1: near 1 the machine is what limits."""


def optimum(size: int, rate: int) -> float:
    """Seconds that a file takes over a line of `rate` bits a second at least."""
    return size * 8 / (PAYLOAD * rate)


def random_file(path: Path, size: int) -> Path:
    """A file of random bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        for offset in range(0, size, work.BUFFER):
            file.write(os.urandom(min(work.BUFFER, size - offset)))
    return path


def ours(size: int, readers: int, rate: int, *args: str) -> Spread:
    """Peers read it through their mounts, with `dd`. `rate` in bits a second, 0: as fast as the machine can."""
    with Lab() as lab:
        lab.tracker(place=lab.host("hub", rate))
        owner = lab.host("owner", rate)
        random_file(lab.home / "owner/local" / FILE, size)
        lab.peer("owner", place=owner)
        peers = [lab.peer(f"reader{n}", *args, wait=False, place=lab.host(f"reader{n}", rate)) for n in range(readers)]
        for peer in peers:
            peer.wait_ready(60)
        for peer in peers:
            peer.wait_for(FILE, size, 60)
        time.sleep(1)
        with measured(owner, [node.pid for node in lab.nodes]) as result:
            read_all(peers)
        return result[0]


def read_all(peers: Sequence[Peer]) -> None:
    """Each peer's file is read by a program of its own, all at once."""
    with ExitStack() as stack:
        programs = []
        for peer in peers:
            command = ["dd", f"if={peer.mount / FILE}", "of=/dev/null", "bs=1M", "status=none"]
            programs.append(stack.enter_context(subprocess.Popen(command)))
            stack.callback(programs[-1].kill)
        for program in programs:
            if program.wait():
                raise RuntimeError(f"{program.args} ended with {program.returncode}")


def libtorrent(size: int, readers: int, rate: int) -> Spread:
    """The same work by libtorrent, which has no mount: every reader gets the file into a directory."""
    with Lab() as lab, ExitStack() as stack:
        torrent, hosts = lab.home / "torrent", [lab.host(f"host{number}", rate) for number in range(readers + 1)]
        file = random_file(lab.home / "seed" / FILE, size)
        subprocess.run([*_RUNNER, "make", file, torrent], cwd=ROOT, check=True)
        programs = []
        for host in hosts:
            directory = lab.home / host.name if programs else file.parent
            directory.mkdir(exist_ok=True)
            words = [str(torrent), str(directory), *(other.address for other in hosts if other is not host)]
            programs.append(stack.enter_context(_torrent(lab, host, "get" if programs else "seed", *words)))
        for program in programs:
            _hears(program, "ready", 60)
        _hears(programs[0], "done", 60)
        with measured(hosts[0], [program.pid for program in programs]) as result:
            for program in programs[1:]:
                assert program.stdin is not None
                program.stdin.write("go\n")
                program.stdin.flush()
            for program in programs[1:]:
                _hears(program, "done", 600)
        return result[0]


@contextmanager
def measured(owner: Host, groups: Sequence[int]) -> Iterator[list[Spread]]:
    """Puts what the block took of the owner's line, and of the programs of these process groups, into the list."""
    result: list[Spread] = []
    sent, busy, cpu = owner.sent(), work.cpu_of_machine(), sum(map(work.cpu_of_group, groups))
    began = time.monotonic()
    yield result
    seconds = time.monotonic() - began
    cpu = sum(map(work.cpu_of_group, groups)) - cpu
    busy = (work.cpu_of_machine() - busy) / (seconds * (os.cpu_count() or 1))
    result.append(Spread(seconds, owner.sent() - sent, cpu, busy))


_RUNNER = [sys.executable, "-m", "benchmarks.torrent"]


@contextmanager
def _torrent(lab: Lab, host: Host, *words: str) -> Iterator["subprocess.Popen[str]"]:
    program = subprocess.Popen(
        [*host.prefix, *_RUNNER, *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, sweep.MARK: str(lab.home)},
    )
    try:
        yield program
    finally:
        program.kill()
        program.communicate(timeout=10)


def _hears(program: "subprocess.Popen[str]", word: str, seconds: float) -> None:
    assert program.stdout is not None
    if (said := within(seconds, program.stdout.readline).strip()) != word:
        raise RuntimeError(f"libtorrent said {said!r} where {word!r} was due")
