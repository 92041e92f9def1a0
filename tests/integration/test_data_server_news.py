"""News at the data port: what is told to whom, and that nothing that comes along with a request breaks its answer."""

import http.client
import itertools
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from peer import bitmap, news
from peer.data import askers, handler
from peer.data.request import MAX_HEAD
from peer.data.server import DataServer
from peer.messages import Heard
from peer.swarm.pieces import Pieces, verify
from shoal.manifest import KIB, Manifest, manifest_of
from tests.support.patience import within
from tests.support.share_fixture import Share, serving

PIECE = 256 * KIB
DATA = random.Random(5).randbytes(9 * PIECE + 5)
HERE = {0, 2, 3, 8}
"""The pieces of the download that is under way."""
ID, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def share(tmp_path: Path) -> Share:
    return Share(tmp_path)


@pytest.fixture
def port(share: Share) -> Iterator[int]:
    with serving(share) as (port, _):
        yield port


def under_way(share: Share) -> Manifest:
    """A download of which some pieces are here."""
    manifest = manifest_of(DATA)
    pieces = Pieces.create_or_open(share.layout, manifest)
    for number in HERE:
        pieces.write(verify(manifest, number, DATA[number * PIECE : (number + 1) * PIECE]))
    pieces.say_want((4, 7))
    return manifest


class Reader:
    """One connection of a reader."""

    def __init__(self, port: int, stack: ExitStack, source: str = "127.0.0.1") -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=(source, 0))
        self._connection = stack.enter_context(closing(connection))

    def get(
        self, target: str, *fields: tuple[str, str | bytes], method: str = "GET"
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """(status, fields, body); fields may be given twice. The connection must be the same all the time."""
        self._connection.putrequest(method, target)
        for name, value in fields:
            self._connection.putheader(name, value)
        self._connection.endheaders()
        sock = self._connection.sock
        with self._connection.getresponse() as response:
            found = response.status, response.headers, response.read()
        assert self._connection.sock is sock is not None, "it was closed"
        return found

    def piece(self, manifest: Manifest, number: int, *fields: tuple[str, str | bytes]) -> http.client.HTTPMessage:
        """The head of an answer for a piece, which must be right."""
        span = ("Range", f"bytes={number * PIECE}-{number * PIECE + 99}")
        status, head, body = self.get(f"/v1/content/{manifest.cid}", span, *fields)
        assert (status, body) == (206, DATA[number * PIECE :][:100])
        return head


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def pieces_in(head: http.client.HTTPMessage) -> set[int]:
    """What an answer told of the pieces that are there."""
    told = news.read({b"shoal-want": b"", b"shoal-have": head.get("Shoal-Have", "").encode()}, len(DATA)).pieces
    return {number for number in range(told.bit_length()) if told >> number & 1}


# -- what is told ------------------------------------------------------------------------------------------------------


def test_a_reader_is_told_once_which_pieces_are_here_and_always_what_is_wanted(
    share: Share, port: int, stack: ExitStack
) -> None:
    manifest = under_way(share)
    reader = Reader(port, stack)
    head = reader.piece(manifest, 2, ("Shoal-Peer", ID))
    assert (pieces_in(head), head["Shoal-Want"]) == (HERE, "4-7")
    head = reader.piece(manifest, 3, ("Shoal-Peer", ID))
    assert (head["Shoal-Have"], head["Shoal-Want"]) == (None, "4-7")
    pieces = Pieces.create_or_open(share.layout, manifest)
    pieces.write(verify(manifest, 9, DATA[9 * PIECE :]))
    assert pieces_in(reader.piece(manifest, 3, ("Shoal-Peer", ID))) == {8, 9}, "from a whole byte on"
    assert reader.piece(manifest, 3, ("Shoal-Peer", ID))["Shoal-Have"] is None
    assert pieces_in(Reader(port, stack).piece(manifest, 3, ("Shoal-Peer", OTHER))) == {*HERE, 9}, "it was told nothing"


def test_who_was_given_the_whole_bitmap_is_not_told_it_again(share: Share, port: int, stack: ExitStack) -> None:
    manifest = under_way(share)
    reader = Reader(port, stack)
    status, head, body = reader.get(f"/v1/content/{manifest.cid}/pieces", ("Shoal-Peer", ID))
    assert (status, bitmap.from_wire(body, manifest.count)) == (200, sum(1 << number for number in HERE))
    assert (head["Shoal-Have"], head["Shoal-Want"]) == (None, "4-7")
    assert reader.piece(manifest, 3, ("Shoal-Peer", ID))["Shoal-Have"] is None


def test_readers_of_one_content_hear_of_each_other_once_on_a_connection(
    share: Share, port: int, stack: ExitStack
) -> None:
    manifest, another = share.add("f", DATA), share.add("g", DATA[::-1])
    one, other = Reader(port, stack), Reader(port, stack)
    assert one.piece(manifest, 0, ("Shoal-Peer", ID))["Shoal-Readers"] is None, "not of itself"
    head = other.piece(manifest, 1, ("Shoal-Peer", OTHER))
    assert head["Shoal-Readers"] == ID
    assert (head["Shoal-Have"], head["Shoal-Want"]) == (None, None), "who has all says nothing of that"
    assert other.piece(manifest, 2, ("Shoal-Peer", OTHER))["Shoal-Readers"] is None, "it was told"
    assert one.piece(manifest, 2, ("Shoal-Peer", ID))["Shoal-Readers"] == OTHER

    def of_another(reader: Reader, id: str) -> str | None:
        _, head, _ = reader.get(f"/v1/content/{another.cid}", ("Range", "bytes=0-1"), ("Shoal-Peer", id))
        return head["Shoal-Readers"]

    assert of_another(other, OTHER) is None, "nobody else reads that one"
    assert of_another(one, ID) == OTHER
    assert of_another(other, OTHER) == ID, "for each content anew"


def test_who_does_not_say_who_it_is_is_told_nothing(share: Share, port: int, stack: ExitStack) -> None:
    whole, part = share.add("f", DATA[::-1]), under_way(share)
    for cid in (whole.cid, part.cid):
        Reader(port, stack).get(f"/v1/content/{cid}", ("Range", "bytes=0-1"), ("Shoal-Peer", ID))
        for fields in ((), (("Shoal-Want", "0-5"), ("Shoal-Have", "0 gA==")), (("Shoal-Peer", "not an id"),)):
            _, head, _ = Reader(port, stack).get(f"/v1/content/{cid}", ("Range", "bytes=0-1"), *fields)
            assert not [name for name in head if name.startswith("Shoal-")]


# -- what a hostile reader sends ---------------------------------------------------------------------------------------

JUNK = [
    *(b"", b" ", b"0", b"-", b"\xff\xfe", b"\x80" * 200, b"\t\t", b"x" * 9000, b"; , =", b"%0d%0aX: y"),
    *(b"A" * 64, b"a" * 63, b"a" * 65, b"../../etc/passwd", b"http://127.0.0.1:1/", b"0-0", b"9-1", b"1234567890-2"),
    *(b"999999999-999999999", b"999999999 gA==", b"1234567890 gA==", b"0 " + b"/" * 1368, b"0 " + b"/" * 1372),
    *(b"0 ", b"0 =", b"0 gA", b"0 gA==gA==", "\N{ARABIC-INDIC DIGIT ONE}-9".encode()),
    " ".join(f"{number:064x}" for number in range(200)).encode(),
]
FIELDS = ("Shoal-Peer", "Shoal-Want", "Shoal-Have", "Shoal-Readers")


def combinations(count: int) -> Iterator[list[tuple[str, str | bytes]]]:
    """Junk in each field alone, in two of a name, and in several beside an id that is one."""
    rng = random.Random(6)
    for junk in JUNK:
        for name in FIELDS:
            yield [(name, junk)]
            yield [("Shoal-Peer", ID), (name, junk)]
    for _ in range(count):
        names = rng.choices(FIELDS, k=rng.randint(1, 5))
        found: list[tuple[str, str | bytes]] = [(name, rng.choice(JUNK)) for name in names]
        if sum(len(value) for _, value in found) < MAX_HEAD // 2:
            yield found


@pytest.mark.parametrize("place", ["whole", "under way"])
def test_no_news_break_an_answer_or_the_connection(share: Share, port: int, stack: ExitStack, place: str) -> None:
    """Whatever is in these fields, the bytes come, over one connection, and no field of the answer has junk in it."""
    manifest = share.add("f", DATA) if place == "whole" else under_way(share)
    reader = Reader(port, stack)
    for fields in combinations(60):
        head = reader.piece(manifest, 2, *fields)
        told = head.get("Shoal-Readers", "").split()
        assert all(len(id) == 64 and set(id) <= set("0123456789abcdef") for id in told)
        assert len(str(head)) < MAX_HEAD // 4
    base = f"/v1/content/{manifest.cid}"
    for fields in combinations(0):
        if place == "whole":
            assert reader.get(base, *fields, method="HEAD")[0] == 200
        assert reader.get(base + "/pieces", *fields)[0] == 200
        assert reader.get(base + "/manifest", *fields)[2] == manifest.encode()
        assert reader.get("/v1/content/" + "0" * 64, *fields)[0] == 404
        assert reader.get("/healthz", *fields)[0] == 200


def test_what_is_no_header_at_all_is_refused_and_nobody_else_is_the_worse_for_it(
    share: Share, port: int, stack: ExitStack
) -> None:
    manifest = share.add("f", DATA)
    honest = Reader(port, stack)
    honest.piece(manifest, 0, ("Shoal-Peer", ID))
    for value in (b"a\0b", b"a\rb", b"0 \x7f", b"x" * MAX_HEAD):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            head = b"GET /v1/content/%b HTTP/1.1\r\nHost: a\r\nShoal-Have: %b\r\n\r\n"
            sock.sendall(head % (manifest.cid.encode(), value))
            assert sock.recv(1000)[9:12] in (b"400", b"431")
        honest.piece(manifest, 1, ("Shoal-Peer", ID))


def test_many_names_on_one_connection_are_forgotten(
    share: Share, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who says each time that it is another peer is told of the others, and they are not remembered for ever."""
    manifest = share.add("f", DATA)
    monkeypatch.setattr(handler, "TOLD", 64)
    with serving(share) as (port, server):
        reader = Reader(port, stack)
        most = 0
        for number in range(200):
            reader.piece(manifest, 0, ("Shoal-Peer", f"{number:064x}"))
            (connection,) = server._clients._open
            most = max(most, len(connection._told.readers))  # type: ignore[attr-defined]
    assert 64 <= most <= 64 + news.READERS


# -- what the peer is told ---------------------------------------------------------------------------------------------


def told_by(server: DataServer) -> list[Heard]:
    """What the peer of this server is told next."""
    found: list[Heard] = []
    within(10, server.askers.flush, found.append)
    return found


def test_the_peer_is_told_what_can_be_true_and_nothing_else(
    share: Share, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = under_way(share)
    monkeypatch.setattr(askers, "PAUSE", 0.0)
    with serving(share) as (port, server):
        reader = Reader(port, stack)
        for name, junk in itertools.product(FIELDS[1:], JUNK):
            reader.piece(manifest, 2, ("Shoal-Peer", ID), (name, junk))
            (heard,) = told_by(server)
            assert (heard.cid, heard.peer, heard.address) == (manifest.cid, ID, "127.0.0.1")
            assert 0 <= heard.want[1] <= manifest.count
            assert heard.first % 8 == 0
            assert bitmap.from_wire(heard.pieces, 8 * len(heard.pieces)) << heard.first < 1 << manifest.count


def test_what_one_says_in_anothers_name_comes_from_its_own_address(share: Share, stack: ExitStack) -> None:
    manifest = under_way(share)
    with serving(share) as (port, server):
        Reader(port, stack).piece(manifest, 2, ("Shoal-Peer", ID), ("Shoal-Have", "0 gA=="), ("Shoal-Want", "1-2"))
        liar = Reader(port, stack, "127.0.0.2")
        liar.piece(manifest, 2, ("Shoal-Peer", ID), ("Shoal-Have", "0 //8="), ("Shoal-Want", "0-9"))
        assert sorted(told_by(server), key=lambda heard: heard.address) == [
            Heard(manifest.cid, ID, "127.0.0.1", (1, 2), 0, b"\x80"),
            Heard(manifest.cid, ID, "127.0.0.2", (0, 9), 0, b"\xff\xc0"),
        ]
