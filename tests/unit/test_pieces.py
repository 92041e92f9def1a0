import errno
import os
import random
import threading

import pytest

from peer.layout import Layout
from peer.swarm import pieces as module
from peer.swarm.pieces import Pieces, PiecesReader, verify
from shoal.errors import Lied, LocalError
from shoal.manifest import KIB, manifest_of

PIECE = 256 * KIB
DATA = random.Random(1).randbytes(4 * PIECE + 1000)
MANIFEST = manifest_of(DATA)


def read(pieces: Pieces, offset: int, size: int) -> bytes:
    return pieces.read(offset, size)


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path)
    layout.make()
    return layout


@pytest.fixture
def pieces(layout):
    pieces = Pieces.create_or_open(layout, MANIFEST)
    yield pieces
    pieces.close()


@pytest.fixture
def reboot(monkeypatch):
    def reboot(name=b"another"):
        monkeypatch.setattr(module, "boot_id", lambda: name.ljust(36))

    return reboot


def piece(number):
    offset, length = MANIFEST.span(number)
    return verify(MANIFEST, number, DATA[offset : offset + length])


def reopened(layout):
    return Pieces.create_or_open(layout, MANIFEST)


def corrupt(layout, number):
    with open(layout.partial / f"{MANIFEST.cid}.data", "r+b") as file:
        file.seek(MANIFEST.span(number)[0])
        file.write(b"torn")


def test_pieces_come_one_by_one(pieces):
    assert pieces.count_here == 0 and not pieces.complete
    for number in (4, 0, 2, 1):
        assert not pieces.has(number)
        pieces.write(piece(number))
        assert pieces.has(number)
    pieces.write(piece(1))
    assert pieces.count_here == 4 and pieces.missing(0, 5) == [3]
    pieces.write(piece(3))
    assert pieces.complete
    assert read(pieces, 0, len(DATA)) == DATA
    assert read(pieces, PIECE - 1, 2) == DATA[PIECE - 1 : PIECE + 1]


def test_only_what_is_verified_can_be_written():
    with pytest.raises(Lied):
        verify(MANIFEST, 0, b"x" * PIECE)
    with pytest.raises(Lied):
        verify(MANIFEST, 0, DATA[: PIECE + 1])
    with pytest.raises(Lied):
        verify(MANIFEST, 4, DATA[:PIECE])


def test_missing_bytes_are_not_read(pieces):
    pieces.write(piece(0))
    assert read(pieces, 10, PIECE - 10) == DATA[10:PIECE]
    with pytest.raises(LocalError):
        read(pieces, 10, PIECE)


def test_pieces_stay_when_the_writer_is_gone(layout, pieces):
    pieces.write(piece(0))
    again = reopened(layout)
    assert again.missing(0, 5) == [1, 2, 3, 4]
    assert read(again, 0, PIECE) == DATA[:PIECE]
    again.close()


def test_after_a_crash_of_the_machine_pieces_are_hashed_again(layout, pieces, reboot):
    for number in (0, 1, 4):
        pieces.write(piece(number))
    corrupt(layout, 1)
    reboot()
    again = reopened(layout)
    assert again.count_here == 0
    assert again.missing(0, 5) == [1, 2, 3]
    assert again.count_here == 2
    assert read(again, 0, PIECE) == DATA[:PIECE]
    again.close()
    third = reopened(layout)  # what was found wrong stays so
    assert third.missing(0, 5) == [1, 2, 3]
    third.write(piece(1))
    assert third.has(1)
    third.close()


def test_a_reader_sees_nothing_that_may_be_torn(layout, pieces, reboot):
    pieces.write(piece(0))
    reboot()
    assert PiecesReader.open(layout, MANIFEST.cid) is None
    again = reopened(layout)
    reader = PiecesReader.open(layout, MANIFEST.cid)
    assert not reader.covers(0, PIECE)
    assert again.has(0)
    assert reader.covers(0, PIECE)
    reader.close()
    again.close()


@pytest.mark.parametrize("kind", ["data", "bits", "manifest"])
def test_a_link_in_the_place_of_a_downloads_file_is_not_followed(layout, pieces, kind):
    pieces.write(piece(0))
    place, elsewhere = layout.partial / f"{MANIFEST.cid}.{kind}", layout.local / "elsewhere"
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    assert PiecesReader.open(layout, MANIFEST.cid) is None
    before = elsewhere.read_bytes()
    if kind != "manifest":
        with pytest.raises(LocalError):
            reopened(layout)
    assert elsewhere.read_bytes() == before


@pytest.mark.parametrize("cid", ["../elsewhere", MANIFEST.cid.upper(), MANIFEST.cid + "\n", "", "/etc/passwd"])
def test_what_is_no_content_id_names_no_file(layout, cid):
    with pytest.raises(AssertionError):
        PiecesReader.open(layout, cid)


def test_only_what_is_asked_for_is_hashed_again(layout, pieces, reboot, monkeypatch):
    for number in (0, 1, 2):
        pieces.write(piece(number))
    reboot()
    again = reopened(layout)
    read = []
    pread = os.pread
    monkeypatch.setattr(module.os, "pread", lambda fd, n, at: read.append(at) or pread(fd, n, at))
    assert again.has(1) and again.has(1)
    assert read == [PIECE]
    again.close()


def test_a_reader_follows_the_writer(layout, pieces):
    reader = PiecesReader.open(layout, MANIFEST.cid)
    assert reader.size == len(DATA) and reader.manifest() == MANIFEST.encode()
    assert reader.manifest().startswith(reader.manifest_head()[:100])
    assert not any(reader.flags())
    pieces.write(piece(1))
    pieces.write(piece(4))
    assert reader.flags() == bytes([0, 1, 0, 0, 1])
    assert reader.covers(PIECE, PIECE) and reader.covers(4 * PIECE, 1000) and reader.covers(4 * PIECE + 999, 1)
    assert (
        not reader.covers(PIECE - 1, 2) and not reader.covers(PIECE, PIECE + 1) and not reader.covers(4 * PIECE, 1001)
    )
    assert os.pread(reader.fd, 10, PIECE) == DATA[PIECE : PIECE + 10]
    reader.close()


@pytest.mark.parametrize("harm", ["bits short", "bits long", "bits empty", "bits other", "data short", "data gone"])
def test_files_that_do_not_fit_begin_anew(layout, pieces, harm):
    pieces.write(piece(0))
    data, bits = layout.partial / f"{MANIFEST.cid}.data", layout.partial / f"{MANIFEST.cid}.bits"
    body = bits.read_bytes()
    {
        "bits short": lambda: bits.write_bytes(body[:-1]),
        "bits long": lambda: bits.write_bytes(body + b"\1"),
        "bits empty": lambda: bits.write_bytes(b""),
        "bits other": lambda: bits.write_bytes(b"another!" + body[8:]),
        "data short": lambda: os.truncate(data, len(DATA) - 1),
        "data gone": data.unlink,
    }[harm]()
    again = reopened(layout)
    assert again.missing(0, 5) == [0, 1, 2, 3, 4]
    assert data.stat().st_size == len(DATA) and len(bits.read_bytes()) == len(body)
    again.close()


def test_unknown_flags_are_not_trusted(layout, pieces):
    bits = layout.partial / f"{MANIFEST.cid}.bits"
    bits.write_bytes(bits.read_bytes()[:-5] + b"\xff\x03\x00\x01\x01")
    again = reopened(layout)
    assert again.missing(0, 4) == [0, 1, 2]
    again.close()


def test_a_torn_manifest_is_written_again(layout, pieces):
    (layout.partial / f"{MANIFEST.cid}.manifest").write_bytes(b"shoal")
    pieces.write(piece(0))
    again = reopened(layout)
    assert again.has(0)
    assert (layout.partial / f"{MANIFEST.cid}.manifest").read_bytes() == MANIFEST.encode()
    again.close()


def test_an_empty_file_is_complete_at_once(layout):
    empty = manifest_of(b"")
    pieces = Pieces.create_or_open(layout, empty)
    assert pieces.complete and pieces.missing(0, 0) == [] and read(pieces, 0, 0) == b""
    reader = PiecesReader.open(layout, empty.cid)
    assert reader.covers(0, 0) and not reader.covers(0, 1) and reader.flags() == b""
    reader.close()
    pieces.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_full_or_broken_disk_is_said(layout, pieces, monkeypatch, code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as broken:
        broken.setattr(module.os, "pwrite", fail)
        with pytest.raises(LocalError, match=os.strerror(code)):
            pieces.write(piece(0))
    assert not pieces.has(0)
    pieces.write(piece(0))
    with monkeypatch.context() as broken:
        broken.setattr(module.os, "pread", fail)
        broken.setattr(module.os, "preadv", fail)
        with pytest.raises(LocalError):
            read(pieces, 0, 10)
        with pytest.raises(LocalError):
            reopened(layout)


def test_removing_leaves_nothing(layout):
    pieces = Pieces.create_or_open(layout, MANIFEST)
    (layout.partial / f"{MANIFEST.cid}.data").rename(layout.local / "moved into the share")
    pieces.remove()
    assert list(layout.partial.iterdir()) == []
    assert PiecesReader.open(layout, MANIFEST.cid) is None


def test_many_threads(layout, pieces):
    def work(seed):
        order = list(range(5))
        random.Random(seed).shuffle(order)
        for number in order:
            if not pieces.has(number):
                pieces.write(piece(number))
            assert pieces.has(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pieces.count_here == 5 and pieces.complete


def test_what_is_wanted_here_is_read_by_others_and_ends_with_the_reader(layout):
    pieces = Pieces.create_or_open(layout, MANIFEST)
    reader = PiecesReader.open(layout, MANIFEST.cid)
    assert reader.want() == (0, 0)
    pieces.say_want((2, 5))
    assert reader.want() == (2, 5)
    pieces.close()
    pieces.say_want((1, 2))  # too late: harmless
    assert reader.want() == (2, 5)
    again = Pieces.create_or_open(layout, MANIFEST)
    assert reader.want() == (0, 0)
    again.close()
    reader.close()
