"""The rows of the swarm: what readers on hosts of their own cost one another, and what a holder's end costs a reader.

Every host has a line of its own, TCP as it is (`tests.support.lab`); libtorrent takes its turn beside ours. The bars
are for the default sizes. `BENCH_SWARM_SIZE` (256M) makes a quick run: the other sizes keep their proportion to it.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import curve, spread
from benchmarks.spread import FILE, Spread, optimum, random_file
from benchmarks.table import Line
from shoal.units import parse_size, show_size
from tests.support.cluster import ROOT, Peer
from tests.support.lab import MBIT, Host, Lab, transfer
from tests.support.patience import until
from tests.support.reading import Reading

RATE = 100 * MBIT
COUNTS = (1, 2, 4, 8)
FULL = 256 << 20
SYSTEMS: dict[str, Callable[[int, int, int], Spread]] = {"ours": spread.ours, "libtorrent": spread.libtorrent}


@dataclass(frozen=True)
class Sizes:
    """Bytes of the file that is spread, and rounds."""

    file: int
    rounds: int

    @classmethod
    def of_environment(cls) -> "Sizes":
        """From BENCH_SWARM_SIZE and BENCH_ROUNDS."""
        return cls(parse_size(os.environ.get("BENCH_SWARM_SIZE", "256M")), int(os.environ.get("BENCH_ROUNDS", "3")))

    def of(self, size: int) -> int:
        """What `size` MiB of a full run are in this one."""
        return (size << 20) * self.file // FULL


def line(sizes: Sizes) -> list[Line]:
    """What one plain TCP connection makes of a line: the lab itself."""
    with Lab() as lab:
        one, other = lab.host("one", RATE), lab.host("other", RATE)
        rates = [transfer(one, other, sizes.of(64)) for _ in range(sizes.rounds)]
    best = [spread.PAYLOAD * RATE / 8]
    return [Line("plain TCP over a line of 100 Mbit/s", "B/s", rates, "what headers leave", best, 0.95)]


def eight(sizes: Sizes) -> list[Line]:
    """One owner, eight readers at once, through the mounts."""
    return _lines(sizes, _spreads(sizes, COUNTS[-1:]))


def readers(sizes: Sizes) -> list[Line]:
    """The same for 1, 2, 4 and 8 readers; at full size the curve is drawn into docs/swarm.svg."""
    got = _spreads(sizes, COUNTS)
    if sizes.file == FULL:
        best = optimum(sizes.file, RATE)
        series = {
            name: [(count, statistics.median(one.seconds for one in got[name, count]) / best) for count in COUNTS]
            for name in SYSTEMS
        }
        (ROOT / "docs/swarm.svg").write_text(curve.draw(series))
    return _lines(sizes, got)


def _spreads(sizes: Sizes, counts: tuple[int, ...]) -> dict[tuple[str, int], list[Spread]]:
    got: dict[tuple[str, int], list[Spread]] = {}
    for turn in range(sizes.rounds):
        for count in counts:
            for name in list(SYSTEMS)[:: -1 if turn % 2 else 1]:
                one = SYSTEMS[name](sizes.file, count, RATE)
                got.setdefault((name, count), []).append(one)
                print(f"{name}, {count} readers: {one.seconds:.1f} s", file=sys.stderr, flush=True)
    return got


def _lines(sizes: Sizes, got: dict[tuple[str, int], list[Spread]]) -> list[Line]:
    best, lines = optimum(sizes.file, RATE), []
    for count in sorted({count for _, count in got}):
        ours, theirs = got["ours", count], got["libtorrent", count]
        text = f"{show_size(sizes.file)} to {count} reader{'s' if count > 1 else ''} at once, 100 Mbit/s each"
        seconds, others = [one.seconds for one in ours], [one.seconds for one in theirs]
        bar = 1.25 if count == COUNTS[-1] else None
        lines.append(Line(f"{text}: the last one done", "s", seconds, "the optimum", [best], bar, at_most=True))
        note = f"libtorrent is done after {statistics.median(others) / best:.2f} × the optimum; CPU: " + ", ".join(
            f"{name} {statistics.median(one.cpu for one in got[name, count]):.1f} s, the machine "
            f"{100 * statistics.median(one.busy for one in got[name, count]):.0f} % busy"
            for name in SYSTEMS
        )
        lines.append(Line(f"{text}: beside libtorrent", "s", seconds, "libtorrent", others, note=note))
        sent, other = [float(one.uploaded) for one in ours], [float(one.uploaded) for one in theirs]
        bar = 1.3 if count == COUNTS[-1] else None
        file = [float(sizes.file)]
        lines.append(Line("what the owner uploaded for it", "B", sent, "the file", file, bar, at_most=True))
        lines.append(Line("what the owner uploaded for it", "B", sent, "libtorrent", other))
    return lines


def three_holders(sizes: Sizes) -> list[Line]:
    """One reader on a fast line, three holders on slower ones."""
    speeds = []
    for _ in range(sizes.rounds):
        with Lab() as lab:
            reader, _ = _holders_and_reader(lab, sizes.of(256), 3, 80 * MBIT, 1000 * MBIT)
            began = time.monotonic()
            spread.read_all([reader])
            speeds.append(sizes.of(256) / (time.monotonic() - began))
    text = f"{show_size(sizes.of(256))} from three holders of 80 Mbit/s each"
    return [Line(text, "B/s", speeds, bar=25e6, note=f"the lines leave {3 * 80 * MBIT / 8 * spread.PAYLOAD / 1e6:.1f}")]


def holder_lost(sizes: Sizes) -> list[Line]:
    """A holder is killed, or stops, in mid-read; another one is there."""
    size, lines = sizes.of(128), []
    for text, fault in (("killed", Peer.end), ("stopped (SIGSTOP)", Peer.pause)):
        stalls = []
        for turn in range(max(4, sizes.rounds)):  # either of the two, early and late
            with Lab() as lab:
                reader, holders = _holders_and_reader(lab, size, 2, RATE, RATE)
                reading = Reading(reader.mount / FILE)
                reading.has(size * (1 + turn // 2) / 4)
                fault(holders[turn % 2])
                reading.finish(600)
                stalls.append(reading.stall)
        note = f"worst of {len(stalls)} times: {max(stalls):.2f} s"
        lines.append(Line(f"a holder is {text} in mid-read: longest stall", "s", [max(stalls)], "", (), 3, True, note))
    return lines


def reader_killed(sizes: Sizes) -> list[Line]:
    """The reader dies four times and begins again: what all of it costs the holder."""
    size, sent = sizes.of(120), []
    for _ in range(sizes.rounds):
        with Lab() as lab:
            reader, holders = _holders_and_reader(lab, size, 1, RATE, RATE)
            line = holders[0].place
            assert isinstance(line, Host)
            before = line.sent()
            for turn in range(4):
                reading = Reading(reader.mount / FILE)
                reading.has(size * (turn + 1) / 5)
                reader.end()
                reading.join()
                reader.restart()
                reader.wait_for(FILE, size, 60)
            spread.read_all([reader])
            sent.append(float(line.sent() - before))
    bar = 1.35 * size + (64 << 20)
    text = f"four times kill -9 of the reader in {show_size(size)}: all that the holder sent"
    return [Line(text, "B", sent, bar=bar, at_most=True, note=f"{statistics.median(sent) / size:.2f} × the file")]


def cache_limit(sizes: Sizes) -> list[Line]:
    """A file much larger than what may be kept is read whole: the most that lay on the disk."""
    size, limit = sizes.of(512), sizes.of(100)
    most = []
    for _ in range(sizes.rounds):
        with Lab() as lab:
            reader, _ = _holders_and_reader(lab, size, 1, 1000 * MBIT, 1000 * MBIT, "--cache-limit", str(limit))
            began, reading, use = _on_disk(reader.local), Reading(reader.mount / FILE), 0
            while reading.is_alive():
                use = max(use, _on_disk(reader.local))
                time.sleep(0.02)
            reading.finish()
            most.append(float(use - began))
    text = f"{show_size(size)} read under --cache-limit {show_size(limit)}: most on disk"
    return [Line(text, "B", most, bar=1.12 * limit, at_most=True)]


def _holders_and_reader(
    lab: Lab, size: int, holders: int, rate: int, reader_rate: int, *args: str
) -> tuple[Peer, list[Peer]]:
    """A reader that sees a file, and those that all have it."""
    tracker = lab.tracker(place=lab.host("hub"))
    first = random_file(lab.home / "holder0/local" / FILE, size)
    for number in range(1, holders):
        place = lab.home / f"holder{number}/local" / FILE
        place.parent.mkdir(parents=True)
        os.link(first, place)
    peers = [lab.peer(f"holder{n}", place=lab.host(f"holder{n}", rate)) for n in range(holders)]
    reader = lab.peer("reader", *args, place=lab.host("reader", reader_rate))
    reader.wait_for(FILE, size, 60)

    def listed() -> bool:
        return [len(file["holders"]) for file in tracker.get("/v1/files")["files"]] == [holders]

    until(listed, 60, "all holders are listed", every=0.1)
    return reader, peers


def _on_disk(directory: Path) -> int:
    """Bytes that the disk gives to all files beneath a directory."""
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            try:
                total += 512 * os.lstat(os.path.join(place, name)).st_blocks
            except FileNotFoundError:  # it is gone by now
                pass
    return total


ROWS: dict[str, Callable[[Sizes], list[Line]]] = {
    row.__name__: row for row in (line, readers, eight, three_holders, holder_lost, reader_killed, cache_limit)
}
GROUP = tuple(name for name in ROWS if name != "eight")
"""What `swarm` stands for: `eight` is in `readers`."""
