"""Faults at random for some minutes: `make soak`. Reads must end, and give one of the versions ever shared.

python -m tests.soak SECONDS [SEED]
"""

import hashlib
import random
import sys
import time
from collections import Counter
from contextlib import ExitStack

from tests.support import sweep
from tests.support.chaos import Detour, Faults
from tests.support.cluster import READ, Cluster, Peer, Tracker
from tests.support.patience import TooLate, until

SIZES = (0, 1, 3_000, 262_144, 262_145, 2_000_000, 20_000_000)
FAULTS = (
    Faults(),
    Faults(),
    Faults(delay=0.01),
    Faults(corrupt_every=150_000),
    Faults(cut_after=400_000),
    Faults(duplicate_after=90_000),
    Faults(stall_after=500_000),
    Faults(refuse=True),
)


class Soak:
    """A tracker, a peer behind faults, and three others; one random act after another."""

    def __init__(self, cluster: Cluster, stack: ExitStack, dice: random.Random) -> None:
        self.dice, self.counts = dice, Counter[str]()
        self.versions: dict[str, set[str]] = {}
        self.tracker: Tracker = cluster.tracker("--ttl", "5", "--refresh", "1")
        self.detour = stack.enter_context(Detour(self.tracker.address))
        self.peers: list[Peer] = [cluster.peer("bad", server=self.detour.address)]
        self.peers += [cluster.peer(name) for name in ("one", "two", "three")]
        for number, size in enumerate(SIZES):
            self.put(f"dir{number % 3}/file{number}", size)

    def put(self, path: str, size: int) -> None:
        """A new version of a path, in one or two shares."""
        data = self.dice.randbytes(size)
        self.versions.setdefault(path, set()).add(hashlib.sha256(data).hexdigest())
        for peer in self.dice.sample(self.peers, self.dice.choice((1, 2))):
            peer.put(path, data)

    def act(self) -> None:
        """One fault, or one change, or the end of one."""
        peer = self.dice.choice(self.peers)
        act = self.dice.choice(("faults", "kill", "hang", "tracker", "put", "stop"))
        self.counts[act] += 1
        match act:
            case "faults":
                self.detour.faults = self.dice.choice(FAULTS)
            case "kill":
                peer.kill()
                peer.restart()
            case "stop":
                if (code := peer.stop()) != 0:
                    raise AssertionError(f"{peer.name} ended with {code} after SIGTERM")
                peer.restart()
            case "hang":
                peer.pause()
                self.read(self.dice.choice([other for other in self.peers if other is not peer]))
                peer.resume()
            case "tracker":
                self.tracker.kill()
                self.read(peer)
                self.tracker.restart()
            case "put":
                path = self.dice.choice(list(self.versions))
                self.put(path, self.dice.choice(SIZES))

    def read(self, peer: Peer) -> None:
        """A read of any path anywhere: an error, or a version that was shared."""
        path = self.dice.choice(list(self.versions))
        try:
            data = peer.cat(path, seconds=READ)
        except OSError as error:
            self.counts[f"read: {error.strerror}"] += 1
            return
        if hashlib.sha256(data).hexdigest() not in self.versions[path]:
            raise AssertionError(f"{peer.name} gave {len(data)} bytes for {path} that nobody ever shared")
        self.counts["read: right"] += 1

    def settle(self) -> None:
        """When the faults end, everybody can read everything."""
        self.detour.faults = Faults()
        for peer in self.peers:
            for path in self.versions:
                until(lambda peer=peer, path=path: peer.cat(path) is not None, 60, f"{peer.name} reads {path}", 0.3)  # type: ignore[misc]


def main(seconds: float, seed: int) -> int:
    """Soaks; 0 if nothing went wrong."""
    print(f"soaking for {seconds:g} s, seed {seed}", flush=True)
    sweep.sweep()
    with Cluster() as cluster, ExitStack() as stack:
        soak = Soak(cluster, stack, random.Random(seed))
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                soak.act()
                for _ in range(3):
                    soak.read(soak.dice.choice(soak.peers))
            soak.settle()
        except (AssertionError, TooLate, RuntimeError) as error:
            cluster.show_logs()
            print(f"FAILED with seed {seed}: {error}")
            return 1
        finally:
            print("\n".join(f"{count:6} {what}" for what, count in sorted(soak.counts.items())))
    print("all reads ended, and none gave bytes that nobody shared")
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())))
