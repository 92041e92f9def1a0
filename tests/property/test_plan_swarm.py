"""The whole swarm over holders in memory whose faults are drawn at random; real threads, short timeouts."""

import random
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from peer.layout import Layout
from peer.swarm import Swarm
from shoal.errors import RemoteError
from shoal.manifest import KIB, MIB, manifest_of
from shoal.names import safe_path
from tests.support.swarm_in_memory import QUICK, Faults, Holder, MemorySources, entry_of

DATA = random.Random(6).randbytes(3 * MIB + 7)
MANIFEST = manifest_of(DATA)
CONFIG = replace(QUICK, read_timeout=1.0, stall_timeout=0.05)

faults = st.one_of(
    st.just(Faults()),
    st.builds(Faults, dead=st.just(True), once=st.booleans()),
    st.builds(Faults, wrong_pieces=st.sets(st.integers(0, MANIFEST.count - 1), min_size=1), once=st.booleans()),
    st.builds(Faults, wrong_bytes=st.just(True), once=st.booleans()),
    st.builds(Faults, stall_at=st.integers(0, MIB), once=st.booleans()),
    st.builds(Faults, cut_at=st.integers(0, MIB), once=st.booleans()),
    st.builds(Faults, status=st.sampled_from([302, 404, 500, 503]), once=st.booleans()),
    st.builds(Faults, more=st.just(1), once=st.booleans()),
)
holders = st.tuples(faults, st.none() | st.sets(st.integers(0, MANIFEST.count - 1)))
reads = st.lists(st.tuples(st.integers(0, len(DATA)), st.integers(1, 400 * KIB)), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(st.lists(holders, min_size=1, max_size=4), st.lists(reads, min_size=1, max_size=3))
def test_every_read_ends(drawn: list[tuple[Faults, set[int] | None]], readers: list[list[tuple[int, int]]]) -> None:
    """Every read ends, by its deadline, with the right bytes or an error; and nothing unverified reaches the disk."""
    peers = []
    for number, (fault, only) in enumerate(drawn):
        peer = Holder(f"h{number}")
        peer.add(DATA, only)
        peer.faults = replace(fault)
        peers.append(peer)
    wrong: list[object] = []
    with tempfile.TemporaryDirectory() as directory:
        layout = Layout(Path(directory))
        layout.make()
        rows = [peer.row for peer in peers]
        swarm = Swarm(CONFIG, layout, lambda path, entry, ask: rows, lambda keep: True, MemorySources(peers, CONFIG))

        def read_all(wanted: list[tuple[int, int]]) -> None:
            with swarm.open(safe_path("f"), entry_of(MANIFEST, *(peer.id for peer in peers))) as reader:
                for offset, size in wanted:
                    began = time.monotonic()
                    try:
                        data = reader.read(offset, size)
                    except RemoteError:
                        pass
                    else:
                        if data != DATA[offset : offset + size]:
                            wrong.append((offset, size))
                    if time.monotonic() - began > 10 * CONFIG.read_timeout:
                        wrong.append("too late")

        threads = [threading.Thread(target=read_all, args=(wanted,)) for wanted in readers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        swarm.close()
        written = layout.partial / f"{MANIFEST.cid}.data"
        if written.exists():
            on_disk = written.read_bytes()
            for number in range(MANIFEST.count):
                offset, length = MANIFEST.span(number)
                piece = on_disk[offset : offset + length]
                assert piece in (bytes(length), DATA[offset : offset + length])
    assert wrong == []
