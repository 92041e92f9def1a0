"""The main job, with real programs and real files, told step by step: `make demo`.

A tracker and peers start as anybody would start them. Anna shares this machine's Python library and a big
file; Ben and Cleo read them through their mounts. Then Anna is killed in the middle of a read, and Mallory
offers corrupted bytes. Everything is checked; the exit code is 0 only if all of it was so. All of it happens
in one temporary directory and on ports of its own; nothing is left.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from shoal.errors import ShoalError
from shoal.units import show_size
from tests.support import sweep
from tests.support.chaos import Detour, Faults
from tests.support.cluster import READ, Cluster, Node, Peer
from tests.support.patience import until, within

BIG = 256 << 20
PART = 4096
LIE = 4 << 20


class Failed(Exception):
    """A step did not go as it must; the message says what was instead."""


@dataclass
class Story:
    """What is told on the terminal, and the table of what happened."""

    console: Console = field(default_factory=lambda: Console(highlight=False))
    rows: list[tuple[str, str, float, bool]] = field(default_factory=list)
    figure: str = ""

    def say(self, text: str) -> None:
        """One line of the story."""
        self.console.print(f"  {text}")

    def command(self, node: Node) -> None:
        """Shows how a program was started."""
        words = [Path(word).name if word.endswith(".py") else word for word in node.command[1:]]
        home = str(node.home)
        self.console.print(f"  [dim]$ ./{' '.join(words).replace(home, '…')}[/]", soft_wrap=True)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step: told, timed, and put into the table; a failed one ends the story."""
        self.console.print(f"\n[bold]{title}[/]")
        self.figure, began = "", time.monotonic()
        try:
            yield
        except (Failed, AssertionError, OSError, RuntimeError, subprocess.SubprocessError, ShoalError) as error:
            self.rows.append((title, str(error), time.monotonic() - began, False))
            raise Failed(title) from error
        self.rows.append((title, self.figure, time.monotonic() - began, True))

    def must(self, so: bool, figure: str) -> None:
        """Tells a result, and ends the story if it is not as it must be."""
        if not so:
            raise Failed(figure)
        self.figure = figure
        self.say(f"[green]✓[/] {figure}")

    def table(self) -> None:
        """What happened, at the end."""
        table = Table(title="\nWhat happened", title_justify="left", width=None if self.console.is_terminal else 130)
        for name in ("step", "result", "seconds", "so?"):
            table.add_column(name, justify="right" if name == "seconds" else "left")
        for title, figure, seconds, so in self.rows:
            table.add_row(title, figure, f"{seconds:.1f}", "[green]yes[/]" if so else "[red]no[/]")
        self.console.print(table, soft_wrap=not self.console.is_terminal)


def play(story: Story, cluster: Cluster) -> None:
    """The story."""
    share = cluster.home / "anna/local"
    with story.step("Files: this machine's Python library, and a big file"):
        shutil.copytree(
            sysconfig.get_path("stdlib"),
            share / "python",
            ignore=shutil.ignore_patterns("site-packages", "__pycache__", "config-*"),
            ignore_dangling_symlinks=True,
        )
        digest = write_random(share / "big.bin", BIG)
        files = [path for path in share.rglob("*") if path.is_file() and not path.is_symlink()]
        size = sum(path.stat().st_size for path in files)
        story.must(len(files) > 500, f"{len(files):,} files, {show_size(size)}")

    with story.step("A tracker, and Anna, Ben and Cleo, each with a share and a mount"):
        tracker = cluster.tracker()
        story.command(tracker)
        anna, ben, cleo = peers = [cluster.peer(name, wait=False) for name in ("anna", "ben", "cleo")]
        for peer in peers:
            peer.wait_ready()
            story.command(peer)
        until(lambda: listed(tracker.get, "anna") >= len(files), 60, "the tracker lists all of Anna's files", 0.2)
        story.must(all(os.path.ismount(peer.mount) for peer in peers), "running; all files are announced")

    with story.step("Cleo lists everything"):
        until(lambda: (cleo.mount / "big.bin").exists(), 15, "Cleo sees the big file")
        story.say("[dim]$ ls -lR cleo/mount[/]")
        began = time.monotonic()
        listing = run("ls", "-lR", str(cleo.mount)).count("\n-")
        took, moved = time.monotonic() - began, cleo.fetched()
        story.must(
            listing >= len(files) and moved == 0,
            f"{listing:,} files listed in {took:.2f} s; {show_size(moved)} of them moved",
        )

    with story.step("Cleo runs a program out of the folder"):
        story.say("[dim]$ python cleo/mount/python/calendar.py 2026 11[/]")
        month = run(sys.executable, "-B", str(cleo.mount / "python/calendar.py"), "2026", "11")
        story.console.print(month.rstrip(), style="dim")
        story.must("November 2026" in month, f"{show_size(cleo.fetched())} moved: what it imports, and no more")

    with story.step("Cleo reads the last 4 KiB of the big file"):
        before = cleo.fetched()
        end = cleo.cat("big.bin", BIG - PART, PART)
        moved = cleo.fetched() - before
        with open(share / "big.bin", "rb") as file:
            file.seek(BIG - PART)
            right = end == file.read()
        story.must(right and moved <= 512 << 10, f"right bytes; {show_size(moved)} of {show_size(BIG)} moved")

    with story.step("Ben reads all of it"):
        rate, read = read_whole(ben)
        story.must(read == digest, f"{show_size(BIG)} at {rate / 1e6:,.0f} MB/s, every piece checked; SHA-256 is right")
        ben.wait_kept("big.bin", 30)
        until(lambda: holders(tracker.get, "big.bin") >= 2, 15, "Ben is listed as a holder")
        story.say("Ben keeps it in his share, and everybody can have it from him too")

    with story.step("Anna is killed while Cleo reads"):
        with open(cleo.mount / "big.bin", "rb", buffering=0) as file:
            hashed, got = hashlib.sha256(), 0
            while chunk := within(READ, file.read, 1 << 20):
                hashed.update(chunk)
                got += len(chunk)
                if anna.running and got >= 16 << 20:
                    story.say(f"[dim]$ kill -9 {anna.pid}[/]   after {show_size(got)}")
                    anna.kill()
        story.must(hashed.hexdigest() == digest, "the read went on from Ben; SHA-256 is right")

    with story.step("Mallory offers a file, and her bytes are corrupted"):
        lie = os.urandom(LIE)
        with Detour(tracker.address, Faults(corrupt_every=50_000)) as detour:
            (cluster.home / "mallory/local").mkdir(parents=True)
            (cluster.home / "mallory/local/offer.bin").write_bytes(lie)
            mallory = cluster.peer("mallory", server=detour.address)
            cleo.wait_for("offer.bin")
            try:
                cleo.cat("offer.bin")
            except OSError as error:
                said = error.strerror
            else:
                raise Failed("Cleo was given the corrupted bytes")
            rejected = int(cleo.metric("shoal_rejected_pieces_total"))
            kept = (cleo.local / "offer.bin").exists()
            story.must(rejected > 0 and not kept, f"“{said}”: {rejected} piece(s) refused, nothing kept")
            ben.put("offer.bin", lie)
            until(lambda: reads(cleo, "offer.bin", lie), 20, "Cleo gets the right bytes from Ben", 0.5)
            story.must(True, f"{rejected} piece(s) refused, nothing kept; then the right bytes from Ben")
            mallory.stop()

    with story.step("Everybody leaves"):
        codes = {node.name: node.stop() for node in (ben, cleo, tracker)}
        mounted = sweep.mounts(str(cluster.home))
        story.must(set(codes.values()) == {0}, "exit codes 0")
        story.must(set(mounted) <= {str(anna.mount)}, "unmounted, leases given back")


def write_random(path: Path, size: int) -> str:
    """Makes a file of random bytes; its SHA-256."""
    hashed = hashlib.sha256()
    with open(path, "wb") as file:
        for _ in range(size >> 20):
            chunk = os.urandom(1 << 20)
            hashed.update(chunk)
            file.write(chunk)
    return hashed.hexdigest()


def read_whole(peer: Peer) -> tuple[float, str]:
    """(bytes a second of the first read through the mount, SHA-256 of a second one)."""

    def read(each: Callable[[memoryview], object]) -> float:
        buffer, total, began = memoryview(bytearray(1 << 20)), 0, time.perf_counter()
        with open(peer.mount / "big.bin", "rb", buffering=0) as file:
            while got := file.readinto(buffer):
                each(buffer[:got])
                total += got
        return total / (time.perf_counter() - began)

    rate = within(60, read, len)
    hashed = hashlib.sha256()
    within(60, read, hashed.update)
    return rate, hashed.hexdigest()


def reads(peer: Peer, path: str, data: bytes) -> bool:
    """Whether the mount gives these bytes; an error is "not yet", wrong bytes are the end."""
    if peer.cat(path) != data:
        raise Failed("wrong bytes")
    return True


def listed(get: Callable[[str], dict], name: str) -> int:  # type: ignore[type-arg]
    """How many files the tracker lists for a peer."""
    return sum(peer["files"] for peer in get("/v1/peers")["peers"] if peer["name"] == name)


def holders(get: Callable[[str], dict], path: str) -> int:  # type: ignore[type-arg]
    """How many whole holders the tracker knows for a path."""
    return max((len(file["holders"]) for file in get(f"/v1/files?prefix={path}")["files"]), default=0)


def run(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def main() -> int:
    """Plays the story; 0 only if all of it was so."""
    story = Story()
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        story.say(
            "the demo mounts for real, and /dev/fuse cannot be opened (as root: modprobe fuse; chmod 666 /dev/fuse)"
        )
        return 2
    sweep.sweep()
    try:
        with Cluster() as cluster:
            play(story, cluster)
    except Failed as failed:
        story.console.print(f"[red]not so: {failed}[/]")
    story.table()
    return 0 if story.rows and all(so for *_, so in story.rows) and not sweep.left_behind() else 1


if __name__ == "__main__":
    sys.exit(main())
