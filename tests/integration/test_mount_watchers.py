"""Who watches a directory of the mount hears what other machines change in it, as if it were done here."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from peer.mount.watched import watched_inodes
from peer.mount.watchers import PAUSE
from tests.support.mounted import Network, mounted
from tests.support.patience import until, within
from tests.support.programs import needs
from tests.support.watching import Watching

Place = tuple[Network, Path]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A mount with `d/old` and `d/deep/er` in it."""
    with mounted(tmp_path, "kernel") as (net, point):
        net.remote("d/old", b"1")
        net.remote("d/deep/er", b"1")
        until((point / "d/deep/er").exists, 10, "it is there")
        time.sleep(3 * PAUSE)  # who watches from now on hears nothing of that
        yield net, point


def helpers() -> list[int]:
    """The processes of ours that wake watchers."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"peer.mount.actor" in (entry / "cmdline").read_bytes().split(b"\0"):
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(status[1]) == os.getpid() and status[0] != "Z":
                    found.append(int(entry.name))
        except OSError:
            pass  # it ended
    return found


def is_watched(path: Path) -> bool:
    """Whether anybody watches the file that is there now."""
    status = path.stat()
    return status.st_ino in watched_inodes(status.st_dev)


def about(watching: Watching, path: str) -> list[str]:
    """What was told of one path."""
    return [event.split()[0] for event in watching.told if event.split()[1] == path]


def test_a_new_file_is_created_once(place: Place) -> None:
    net, point = place
    with Watching(point / "d") as watching:
        net.remote("d/new", b"12")
        watching.wait_for("CLOSE_WRITE d/new")
        assert watching.told == ["CREATE d/new", "CLOSE_WRITE d/new"]
        assert (point / "d/new").read_bytes() == b"12"
        time.sleep(1)
    assert watching.told == ["CREATE d/new", "CLOSE_WRITE d/new"], "nothing is told twice"


def test_a_changed_file_is_written_once_and_has_its_new_bytes(place: Place) -> None:
    net, point = place
    assert (point / "d/old").read_bytes() == b"1"
    seen = []

    def look() -> None:
        watching.wait_for("MODIFY d/old")
        seen.append((point / "d/old").read_bytes())

    with Watching(point / "d") as watching:
        thread = threading.Thread(target=look)
        thread.start()
        net.remote("d/old", b"22")
        thread.join()
        watching.wait_for("CLOSE_WRITE d/old")
        time.sleep(0.5)
    assert seen == [b"22"]
    assert watching.told == ["MODIFY d/old", "CLOSE_WRITE d/old"]


def test_what_goes_is_deleted_with_its_folder_and_what_was_in_that(place: Place) -> None:
    net, point = place
    with Watching(point, point / "d", point / "d/deep") as watching:
        net.put({"d/old": []})
        watching.wait_for("DELETE d/old")
        net.put({"d/deep/er": []})
        watching.wait_for("DELETE deep/er", "DELETE d/deep/", "DELETE mount/d/")
        assert os.listdir(point) == []
        assert watching.told.index("DELETE deep/er") < watching.told.index("DELETE d/deep/")


def test_a_new_folder_s_watcher_hears_of_what_came_with_it(place: Place) -> None:
    net, point = place
    with Watching(point / "d") as watching:
        net.remote("d/fresh/one", b"1")
        watching.wait_for("CREATE d/fresh/")
        watching.add(point / "d/fresh")
        watching.wait_for("CLOSE_WRITE fresh/one")
        net.remote("d/fresh/two", b"2")
        watching.wait_for("CREATE fresh/two")
    assert about(watching, "d/fresh/") == ["CREATE"]
    assert about(watching, "fresh/one") == ["MODIFY", "CLOSE_WRITE"], "it was there when the folder was looked at"


def test_a_link_a_touched_file_and_a_file_that_became_a_folder(place: Place) -> None:
    net, point = place
    with Watching(point / "d") as watching:
        net.link("d/link", "old")
        net.remote("d/old", b"1")  # the same bytes, a newer time
        watching.wait_for("CREATE d/link", "ATTRIB d/old")
        net.put({"d/link": []})
        net.remote("d/link/in", b"3")
        watching.wait_for("DELETE d/link", "CREATE d/link/")
    assert about(watching, "d/old") == ["ATTRIB"]


def test_what_nobody_watches_costs_nothing(place: Place) -> None:
    net, point = place
    with Watching(point / "d/deep") as watching:
        net.remote("d/new", b"1")
        net.remote("e/new", b"1")
        until((point / "e/new").exists, 10, "it is there")
        time.sleep(1)
        assert not helpers(), "no helper is started before somebody watches what changes"
        net.remote("d/deep/er", b"2")
        watching.wait_for("MODIFY deep/er")
        assert len(helpers()) == 1
    assert about(watching, "d/new") == []


def test_programs_cannot_write_while_something_happens_there(place: Place) -> None:
    net, point = place
    with Watching(point / "d") as watching:
        for number in range(200):
            net.remote(f"d/{number}", b"1")
            for write in (
                lambda name=f"d/{number}": open(point / name, "xb"),
                lambda name=f"d/{number}": os.open(point / name, os.O_WRONLY | os.O_CREAT),
                lambda: os.mkdir(point / "d/mine"),
                lambda: os.unlink(point / "d/old"),
                lambda: os.utime(point / "d/old"),
            ):
                with pytest.raises(OSError) as error:
                    write()
                assert error.value.errno in (errno.EROFS, errno.EEXIST), error.value
        watching.wait_for(*(f"CREATE d/{number}" for number in range(200)))
        made = [event for event in watching.told if event.startswith("CREATE")]
        assert len(made) == len(set(made)) == 200
        assert (point / "d/old").read_bytes() == b"1"


def test_changes_that_come_together_are_one(place: Place) -> None:
    net, point = place
    with Watching(point / "d") as watching:
        for number in range(20_000):
            net.remote(f"d/{number % 20}", b"%d" % number)
        for number in range(20):
            net.put({f"d/{number}": []})
            net.remote(f"d/{number}", b"last")
        net.remote("d/end", b"1")
        watching.wait_for("CLOSE_WRITE d/end", seconds=60)
        assert not watching.overflowed
    made = [event for event in watching.told if event.startswith("CREATE")]
    assert len(made) - len([event for event in watching.told if event.startswith("DELETE")]) == 21
    assert len(watching.told) < 20_000


def test_a_storm_is_told_in_full_while_the_mount_answers(place: Place) -> None:
    net, point = place
    with Watching(point / "d") as watching:
        entry = net.remote("one", b"1")
        net.put({f"d/{number:05d}": [entry] for number in range(5_000)})
        longest = 0.0
        while sum(event.startswith("CREATE") for event in watching.told) < 5_000:
            began = time.monotonic()
            assert within(10, os.listdir, point / "d/deep") == ["er"]
            assert within(10, (point / "one").read_bytes) == b"1"
            longest = max(longest, time.monotonic() - began)
            time.sleep(0.01)
        assert longest < 5, "nobody waits for those who watch"
        assert len(watching.told) == 2 * 5_000


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_helper_that_dies_or_hangs_is_another_soon(place: Place, number: signal.Signals) -> None:
    net, point = place
    with Watching(point / "d") as watching:
        net.remote("d/first", b"1")
        watching.wait_for("CLOSE_WRITE d/first")
        (before,) = helpers()
        os.kill(before, number)
        entry = net.remote("one", b"1")
        net.put({f"d/{n}": [entry] for n in range(500)})
        assert within(5, (point / "one").read_bytes) == b"1", "the mount does not wait for it"
        watching.wait_for(*(f"CLOSE_WRITE d/{n}" for n in range(500)), seconds=40)
        assert helpers() != [before]
    made = [event for event in watching.told if event.startswith("CREATE")]
    assert len(made) <= 501 + 1, "what it was about when it died may be told twice"


def test_inotifywait_hears_of_everything(place: Place) -> None:
    needs("inotifywait", "inotify-tools")
    net, point = place
    command = ["inotifywait", "-m", "-r", "--format", "%e %w%f", "-e", "create,close_write,delete", str(point)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None and program.stderr is not None
        try:
            while "established" not in program.stderr.readline():
                pass
            net.remote("d/deep/new", b"1")
            net.remote("d/old", b"2")
            net.put({"d/deep/er": []})
            expected = {
                f"CREATE {point}/d/deep/new",
                f"CLOSE_WRITE,CLOSE {point}/d/deep/new",
                f"CLOSE_WRITE,CLOSE {point}/d/old",
                f"DELETE {point}/d/deep/er",
            }
            heard = {within(20, program.stdout.readline).strip() for _ in expected}
        finally:
            program.kill()
    assert heard == expected


def test_watchdog_hears_of_everything(place: Place) -> None:
    net, point = place
    heard: set[tuple[str, str]] = set()

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            heard.add((event.event_type, os.path.relpath(os.fsdecode(event.src_path), point)))

    observer = Observer()
    observer.schedule(Handler(), str(point), recursive=True)
    observer.start()
    try:
        net.remote("d/new", b"1")
        net.remote("d/old", b"2")
        net.put({"d/deep/er": []})
        expected = {("created", "d/new"), ("modified", "d/old"), ("closed", "d/old"), ("deleted", "d/deep/er")}
        until(lambda: expected <= heard, 20, f"{expected} in {heard}")
    finally:
        observer.stop()
        observer.join()


def test_entr_runs_its_command_whenever_a_file_changes(place: Place, tmp_path: Path) -> None:
    needs("entr", "entr")
    net, point = place
    out = tmp_path / "out"
    command = ["entr", "-n", "sh", "-c", f"cat {point}/d/old >> {out}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=sys.stderr, text=True) as program:
        assert program.stdin is not None
        try:
            program.stdin.write(f"{point}/d/old\n")
            program.stdin.close()
            until(lambda: out.exists() and out.read_bytes() == b"1", 10, "it ran once")
            for number in range(2, 5):
                until(lambda: is_watched(point / "d/old"), 20, "it looks at the file again")
                time.sleep(0.5)  # and then at what happened meanwhile
                before = out.read_bytes()
                net.remote("d/old", b"%d" % number)
                until(lambda before=before, number=number: out.read_bytes() == before + b"%d" % number, 20, "it ran")
        finally:
            program.kill()
