"""10,000 files that appear at once in one share: all are listed at another peer, none is lost."""

import os
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, Peer
from tests.support.faults import QUICK, Lively, share
from tests.support.patience import until, within

pytestmark = [pytest.mark.mount, pytest.mark.real]
FILES, FOLDERS = 10_000, 40


def names(root: Path) -> dict[str, int]:
    """Every file beneath a directory with its size."""
    return {
        os.path.relpath(os.path.join(top, name), root): os.stat(os.path.join(top, name)).st_size
        for top, _, files in os.walk(root)
        for name in files
    }


def listed(peer: Peer, number: int) -> bool:
    return int(peer.status()["network"]["files"]) >= number


def test_all_of_them_are_listed_read_and_gone_again(cluster: Cluster) -> None:
    tracker = cluster.tracker(*QUICK)
    for name in ("anna", "cleo"):
        share(cluster, name, f"{name}.txt", b"here")
    anna, cleo = cluster.peer("anna"), cluster.peer("cleo")
    cleo.wait_for("anna.txt")
    expected = {"anna.txt": 4, "cleo.txt": 4}
    with Lively(cleo, "cleo.txt"):
        for folder in range(FOLDERS):
            directory = anna.local / f"many/{folder}"
            directory.mkdir(parents=True)  # a watcher learns of it when the first files are there already
            for number in range(FILES // FOLDERS):
                data = f"{folder} {number}".encode()
                (directory / f"{number}.txt").write_bytes(data)
                expected[f"many/{folder}/{number}.txt"] = len(data)
        until(lambda: listed(cleo, len(expected)), 60, "all are listed", every=0.2)
    assert within(60, names, cleo.mount) == expected
    assert tracker.get("/v1/peers")["peers"][0]["files"] in (1, FILES + 1)
    for folder in range(0, FOLDERS, 7):
        assert cleo.cat(f"many/{folder}/3.txt") == f"{folder} 3".encode()
    for folder in range(FOLDERS):
        os.rename(anna.local / f"many/{folder}", anna.local / f"moved-{folder}")

    def moved() -> bool:
        shown = set(cleo.ls())
        return {f"moved-{folder}" for folder in range(FOLDERS)} <= shown and int(
            cleo.status()["network"]["files"]
        ) == len(expected) + len(range(0, FOLDERS, 7))  # the copies that were read stay where they were

    until(moved, 60, "all have moved", every=0.2)
