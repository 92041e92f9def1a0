"""The survey's threads: hints that are lost, watches that run out, and big files that nobody waits for."""

import ctypes
import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import peer.share.survey as survey_module
import peer.share.watch as watch_module
from peer.beneath import Beneath
from peer.layout import Layout
from peer.messages import Message
from peer.share.hashers import Hashers
from peer.share.hashing import Hashed
from peer.share.index import Index
from peer.share.survey import Survey
from peer.share.watch import Watch
from tests.support.patience import until
from tests.support.share_by_hand import ME


@contextmanager
def surveyed(local: Path) -> Iterator[tuple[Survey, Index]]:
    layout = Layout(local)
    layout.make()
    said: list[Message] = []
    root, index = Beneath(local), Index(layout.index)
    survey = Survey(root, index, ME, said.append)
    survey.start()
    try:
        yield survey, index
    finally:
        survey.stop()
        index.close()
        root.close()


def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """No event is understood any more."""
    monkeypatch.setattr(Watch, "_take_event", lambda self, number, mask, name: None)


def test_after_an_overflow_everything_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Watch._take_event
    deaf(monkeypatch)
    with surveyed(tmp_path) as (survey, index):
        until(lambda: survey._next_full not in (0.0, float("inf")), 10, "the first walk ended")
        (tmp_path / "f").write_text("x")
        time.sleep(0.3)
        assert index.at("f") == []
        real(survey._watch, -1, watch_module._I.IN_Q_OVERFLOW, "")
        survey._wake.set()
        until(lambda: index.at("f"), 10, "it is found by the walk")


def test_more_hints_than_it_holds_are_a_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "HINTS_MAX", 10)
    woken = threading.Event()
    watch = Watch(woken.set)
    watch.start()
    try:
        fd = os.open(tmp_path, os.O_RDONLY)
        watch.add(fd, "")
        os.close(fd)
        for n in range(50):
            (tmp_path / f"f{n}").touch()
        assert woken.wait(10)
        until(lambda: watch.take().lost, 10, "it says that hints were lost")
    finally:
        watch.stop()


def test_without_watches_the_rescan_finds_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(fd: int, path: bytes, mask: int) -> int:
        ctypes.set_errno(errno.ENOSPC)
        return -1

    monkeypatch.setattr(watch_module, "inotify_add_watch", full)
    monkeypatch.setattr(survey_module, "PAUSE_MIN", 0.2)
    monkeypatch.setattr(survey_module, "PAUSE_FACTOR", 0)
    (tmp_path / "d").mkdir()
    with surveyed(tmp_path) as (_, index):
        until(lambda: index.at("d"), 10, "the directory is listed")
        (tmp_path / "d/f").write_text("x")
        until(lambda: index.at("d/f"), 10, "the file is found")
        (tmp_path / "d/f").unlink()
        until(lambda: index.at("d/f")[0].kind == "gone", 10, "its end is found")
    assert "max_user_watches" in caplog.text


def test_the_pause_after_a_walk_is_a_hundred_times_its_cpu_time(tmp_path: Path) -> None:
    with surveyed(tmp_path) as (survey, _):
        until(lambda: survey._next_full not in (0.0, float("inf")), 10, "the first walk ended")
        assert survey._next_full - time.monotonic() > 50


@pytest.mark.parametrize("size", [10, 8 << 20])
def test_nothing_waits_for_a_much_larger_file(tmp_path: Path, size: int) -> None:
    for n in range(2):  # as many as there are threads
        with (tmp_path / f"big{n}").open("wb") as file:
            file.truncate(3 << 30)
    (tmp_path / "small").write_bytes(bytes(size))
    for name in ("big0", "big1", "small"):
        os.utime(tmp_path / name, (1, 1))
    time.sleep(0.05)
    with Beneath(tmp_path) as root:
        hashers = Hashers(root, ME, lambda: None)
        hashers.start()
        try:
            for n in range(2):
                hashers.put(f"big{n}", f"big{n}", 3 << 30, 1, True)
            until(lambda: hashers._running, 10, "a big one is being hashed")
            hashers.put("small", "small", size, 1, True)
            until(lambda: hashers.ready, 20, "the small one is hashed")
            (first,) = hashers.take(1)
            assert isinstance(first, Hashed) and first.disk == "small"
        finally:
            hashers.stop()


def test_the_queue_of_large_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peer.share.hashers.QUEUE_MAX", 10)
    with Beneath(tmp_path) as root:
        hashers = Hashers(root, ME, lambda: None)
        for n in range(30):
            hashers.put(f"f{n}", f"f{n}", (30 - n) << 21, 1, True)
        assert len(hashers._large) <= 10 and hashers.forgot
        assert hashers._large[0].size == 1 << 21, "the smallest are kept"
        for n in range(11):
            hashers.put(f"s{n}", f"s{n}", 1, 1, True)
        assert not hashers.room


def test_hashing_is_nice(tmp_path: Path) -> None:
    with Beneath(tmp_path) as root:
        hashers = Hashers(root, ME, lambda: None)
        hashers.start()
        try:
            for thread in hashers._threads:
                number = until(lambda thread=thread: thread.native_id, 5, "it runs")
                until(lambda number=number: os.getpriority(os.PRIO_PROCESS, number) >= 10, 5, "its priority is lower")
            assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) < 10
        finally:
            hashers.stop()
