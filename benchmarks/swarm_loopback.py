"""How fast the swarm reads, without a mount: one holder (nginx, another process) on loopback.

    .venv/bin/python benchmarks/swarm_loopback.py [--size 1G] [--runs 3] [--directory DIR]

Prints: 1 GiB read in 1 MiB reads, checked and written to disk; random 4 KiB reads of another cold 1 GiB file; 2,000
cold files of 10 KiB one after another. Medians over the runs.
"""

import argparse
import contextlib
import os
import random
import resource
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from peer.layout import Layout
from peer.swarm import Swarm, SwarmConfig
from shoal.manifest import MIB, manifest_of
from shoal.names import safe_path
from shoal.units import parse_size
from shoal.wire import Entry, PeerRow

SMALL, SMALL_SIZE = 2000, 10 << 10


@contextlib.contextmanager
def nginx(root: Path) -> Iterator[str]:
    """Serves ROOT/v1/content/CID and ROOT/v1/content/CID.manifest; yields the URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    conf = root / "nginx.conf"
    conf.write_text(f"""
        daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error.log; user root;
        events {{ worker_connections 256; }}
        http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
          client_body_temp_path {root}/tmp; proxy_temp_path {root}/tmp; fastcgi_temp_path {root}/tmp;
          uwsgi_temp_path {root}/tmp; scgi_temp_path {root}/tmp;
          server {{ listen 127.0.0.1:{port}; root {root};
            location ~ ^/(v1/content/[0-9a-f]+)/manifest$ {{ alias {root}/$1.manifest; }} }} }}
    """)
    process = subprocess.Popen(["nginx", "-p", str(root), "-c", str(conf)], stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def add_file(root: Path, size: int) -> Entry:
    """A file of random bytes, as the holder has it."""

    def chunks() -> Iterator[bytes]:
        with open(place, "rb") as file:
            while data := file.read(MIB):
                yield data

    place = root / "new"
    with open(place, "wb") as file:
        for offset in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - offset)))
    manifest = manifest_of(chunks(), size)
    place.rename(root / "v1" / "content" / manifest.cid)
    (root / "v1" / "content" / f"{manifest.cid}.manifest").write_bytes(manifest.encode())
    return Entry(manifest.cid, size, 0, holders=("a",))


def new_swarm(local: Path, url: str) -> Swarm:
    layout = Layout(local)
    layout.make()
    row = PeerRow("a", "nginx", url)
    return Swarm(SwarmConfig(), layout, lambda path, entry, ask: [row], lambda message: True)


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def sequential(url: str, entry: Entry, local: Path) -> tuple[float, float]:
    """(bytes a second, CPU seconds) of reading all of it."""
    swarm = new_swarm(local, url)
    began, used = time.monotonic(), cpu()
    with swarm.open(safe_path("big"), entry) as reader:
        for offset in range(0, reader.size, MIB):
            reader.read(offset, MIB)
        took, used = time.monotonic() - began, cpu() - used
    swarm.close()
    return entry.size / took, used


def scattered(url: str, entry: Entry, local: Path, count: int = 200) -> float:
    """Median seconds of a random read of 4 KiB."""
    swarm = new_swarm(local, url)
    dice = random.Random(1)
    times = []
    with swarm.open(safe_path("big"), entry) as reader:
        for _ in range(count):
            offset = dice.randrange(entry.size >> 12) << 12
            began = time.perf_counter()
            reader.read(offset, 4096)
            times.append(time.perf_counter() - began)
    swarm.close()
    return statistics.median(times)


def small(url: str, entries: list[Entry], local: Path) -> tuple[float, float]:
    """(files a second, CPU seconds of a file)."""
    swarm = new_swarm(local, url)
    began, used = time.monotonic(), cpu()
    for entry in entries:
        with swarm.open(safe_path("small"), entry) as reader:
            reader.read(0, SMALL_SIZE)
    took, used = time.monotonic() - began, cpu() - used
    swarm.close()
    return len(entries) / took, used / len(entries)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=parse_size, default=1 << 30)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--directory", help="where the files are made (default: the system's temporary directory)")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(dir=options.directory))
    results: dict[str, list[float]] = {}
    try:
        (root / "v1" / "content").mkdir(parents=True)
        root.chmod(0o755)
        big = add_file(root, options.size)
        smalls = [add_file(root, SMALL_SIZE) for _ in range(SMALL)]
        with nginx(root) as url:
            for run in range(options.runs):
                for name, work in (("seq", sequential), ("random", scattered), ("small", small)):
                    local = root / f"local{run}{name}"
                    local.mkdir()
                    answer = work(url, smalls if name == "small" else big, local)  # type: ignore[operator]
                    shutil.rmtree(local)
                    for at, value in enumerate(answer if isinstance(answer, tuple) else (answer,)):
                        results.setdefault(f"{name}{at}", []).append(value)
    finally:
        shutil.rmtree(root)
    median = {name: statistics.median(values) for name, values in results.items()}
    rates = ", ".join(f"{value / 1e6:.0f}" for value in results["seq0"])
    times = ", ".join(f"{value * 1e3:.2f}" for value in results["random0"])
    print(f"sequential: {median['seq0'] / 1e6:.0f} MB/s, {median['seq1']:.2f} s of CPU ({rates})")
    print(f"random 4 KiB: median {median['random0'] * 1e3:.2f} ms ({times})")
    print(f"{SMALL} files of 10 KiB: {median['small0']:.0f} a second, {median['small1'] * 1e3:.3f} ms of CPU each")
    print(f"largest memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")


if __name__ == "__main__":
    main()
