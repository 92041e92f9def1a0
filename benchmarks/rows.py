"""The rows of the table: each function does one kind of work with every system in turn, and returns its lines."""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import theirs, work
from benchmarks.crowd import crowd
from benchmarks.ground import Ground
from benchmarks.table import Line
from tests.support.patience import until


@dataclass(frozen=True)
class Mounted:
    """A system that is up: its mount, and `settle`, which waits until what was read whole is kept."""

    path: Path
    settle: Callable[[], object] = lambda: None
    local: Path | None = None
    """Where the same files are on this disk, once they are kept."""


DISK, IN_LOCAL = "local disk", "the same in LOCAL"
STATE = "user.shoal.state"
Systems = dict[str, Callable[[], AbstractContextManager[Mounted]]]
OURS, LIBFUSE, MFUSEPY = "ours", "ours, --fuse libfuse", "mfusepy alone"
FULL, BARE, SSHFS = "rclone, full cache", "rclone, no cache", "sshfs"


def systems(ground: Ground) -> Systems:
    """Every system that mounts, each started anew with nothing kept."""

    @contextmanager
    def ours(fuse: str) -> Iterator[Mounted]:
        with ground.reader("--fuse", fuse) as peer:
            file = peer.mount / "big.bin"

            def settle() -> None:
                until(lambda: os.getxattr(file, STATE) == b"here", 60, "it is kept")

            yield Mounted(peer.mount, settle, peer.local)

    @contextmanager
    def other(system: AbstractContextManager[Path]) -> Iterator[Mounted]:
        with system as path:
            yield Mounted(path)

    found: Systems = {OURS: lambda: ours("kernel"), LIBFUSE: lambda: ours("libfuse")}
    found[MFUSEPY] = lambda: other(theirs.mfusepy(ground.source, ground.home))
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


AGAIN: dict[str, Callable[[Path], float]] = {
    "the same file again, dd bs=1M": lambda path: work.read_by_dd(path, "1M"),
    "the same by mmap": work.read_mapped,
    "the same by dd bs=512": lambda path: work.read_by_dd(path, "512"),
}
"""What is read of a file that is here by then, and how."""


def sequential(ground: Ground) -> list[Line]:
    """A cold file read whole, and read again in several ways. curl and the local disk take their turn beside ours."""
    first: dict[str, list[float]] = {}
    again: dict[str, dict[str, list[float]]] = {text: {} for text in AGAIN}
    target = ground.home / "curl.bin"
    for name, mounted in in_turn(ground):
        file = mounted.path / "big.bin"
        work.touch_memory(3 * ground.sizes.big)
        first.setdefault(name, []).append(work.read_whole(file))
        mounted.settle()
        time.sleep(0.5)  # what any system does behind its readers' backs is done by then
        places = [(name, file)]
        if name == OURS and mounted.local is not None:
            places.append((IN_LOCAL, mounted.local / "big.bin"))
        if len(first[name]) % 2 == 0:  # who comes first finds the CPU's caches cold
            places.reverse()
        for text, job in AGAIN.items():
            for place, path in places:
                again[text].setdefault(place, []).append(job(path))
        if name == OURS:
            work.touch_memory(3 * ground.sizes.big)
            began = time.perf_counter()
            theirs.curl(f"{ground.web}/big.bin", target)
            first.setdefault("curl -o", []).append(ground.sizes.big / (time.perf_counter() - began))
            target.unlink()
    del first[MFUSEPY]  # its file is here from the beginning
    lines = _lines("cold file through the mount", "B/s", first, {FULL: 3, "curl -o": 0.7}, at_most=False)
    for (text, got), bar in zip(again.items(), (0.9, 0.9, 0.8), strict=True):
        lines += _lines(text, "B/s", got, {IN_LOCAL: bar}, at_most=False)
    return lines


def at_random(ground: Ground) -> list[Line]:
    """Reads of 4 KiB at random places of a cold file: the median time of one."""
    got = turns(ground, lambda mount: work.read_at_random(mount / "big.bin", 300, 1))
    del got[MFUSEPY]
    bars = {BARE: 1.0}
    return _lines("random 4 KiB reads of a cold file", "s", got, bars, at_most=True)


def small_files(ground: Ground) -> list[Line]:
    """Cold files of 10 KiB, one after another; and once more, when they are here."""
    names = ground.small_files()
    first: dict[str, list[float]] = {}
    again: dict[str, list[float]] = {}
    for name, mounted in in_turn(ground):
        files = [mounted.path / path for path in names]
        first.setdefault(name, []).append(work.read_each(files))
        time.sleep(2)
        work.read_each(files)
        again.setdefault(name, []).append(work.read_each(files))
        if name == OURS and mounted.local is not None:
            again.setdefault(IN_LOCAL, []).append(work.read_each(mounted.local / path for path in names))
    del first[MFUSEPY]
    text = f"{len(names):,} files of 10 KiB that are here"
    lines = _lines(f"{len(names):,} cold files of 10 KiB", "/s", first, {FULL: 4.0, BARE: 4.0}, at_most=False)
    lines.append(Line(text, "/s", again[OURS], bar=10_000))
    return lines + _lines(text, "/s", again, {}, at_most=False)


def listing(ground: Ground) -> list[Line]:
    """`ls -lR` of remote files, for the first time and again."""
    first: dict[str, list[float]] = {}
    again: dict[str, list[float]] = {}
    for name, mounted in in_turn(ground):
        for results in (first, again):
            results.setdefault(name, []).append(work.run("ls", "-lR", str(mounted.path / "listed")))
        if name == OURS:
            for results in (first, again):
                results.setdefault(DISK, []).append(work.run("ls", "-lR", str(ground.source / "listed")))
    text = f"ls -lR of {ground.sizes.listed:,} files"
    beyond = [max(0.0, ours - disk) for ours, disk in zip(first[OURS], first[DISK], strict=True)]
    lines = _lines(text, "s", first, {BARE: 0.5}, at_most=True)
    lines.append(Line(f"{text}: longer than the local disk's", "s", beyond, bar=0.3, at_most=True))
    return lines + _lines(f"{text}, again", "s", again, {DISK: 2}, at_most=True)


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


def waste(ground: Ground) -> list[Line]:
    """Of all that is fetched while small files are read, the share that came ahead and that nobody opened."""
    names = ground.small_files()
    ways = {
        "all in order": names,
        "every third": names[::3],
        "20 at random": random.Random(1).sample(names, 20),
    }
    lines = []
    for way, chosen in ways.items():
        with ground.reader() as peer:
            work.read_each(peer.mount / name for name in chosen)
            time.sleep(1)  # what was asked for ahead has arrived by then
            moved = peer.status()["transfers"]
        ahead = moved["fetched_ahead_bytes"]
        wasted = ahead - moved["used_ahead_bytes"]
        share = 100 * wasted / sum(moved["fetched_bytes"].values())
        text, note = f"small files, {way}: fetched and never opened", f"{wasted >> 10:,} of {ahead >> 10:,} KiB ahead"
        lines.append(Line(text, "%", [share], bar=20, at_most=True, note=note))
    return lines


def freshness(ground: Ground) -> list[Line]:
    """A new file's way into everybody's mount, and a changed one's."""
    times, changed = [], []
    text = "a {} file is seen everywhere"
    with ground.reader() as one, ground.reader() as other:
        for number in range(5):
            began = time.perf_counter()
            ground.owner.put(f"new-{number}.txt", b"%d" % number)
            for peer in (one, other):
                peer.wait_for(f"new-{number}.txt", seconds=20)
            times.append(time.perf_counter() - began)
            time.sleep(3)
            began = time.perf_counter()
            ground.owner.put(f"new-{number}.txt", b"%d, and more" % number)
            for peer in (one, other):
                peer.wait_for(f"new-{number}.txt", len(b"%d, and more" % number), 20)
            changed.append(time.perf_counter() - began)
    return [
        Line(text.format("new"), "s", times, bar=10, at_most=True, note=f"worst {max(times):.2f} s"),
        Line(text.format("changed"), "s", changed, bar=1, at_most=True, note=f"worst {max(changed):.2f} s"),
    ]


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


def idle(ground: Ground) -> list[Line]:
    """What a mounted peer costs that nobody uses, in a network of 100,000 files that it listed once."""
    seconds, count = 30.0, 100_000
    with crowd(ground.tracker, count), ground.reader() as peer:
        peer.wait_for("crowd/99/999.bin", seconds=60)
        work.run("find", str(peer.mount / "crowd"))
        time.sleep(5)
        before = work.cpu_of_group(peer.pid)
        time.sleep(seconds)
        used = (work.cpu_of_group(peer.pid) - before) / seconds
    return [Line(f"CPU of an idle peer, {count:,} files listed", "%", [100 * used], bar=0.5, at_most=True)]


def _lines(text: str, unit: str, got: dict[str, list[float]], bars: dict[str, float], at_most: bool) -> list[Line]:
    return [
        Line(text, unit, got[OURS], name, values, bars.get(name), at_most)
        for name, values in got.items()
        if name != OURS
    ]


ROWS: dict[str, Callable[[Ground], list[Line]]] = {
    row.__name__: row for row in (sequential, at_random, small_files, listing, traffic, waste, freshness, memory, idle)
}
