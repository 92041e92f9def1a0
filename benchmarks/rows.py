"""The rows of the table: each function does one kind of work with every system in turn, and returns its lines."""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import theirs, work
from benchmarks.ground import Ground
from benchmarks.table import Line
from tests.support.patience import until


@dataclass(frozen=True)
class Mounted:
    """A system that is up: its mount, and `settle`, which waits until what was read whole is kept."""

    path: Path
    settle: Callable[[], object] = lambda: None


STATE = "user.shoal.state"
Systems = dict[str, Callable[[], AbstractContextManager[Mounted]]]
OURS, LIBFUSE, FULL, BARE, SSHFS = "ours", "ours, --fuse libfuse", "rclone, full cache", "rclone, no cache", "sshfs"


def systems(ground: Ground) -> Systems:
    """Every system that mounts, each started anew with nothing kept."""

    @contextmanager
    def ours(fuse: str) -> Iterator[Mounted]:
        with ground.reader("--fuse", fuse) as peer:
            file = peer.mount / "big.bin"
            yield Mounted(peer.mount, lambda: until(lambda: os.getxattr(file, STATE) == b"here", 60, "it is kept"))

    @contextmanager
    def other(system: AbstractContextManager[Path]) -> Iterator[Mounted]:
        with system as path:
            yield Mounted(path)

    found: Systems = {OURS: lambda: ours("kernel"), LIBFUSE: lambda: ours("libfuse")}
    found[FULL] = lambda: other(theirs.rclone(ground.web, "full", ground.home))
    found[BARE] = lambda: other(theirs.rclone(ground.web, "off", ground.home))
    if os.geteuid() == 0 and not {"sshfs", "sshd"} & set(theirs.missing()):
        found[SSHFS] = lambda: other(theirs.sshfs(ground.source, ground.home))
    return found


def in_turn(ground: Ground) -> Iterator[tuple[str, Mounted]]:
    """Every system in every round, in an order that changes; up while the caller works with it."""
    for turn in range(ground.sizes.rounds):
        order = list(systems(ground).items())
        random.Random(turn).shuffle(order)
        for name, start in order:
            with start() as mounted:
                yield name, mounted


def turns(ground: Ground, job: Callable[[Path], float]) -> dict[str, list[float]]:
    """The job's results for each system, one a round."""
    results: dict[str, list[float]] = {}
    for name, mounted in in_turn(ground):
        results.setdefault(name, []).append(job(mounted.path))
    return results


def sequential(ground: Ground) -> list[Line]:
    """A cold file read whole, and read again. curl and the local disk take their turn beside ours."""
    first: dict[str, list[float]] = {}
    again: dict[str, list[float]] = {}
    target = ground.home / "curl.bin"
    for name, mounted in in_turn(ground):
        file = mounted.path / "big.bin"
        work.touch_memory(3 * ground.sizes.big)
        first.setdefault(name, []).append(work.read_whole(file))
        mounted.settle()
        time.sleep(0.5)  # what any system does behind its readers' backs is done by then
        again.setdefault(name, []).append(work.read_whole(file))
        if name == OURS:
            work.touch_memory(3 * ground.sizes.big)
            began = time.perf_counter()
            theirs.curl(f"{ground.web}/big.bin", target)
            first.setdefault("curl -o", []).append(ground.sizes.big / (time.perf_counter() - began))
            target.unlink()
            again.setdefault("local disk", []).append(work.read_whole(ground.source / "big.bin"))
    cold, warm = "cold file through the mount", "the same file again"
    lines = [
        Line(cold, "B/s", first[OURS], FULL, first[FULL], 3),
        Line(cold, "B/s", first[OURS], "curl -o", first["curl -o"], 0.6),
        Line(cold, "B/s", first[OURS], BARE, first[BARE]),
        Line(cold, "B/s", first[OURS], LIBFUSE, first[LIBFUSE]),
        Line(warm, "B/s", again[OURS], "local disk", again["local disk"], 0.6),
        Line(warm, "B/s", again[OURS], FULL, again[FULL]),
        Line(warm, "B/s", again[OURS], LIBFUSE, again[LIBFUSE]),
    ]
    if SSHFS in first:
        lines.insert(3, Line(cold, "B/s", first[OURS], SSHFS, first[SSHFS]))
    return lines


def at_random(ground: Ground) -> list[Line]:
    """Reads of 4 KiB at random places of a cold file: the median time of one."""
    got = turns(ground, lambda mount: work.read_at_random(mount / "big.bin", 300, 1))
    bars = {BARE: 1.0}
    return _lines("random 4 KiB reads of a cold file", "s", got, bars, at_most=True)


def small_files(ground: Ground) -> list[Line]:
    """Cold files of 10 KiB, one after another."""
    names = ground.small_files()
    got = turns(ground, lambda mount: work.read_each(mount / name for name in names))
    return _lines(f"{len(names):,} cold files of 10 KiB", "/s", got, {FULL: 1.5, BARE: 1.5}, at_most=False)


def listing(ground: Ground) -> list[Line]:
    """`ls -lR` of remote files."""
    got = turns(ground, lambda mount: work.run("ls", "-lR", str(mount / "listed")))
    return _lines(f"ls -lR of {ground.sizes.listed:,} files", "s", got, {BARE: 0.5}, at_most=True)


def traffic(ground: Ground) -> list[Line]:
    """Looking moves no file bytes; 4 KiB at the end of a 64 MiB file moves two pieces at most."""
    with ground.reader() as peer:
        before = peer.fetched()
        for command in (["ls", "-lR"], ["du", "-s"], ["find"]):
            work.run(*command, str(peer.mount))
        looked = peer.fetched() - before
        size = (64 << 20) - 4096
        if peer.cat("middle.bin", size, 4096) != (ground.source / "middle.bin").read_bytes()[size:]:
            raise RuntimeError("the end of the file is wrong")
        time.sleep(1)  # whatever was asked for ahead has arrived by then
        ended = peer.fetched() - before - looked
    return [
        Line("ls -lR, du, find: file bytes moved", "B", [looked], bar=0, at_most=True),
        Line("4 KiB at the end of 64 MiB: bytes moved", "B", [ended], bar=512 << 10, at_most=True),
    ]


def freshness(ground: Ground) -> list[Line]:
    """A new file's way into everybody's mount."""
    times = []
    with ground.reader() as one, ground.reader() as other:
        for number in range(5):
            began = time.perf_counter()
            ground.owner.put(f"new-{number}.txt", b"%d" % number)
            for peer in (one, other):
                peer.wait_for(f"new-{number}.txt", seconds=20)
            times.append(time.perf_counter() - began)
    return [Line("a new file is seen everywhere", "s", times, bar=10, at_most=True, note=f"worst {max(times):.2f} s")]


def memory(ground: Ground) -> list[Line]:
    """All of a peer's processes: with every file shared, and while a big file is read through it."""
    owner_pss, owner_rss = work.memory_of_group(ground.owner.pid)
    with ground.reader() as peer:
        peer.cat("middle.bin")
        before, _ = work.memory_of_group(peer.pid)
        work.read_whole(peer.mount / "big.bin")
        after, _ = work.memory_of_group(peer.pid)
    files = ground.sizes.small + ground.sizes.listed + 2
    return [
        Line(
            f"memory of a peer that shares {files:,} files",
            "B",
            [owner_pss],
            bar=120 << 20,
            at_most=True,
            note=f"PSS of all its processes; their RSS adds up to {owner_rss / 2**20:.0f} MiB",
        ),
        Line("growth of a reader's memory by a big file", "B", [max(0, after - before)], bar=16 << 20, at_most=True),
    ]


def _lines(text: str, unit: str, got: dict[str, list[float]], bars: dict[str, float], at_most: bool) -> list[Line]:
    return [
        Line(text, unit, got[OURS], name, values, bars.get(name), at_most)
        for name, values in got.items()
        if name != OURS
    ]


ROWS: dict[str, Callable[[Ground], list[Line]]] = {
    row.__name__: row for row in (sequential, at_random, small_files, listing, traffic, freshness, memory)
}
