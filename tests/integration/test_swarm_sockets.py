"""The swarm with few sockets: many holders, stuck ones among them, and a read that must not be failed by that."""

import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from peer.layout import Layout
from peer.swarm import Swarm, SwarmConfig
from peer.swarm.source import HttpSources
from shoal.errors import RemoteError
from shoal.manifest import MIB, Manifest, manifest_of
from shoal.names import SafePath, safe_path
from shoal.wire import Entry, PeerRow
from tests.support.patience import until, within
from tests.support.share_fixture import Share, serving

DATA = random.Random(22).randbytes(20 * MIB)
PATH = safe_path("data/model.bin")
FEW = SwarmConfig(max_sockets=8)
Find = Callable[[SafePath, Entry, bool], list[PeerRow]]


def new_swarm(local: Path, find: Find) -> tuple[Swarm, HttpSources]:
    layout = Layout(local)
    layout.make()
    sources = HttpSources(FEW)
    return Swarm(FEW, layout, find, lambda message: True, sources), sources


def holders(count: int, port: int) -> list[PeerRow]:
    return [PeerRow(f"h{n}-{port}", f"peer{n}-{port}", f"http://127.0.0.1:{port}") for n in range(count)]


def entry_of(manifest: Manifest) -> Entry:
    return Entry(manifest.cid, manifest.size, 0, manifest.sha1)


def test_300_holders_and_eight_sockets(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    share = Share(tmp_path / "a")
    manifest = share.add("f", DATA)
    with serving(share) as (port, server):
        swarm, sources = new_swarm(tmp_path / "b", lambda path, entry, ask: holders(300, port))
        most = 0
        with swarm.open(PATH, entry_of(manifest)) as reader:
            for offset in range(0, len(DATA), MIB):
                assert within(10, reader.read, offset, MIB) == DATA[offset : offset + MIB]
                most = max(most, sources.figures()[0], server.connections)
        assert most <= FEW.max_sockets + 2, "the server may not have seen yet that some were closed"
        assert len(swarm.stats().fetched) > 3, "several gave something"
        swarm.close()


def test_64_reads_stuck_on_silent_holders_and_one_of_a_good_one(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    share = Share(tmp_path / "a")
    good = share.add("f", DATA)
    stuck = [manifest_of(bytes([n]) * MIB) for n in range(64)]
    with serving(share) as (port, _), socket.create_server(("127.0.0.1", 0), backlog=512) as silent:
        silent_port = silent.getsockname()[1]
        rows = {manifest.cid: holders(64, silent_port)[n : n + 1] for n, manifest in enumerate(stuck)}
        rows[good.cid] = holders(1, port)
        swarm, sources = new_swarm(tmp_path / "b", lambda path, entry, ask: rows[entry.cid])

        def wait(manifest: Manifest) -> None:
            try:
                with swarm.open(PATH, entry_of(manifest)) as reader:
                    reader.read(0, MIB)
            except RemoteError:
                pass

        threads = [threading.Thread(target=wait, args=(manifest,)) for manifest in stuck]
        for thread in threads:
            thread.start()
        until(lambda: sources.figures()[0] == FEW.max_sockets and sources.figures()[1] > 20, 5, "all are in use")
        began = time.monotonic()
        with swarm.open(PATH, entry_of(good)) as reader:
            got = b"".join(within(15, reader.read, offset, MIB) for offset in range(0, len(DATA), MIB))
        assert got == DATA
        assert time.monotonic() - began < 14
        swarm.close()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
