"""What a run of the harness may leave behind, found and taken away: mounts, processes, directories.

Everything that a run makes lies in a directory named `shoal-run-PID-…` with the harness's own process id,
and every program it starts carries that directory in its environment. What belongs to a process that is
gone is stale; what belongs to a living one is another run's, and left alone.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

MARK = "SHOAL_RUN"
"""The environment variable that names the run's directory."""
_OWNER = re.compile(r"shoal-run-(\d+)-")


def make_directory() -> Path:
    """A new directory for a run of this process, on the disk that TMPDIR names."""
    return Path(tempfile.mkdtemp(prefix=f"shoal-run-{os.getpid()}-"))


def owner_of(text: str) -> int:
    """The process id in a run's directory name, 0 if it is none."""
    match = _OWNER.search(text)
    return int(match[1]) if match else 0


def mounts(beneath: str = "") -> list[str]:
    """Mount points of runs, deepest first; only those beneath a directory, if one is given."""
    with open("/proc/self/mounts") as table:
        points = [line.split()[1].encode().decode("unicode_escape") for line in table]
    return sorted((p for p in points if owner_of(p) and p.startswith(beneath)), reverse=True)


def processes(beneath: str = "") -> dict[int, str]:
    """Living processes that runs started, and the run's directory of each."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environ = (entry / "environ").read_bytes()
        except OSError:  # ended meanwhile, or somebody else's
            continue
        for line in environ.split(b"\0"):
            if line.startswith(MARK.encode() + b"=") and os.fsdecode(line).partition("=")[2].startswith(beneath):
                found[int(entry.name)] = os.fsdecode(line).partition("=")[2]
    return found


def unmount(point: str) -> None:
    """Takes a mount away at once, whether or not its program lives."""
    command = ["umount", "-l", point] if os.geteuid() == 0 else ["fusermount3", "-uz", point]
    subprocess.run(command, check=False, capture_output=True, timeout=20)


def take_away(directory: str) -> None:
    """Kills what a run started, unmounts what it mounted, removes its directory."""
    for pid in processes(directory):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    for point in mounts(directory):
        unmount(point)
    if not mounts(directory):
        shutil.rmtree(directory, ignore_errors=True)


def sweep() -> list[str]:
    """Takes away the runs whose process is gone; returns their directories."""
    seen = {*mounts(), *processes().values(), *map(str, Path(tempfile.gettempdir()).glob("shoal-run-*"))}
    stale = {_run(text) for text in seen if not os.path.exists(f"/proc/{owner_of(text)}")}
    for directory in stale:
        take_away(directory)
    return sorted(stale)


def left_behind() -> list[str]:
    """What this process's own runs have not taken away, one line each."""
    me = os.getpid()
    lines = [f"mounted: {point}" for point in mounts() if owner_of(point) == me]
    return lines + [f"running: {pid} in {where}" for pid, where in processes().items() if owner_of(where) == me]


def _run(path: str) -> str:
    head, name, _ = re.split(r"(shoal-run-\d+-[^/]*)", path, maxsplit=1)
    return head + name
