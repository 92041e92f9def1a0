"""Limits and fairness of real peers: what they move in a second, who gets how much of it, how many sockets."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from peer.swarm.sockets import PER_HOLDER
from tests.support.cluster import ROOT, Cluster, Peer
from tests.support.faults import content, in_background, share
from tests.support.hungry import Hungry, rates
from tests.support.lab import MBIT, Lab, missing
from tests.support.patience import until
from tests.support.programs import needs

pytestmark = [pytest.mark.mount, pytest.mark.real]
KIB, MIB = 1 << 10, 1 << 20
BIG = 64 * MIB
ID, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def anna(cluster: Cluster) -> Peer:
    """An owner of a large file that sends 2 MiB/s at most."""
    cluster.tracker()
    share(cluster, "anna", "big.bin", content("big", BIG))
    share(cluster, "anna", "tiny.txt", b"tiny")
    anna = cluster.peer("anna", "--up-limit", "2M", "--max-sockets", "40", "--no-mount")
    until(lambda: get(anna, "/big.bin", "HEAD")[0] == 200, 20, "it is shared")
    return anna


def get(peer: Peer, path: str, method: str = "GET") -> tuple[int, http.client.HTTPMessage, bytes]:
    """(status, fields, body) at the data port, on a connection of its own."""
    host, _, port = peer.address.rpartition(":")
    with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=20)) as connection:
        connection.request(method, path)
        with connection.getresponse() as answer:
            return answer.status, answer.headers, answer.read()


def shoal(peer: Peer, *words: str) -> Any:
    """What `shoal … --json` prints."""
    command = [sys.executable, "-c", "from shoal.cli import main; main()", "--peer", peer.http, "--json", *words]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_the_up_limit_holds_is_shared_fairly_and_can_be_changed(anna: Peer) -> None:
    with (
        Hungry(anna.address, "/big.bin", 1, ID) as modest,
        Hungry(anna.address, "/big.bin", 16, OTHER) as greedy,
    ):
        until(lambda: modest.got and greedy.got, 10, "both are served")
        one, many = rates([modest, greedy], 4)
        assert 0.5 * 2 * MIB < one + many < 1.3 * 2 * MIB
        assert 1 / 1.5 < many / one < 1.5

        began = time.monotonic()
        assert get(anna, "/healthz")[0] == 200
        assert get(anna, "/tiny.txt")[2] == b"tiny"
        assert time.monotonic() - began < 1.5, "what is small does not wait behind what is not"

        assert shoal(anna, "limit") == {"down": 0, "up": 2 * MIB}
        assert shoal(anna, "limit", "--up", "8M") == {"down": 0, "up": 8 * MIB}
        faster = sum(rates([modest, greedy], 3))
        assert 0.5 * 8 * MIB < faster < 1.3 * 8 * MIB
        told = until(lambda: _if(anna.status(), lambda told: told["sockets"]["taken"] >= 17), 5, "they are counted")
        assert told["limits"] == {"down_bytes": 0, "up_bytes": 8 * MIB}
        assert told["sockets"]["limit"] == 40
        assert told["sockets"]["taken_sending"] >= 2
        assert told["sockets"]["taken_waiting"] > 0
        assert anna.metric("shoal_sockets") >= 17
        assert anna.metric("shoal_limit_bytes") == 8 * MIB
        assert anna.metric("shoal_sockets_waiting") > 0

        shoal(anna, "limit", "--up", "0")
        assert sum(rates([modest, greedy], 1)) > 16 * MIB


def _if(value: Any, true: Any) -> Any:
    return value if true(value) else None


def test_a_new_data_server_knows_the_limits(anna: Peer) -> None:
    shoal(anna, "limit", "--up", "1M")
    before = _data_server(anna)
    os.kill(before, 9)
    until(lambda: _data_server(anna) not in (0, before), 20, "it is started again")
    with Hungry(anna.address, "/big.bin", 2) as reader:
        until(lambda: reader.got > 0, 20, "it serves")
        assert sum(rates([reader], 3)) < 1.3 * MIB


def _data_server(peer: Peer) -> int:
    found = subprocess.run(["pgrep", "-P", str(peer.pid), "-f", "peer.data.server"], capture_output=True, check=False)
    return int(found.stdout.split()[0]) if found.stdout else 0


def test_at_the_cap_others_are_told_when_to_come_again_and_idle_ones_give_way(anna: Peer) -> None:
    host, _, port = anna.address.rpartition(":")
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            waiting = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
            waiting.sendall(b"GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n")

        def busy() -> int:
            sockets = anna.status()["sockets"]
            return int(sockets["taken_sending"] + sockets["taken_waiting"])

        until(lambda: busy() == 10, 10, "all have asked, and none is idle")
        status, fields, _ = get(anna, "/healthz")
        assert (status, fields["Retry-After"]) == (503, "1")
        waiting.close()
        until(lambda: get(anna, "/healthz")[0] == 200, 20, "there is room again")

        def stays() -> bool:
            idle = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
            idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            return idle.recv(12) == b"HTTP/1.1 200"

        until(stays, 10, "one that stays, and is idle, has the room")
        for _ in range(3):  # the one before may not be over yet when the next comes
            until(lambda: get(anna, "/healthz")[0] == 200, 5, "the idle one made room")


def test_the_down_limit_holds_and_a_low_one_fails_no_read(cluster: Cluster) -> None:
    cluster.tracker()
    data = content("file", 8 * MIB)
    share(cluster, "anna", "file.bin", data)
    cluster.peer("anna", "--no-mount")
    ben = cluster.peer("ben", "--down-limit", "100K", "--read-timeout", "4")
    ben.wait_for("file.bin", len(data))
    reading = in_background(lambda: ben.cat("file.bin"))
    before, began = ben.fetched(), time.monotonic()
    time.sleep(8)  # twice the time in which a read without a useful byte ends
    assert not reading.done()
    assert ben.fetched() - before < 1.3 * 100 * KIB * (time.monotonic() - began) + MIB
    assert shoal(ben, "limit", "--down", "4M") == {"down": 4 * MIB, "up": 0}
    before, began = ben.fetched(), time.monotonic()
    time.sleep(1)
    assert ben.fetched() - before < 1.3 * 4 * MIB * (time.monotonic() - began) + MIB
    shoal(ben, "limit", "--down", "0")
    assert reading.result(20) == data


def test_who_may_change_the_limits(cluster: Cluster) -> None:
    cluster.tracker()
    anna = cluster.peer("anna", "--no-mount")
    host, _, port = anna.http.removeprefix("http://").rpartition(":")

    def post(body: bytes, **fields: str) -> int:
        with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=10)) as connection:
            connection.request("POST", "/v1/limits", body, {name.replace("_", "-"): at for name, at in fields.items()})
            return connection.getresponse().status

    assert post(b'{"up": 5}', Sec_Fetch_Site="cross-site") == 403
    assert post(b'{"up": 5}', Origin="http://evil.example") == 403
    for body in (b"", b"[]", b'{"up": -1}', b'{"up": 1.5}', b'{"up": 1e99}', b'{"sideways": 1}', b'{"up": "5"}'):
        assert post(body) == 400
    assert shoal(anna, "limit") == {"down": 0, "up": 0}
    assert post(b'{"up": 5, "down": 6}') == 200
    assert shoal(anna, "limit") == {"down": 6, "up": 5}


@pytest.fixture
def lab() -> Iterator[Lab]:
    needs("tc", "iproute2")
    if why := missing():
        pytest.skip(why)
    with Lab() as made:
        yield made


def test_without_a_limit_many_connections_have_no_more_answers_at_a_time_than_one(lab: Lab) -> None:
    """Else TCP, which shares a full line by connections, would give one of seventeen a seventeenth."""
    hub, line, one, two = lab.host("hub"), lab.host("line", 40 * MBIT), lab.host("one"), lab.host("two")
    lab.tracker(place=hub)
    share(lab, "anna", "big.bin", content("big", BIG))
    anna = lab.peer("anna", "--no-mount", place=line)
    until(lambda: anna.status()["share"]["own"] == 1, 20, "it is shared")

    def sent() -> int:
        return int(anna.status()["sockets"]["taken_sending"])

    with Hungry(anna.address, "/big.bin", 16, place=two) as greedy:
        until(lambda: greedy.got > 4 * MIB and sent() == 8, 20, "the greedy one has the line to itself")
        with Hungry(anna.address, "/big.bin", 1, place=one) as modest:
            # Those that began may end: eight times four MiB at 5 MB/s.
            until(lambda: modest.got > 4 * MIB and sent() == 2, 40, "one answer for each")
            for _ in range(40):
                assert sent() <= 2
                time.sleep(0.1)
            for _ in range(4):  # two connections of TCP do not always share a line equally; seventeen would make it 16
                mine, others = rates([modest, greedy], 6)
                assert mine + others > 0.7 * 40e6 / 8
                if others < 4 * mine:
                    break
    assert others < 4 * mine


def test_a_peer_with_few_sockets_reads_from_many(cluster: Cluster) -> None:
    cluster.tracker()
    data = content("file", 8 * MIB)
    for number in range(10):
        share(cluster, f"h{number}", "file.bin", data)
        cluster.peer(f"h{number}", "--no-mount", wait=False)
    ben = cluster.peer("ben", "--max-sockets", "8")
    ben.wait_for("file.bin", len(data), 30)
    most, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            most[0] = max(most[0], ben.status()["sockets"]["made"])

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        assert ben.cat("file.bin") == data
    finally:
        stop.set()
        watching.join(10)
    assert 0 < most[0] <= 8 == PER_HOLDER
