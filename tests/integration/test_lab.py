"""The lab's lines carry what they are said to and no more, programs run in its hosts, and nothing of it stays."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support import sweep
from tests.support.cluster import ROOT
from tests.support.faults import content
from tests.support.lab import MBIT, Lab, missing, transfer
from tests.support.patience import until, within
from tests.support.programs import needs

pytestmark = [pytest.mark.mount, pytest.mark.real]
RATE = 100 * MBIT


@pytest.fixture
def lab() -> Iterator[Lab]:
    needs("tc", "iproute2")
    if why := missing():
        pytest.skip(why)
    with Lab() as made:
        yield made


def test_a_line_carries_its_rate_each_way_at_once_and_no_more(lab: Lab) -> None:
    anna, ben = lab.host("anna", RATE), lab.host("ben", RATE)
    sent, received = anna.sent(), ben.received()
    rates: list[float] = []
    there = threading.Thread(target=lambda: rates.append(transfer(anna, ben, 16 << 20)))
    there.start()
    rates.append(transfer(ben, anna, 16 << 20))
    there.join()
    for rate in rates:
        assert 0.5 * RATE / 8 < rate < 1.02 * RATE / 8  # `make bench` says how near it comes on a quiet machine
    for count in (anna.sent() - sent, ben.received() - received):
        assert 16 << 20 < count < 1.1 * (16 << 20)


def test_two_senders_share_a_receivers_line(lab: Lab) -> None:
    anna, ben, cleo = (lab.host(name, RATE) for name in ("anna", "ben", "cleo"))
    began = time.monotonic()
    other = threading.Thread(target=transfer, args=(anna, cleo, 8 << 20))
    other.start()
    transfer(ben, cleo, 8 << 20)
    other.join()
    assert (16 << 20) / (time.monotonic() - began) < 1.02 * RATE / 8


def test_programs_run_there_and_their_bytes_take_the_line(lab: Lab) -> None:
    hub, one, two = lab.host("hub"), lab.host("one", RATE), lab.host("two")
    tracker = lab.tracker(place=hub)
    anna, ben = lab.peer("anna", place=one), lab.peer("ben", place=two)
    data = content("far", 8 << 20)
    anna.put("far", data)
    ben.wait_for("far", len(data))
    sent, began = one.sent(), time.monotonic()
    assert ben.cat("far") == data
    assert len(data) / (time.monotonic() - began) < 1.1 * RATE / 8
    assert len(data) < one.sent() - sent < 1.2 * len(data)
    assert ben.fetched() == len(data)
    assert {peer["name"] for peer in tracker.get("/v1/peers")["peers"]} == {"anna", "ben"}
    for node in (tracker, anna, ben):
        assert node.url.startswith(f"http://{node.place.address}:")


def test_what_a_killed_lab_left_is_swept() -> None:
    needs("tc", "iproute2")
    if why := missing():
        pytest.skip(why)
    script = """
import time
from tests.support.lab import Lab
lab = Lab()
print(lab.home, lab.host("anna", 1_000_000).name, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT, text=True) as owner:
        assert owner.stdout is not None
        home, name = within(20, owner.stdout.readline).split()
        assert name == "anna"
        assert len(sweep.mounts(home)) == 2, "a namespace for the host and one for the switch"
        assert home not in sweep.sweep(), "its owner lives"
        owner.send_signal(signal.SIGKILL)
    assert home in sweep.sweep()
    assert not sweep.mounts(home)
    assert not os.path.exists(home)


def test_a_lab_that_ends_leaves_nothing(lab: Lab) -> None:
    lab.host("anna", RATE)
    home = str(lab.home)
    assert sweep.mounts(home)
    lab.close()
    until(lambda: not sweep.mounts(home) and not os.path.exists(home), 5, "it is gone")
