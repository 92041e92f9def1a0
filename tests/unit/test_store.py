"""A piece is readable from the moment it is checked until it is lost, wherever it stands meanwhile."""

import errno
import os
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from peer.cache.room import Room
from peer.layout import Layout
from peer.swarm import pieces as module
from peer.swarm.memory import Memory
from peer.swarm.pieces import VerifiedPiece, verify
from peer.swarm.store import Lost, Store
from shoal.manifest import KIB, manifest_of

PIECE = 256 * KIB
DATA = random.Random(2).randbytes(3 * PIECE + 1000)
MANIFEST = manifest_of(DATA)


@pytest.fixture
def commons(tmp_path: Path) -> Any:
    layout = Layout(tmp_path)
    layout.make()
    said: list[str] = []
    memory = Memory(2 * PIECE, lambda cid, number: None)
    return SimpleNamespace(layout=layout, memory=memory, said=said, say_not_kept=said.append, room=Room(layout))


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes nothing more."""

    def refuse(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.os, "pwrite", refuse)


def piece(number: int) -> VerifiedPiece:
    offset, length = MANIFEST.span(number)
    return verify(MANIFEST, number, DATA[offset : offset + length])


def read(store: Store, offset: int, size: int) -> bytes:
    return b"".join(store.read(offset, size))


def test_a_piece_that_was_taken_is_read_before_and_after_it_is_written(commons: Any) -> None:
    store = Store(commons, MANIFEST)
    store.put(piece(0))
    store.take(piece(1))
    around = slice(PIECE - 10, PIECE + 10)
    assert read(store, around.start, 20) == DATA[around]
    assert store.pieces is not None and not store.pieces.has(1)
    store.put(piece(1))
    assert store.pieces.has(1) and read(store, around.start, 20) == DATA[around]
    store.close(remove=True)


def test_bytes_may_change_once_they_were_put(commons: Any) -> None:
    store = Store(commons, MANIFEST)
    offset, length = MANIFEST.span(3)
    buffer = bytearray(DATA[offset : offset + length])
    checked = verify(MANIFEST, 3, buffer)
    store.take(checked)
    store.put(checked)
    buffer[:] = bytes(length)
    assert read(store, offset, length) == DATA[offset:]
    store.close(remove=True)


def test_what_the_disk_refuses_stays_in_memory_until_that_is_full(commons: Any, full: None) -> None:
    store = Store(commons, MANIFEST)
    for number in range(3):
        store.take(piece(number))
        store.put(piece(number))
    assert store.diskless and not store.complete
    assert any("space" in why for why in commons.said)
    assert read(store, PIECE, 2 * PIECE) == DATA[PIECE : 3 * PIECE]
    with pytest.raises(Lost) as caught:
        read(store, 0, 10)
    assert caught.value.number == 0
    store.close(remove=True)
    assert commons.memory.get(MANIFEST.cid, 1) is None


def test_pieces_on_disk_are_here_when_it_is_opened_again(commons: Any) -> None:
    store = Store(commons, MANIFEST)
    store.put(piece(2))
    store.take(piece(1))  # never written: the program ends
    store.close(remove=False)
    again = Store(commons, MANIFEST)
    assert again.here == 0b100 and not again.doubtful
    assert again.pieces is not None and not again.pieces.has(1)
    again.close(remove=True)
