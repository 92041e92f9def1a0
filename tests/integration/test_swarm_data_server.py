"""The swarm against the data server: whole files, partial downloads of another peer, a server that ends and returns."""

import random
from pathlib import Path

import pytest

from peer.layout import Layout
from peer.messages import Keep
from peer.swarm import Swarm, SwarmConfig
from shoal.errors import Gone, RemoteError, Unreachable
from shoal.manifest import MIB, Manifest, manifest_of
from shoal.names import safe_path
from shoal.wire import Entry, PeerRow
from tests.support.patience import until, within
from tests.support.share_fixture import Share, serving

DATA = random.Random(21).randbytes(9 * MIB + 77)
PATH = safe_path("data/model.bin")


def new_swarm(local: Path, *ports: int) -> tuple[Swarm, list[object]]:
    layout = Layout(local)
    layout.make()
    rows = [PeerRow(f"h{port}", f"peer{port}", f"http://127.0.0.1:{port}") for port in ports]
    keeps: list[object] = []

    def keep(message: object) -> bool:
        if isinstance(message, Keep):
            keeps.append(message)
        return True

    return Swarm(SwarmConfig(), layout, lambda path, entry, ask: rows, keep), keeps


def entry_of(manifest: Manifest) -> Entry:
    return Entry(manifest.cid, manifest.size, 0, manifest.sha1)


def test_large_small_and_empty_files(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    share = Share(tmp_path / "a")
    with serving(share) as (port, _):
        swarm, keeps = new_swarm(tmp_path / "b", port)
        for name, data in (("large", DATA), ("small", b"small"), ("empty", b"")):
            manifest = share.add(name, data)
            with swarm.open(PATH, entry_of(manifest)) as reader:
                got = b"".join(within(10, reader.read, offset, MIB) for offset in range(0, len(data), MIB))
            assert got == data
        until(lambda: len(keeps) == 2, 5, "offered")
        assert swarm.stats().fetched == {f"peer{port}": len(DATA) + 5}
        swarm.close()


def test_pieces_travel_on_before_the_file_is_whole(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    owner, middle = Share(tmp_path / "a"), Share(tmp_path / "b")
    entry = entry_of(owner.add("f", DATA))
    with serving(owner) as (port_a, _), serving(middle) as (port_b, _):
        first, _ = new_swarm(tmp_path / "b", port_a)
        with first.open(PATH, entry) as reader:
            within(5, reader.read, 5 * MIB, MIB)
        first.close()
        second, _ = new_swarm(tmp_path / "c", port_b)
        with second.open(PATH, entry) as reader:
            assert within(5, reader.read, 5 * MIB + 10, 1000) == DATA[5 * MIB + 10 : 5 * MIB + 1010]
            assert second.stats().fetched == {f"peer{port_b}": MIB // 4}
            with pytest.raises(RemoteError):
                within(5, reader.read, 0, 10)
        second.close()
        both, _ = new_swarm(tmp_path / "c", port_b, port_a)
        with both.open(PATH, entry) as reader:
            assert b"".join(within(10, reader.read, at, MIB) for at in range(0, len(DATA), MIB)) == DATA
        both.close()


def test_a_file_that_changed_is_gone(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    share = Share(tmp_path / "a")
    manifest = share.add("f", DATA)
    with serving(share) as (port, _):
        swarm, _ = new_swarm(tmp_path / "b", port)
        with swarm.open(PATH, entry_of(manifest)) as reader:
            within(5, reader.read, 0, 10)
            (tmp_path / "a" / "f").write_bytes(b"other")
            with pytest.raises(Gone):
                within(5, reader.read, 8 * MIB, 10)
        assert swarm.stats().rejected == 0, "no blame"
        swarm.close()


def test_a_server_that_ended_is_an_error_soon(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    share = Share(tmp_path / "a")
    manifest = share.add("f", DATA)
    with serving(share) as (port, _):
        swarm, _ = new_swarm(tmp_path / "b", port)
        reader = swarm.open(PATH, entry_of(manifest))
        within(5, reader.read, 0, 10)
    with pytest.raises(Unreachable):
        within(3, reader.read, 8 * MIB, 10)
    assert reader.read(0, 10) == DATA[:10], "what is here is here"
    reader.close()
    swarm.close()
    assert manifest_of(DATA) == manifest
