"""The work itself, the same code for every system. Sizes in bytes, times in seconds."""

import mmap
import os
import random
import statistics
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

BUFFER = 1 << 20


def touch_memory(size: int) -> None:
    """Uses and gives back so much memory.

    A virtual machine's host takes idle pages back; who uses them first pays for getting them again, several times the
    price of a copy. So that no system pays for another, this comes before each turn.
    """
    chunk = bytes(BUFFER)
    with mmap.mmap(-1, size) as memory:
        for offset in range(0, size - BUFFER + 1, BUFFER):
            memory[offset : offset + BUFFER] = chunk


def read_whole(path: Path) -> float:
    """Bytes a second of one sequential read with a 1 MiB buffer, from open to the end of the file."""
    buffer, total = memoryview(bytearray(BUFFER)), 0
    began = time.perf_counter()
    fd = os.open(path, os.O_RDONLY)
    try:
        while got := os.readv(fd, [buffer]):
            total += got
    finally:
        os.close(fd)
    elapsed = time.perf_counter() - began
    if total != os.stat(path).st_size:
        raise RuntimeError(f"{path}: {total} bytes came")
    return total / elapsed


def read_mapped(path: Path) -> float:
    """Bytes a second of all of a file, copied out of a map of it a MiB at a time."""
    began = time.perf_counter()
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        size, buffer = len(mapped), bytearray(BUFFER)
        for offset in range(0, size, BUFFER):
            part = mapped[offset : offset + BUFFER]
            buffer[: len(part)] = part
    return size / (time.perf_counter() - began)


def read_by_dd(path: Path, step: str) -> float:
    """Bytes a second of `dd bs=STEP`."""
    return os.stat(path).st_size / run("dd", f"if={path}", "of=/dev/null", f"bs={step}", "status=none")


def read_at_random(path: Path, count: int, seed: int) -> float:
    """The median time of `count` reads of 4 KiB at random places of one open file."""
    places = random.Random(seed)
    size, times = os.stat(path).st_size, []
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        for _ in range(count):
            offset = places.randrange(size // 4096) * 4096
            began = time.perf_counter()
            data = os.pread(fd, 4096, offset)
            times.append(time.perf_counter() - began)
            if len(data) != 4096:
                raise RuntimeError(f"{path}: {len(data)} bytes at {offset}")
    finally:
        os.close(fd)
    return statistics.median(times)


def read_each(paths: Iterable[Path]) -> float:
    """Files a second, each opened, read and closed, one after another."""
    began, count = time.perf_counter(), 0
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            if not file.read():
                raise RuntimeError(f"{path} is empty")
        count += 1
    return count / (time.perf_counter() - began)


def run(*command: str) -> float:
    """Seconds that a command takes."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def cpu_of_group(group: int) -> float:
    """Seconds of CPU time that the processes of a process group have used so far."""
    ticks = 0
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.getpgid(int(entry.name)) == group:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        except OSError:  # ended meanwhile
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def cpu_of_machine() -> float:
    """Seconds that the CPUs of this machine were not idle so far, added up."""
    user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    return (user + nice + system + sum(interrupts[:2])) / os.sysconf("SC_CLK_TCK")


def memory_of_group(group: int) -> tuple[int, int]:
    """(PSS, RSS) in bytes of all processes of a process group, added up; PSS counts shared pages once."""
    pss = rss = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if os.getpgid(int(entry.name)) != group:
                continue
            lines = (entry / "smaps_rollup").read_text().splitlines()
        except OSError:  # ended meanwhile
            continue
        fields = {line.split()[0]: int(line.split()[1]) << 10 for line in lines[1:] if line.split()[0].endswith(":")}
        pss, rss = pss + fields["Pss:"], rss + fields["Rss:"]
    return pss, rss
