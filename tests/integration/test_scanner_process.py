"""The scanner's process: what a user does is announced, what a peer asks is done."""

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.layout import Layout
from peer.messages import Changed, Forget, Forgot, Kept, Opened, Progress, Rescan, Seen, Skipped, Supersede
from shoal.manifest import DIR_CID, NOTHING_CID, manifest_of
from tests.support.patience import until
from tests.support.scanner_process import ScannerProcess, check_list
from tests.support.share_by_hand import ME, OTHER, download

pytestmark = pytest.mark.real


def cid(data: bytes) -> str:
    return manifest_of(data).cid


def old(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def scanner(tmp_path: Path) -> Iterator[ScannerProcess]:
    with ScannerProcess(tmp_path) as running:
        yield running


def test_what_is_there_at_the_start_is_announced_with_progress(tmp_path: Path) -> None:
    for n in range(50):
        old(tmp_path / f"d{n % 3}/f{n}", b"%d" % n)
    os.mkfifo(tmp_path / "fifo")
    with ScannerProcess(tmp_path) as scanner:
        scanner.becomes({f"d{n % 3}/f{n}": ("own", b"%d" % n) for n in range(50)})
        until(lambda: [p for p in scanner.of(Progress) if p.done], 10, "the first scan is done")
        last = scanner.of(Progress)[-1]
        assert (last.files_total, last.bytes_total) == (50, 90) and last.files <= 50
        assert [(s.path, s.total) for s in scanner.of(Skipped)] == [("fifo", 1)]
        assert isinstance(scanner.said[0], Opened)
        sequence = scanner.index.state()[0]
        until(lambda: scanner.of(Changed)[-1:] == [Changed(sequence)], 10, "the last change is told")
        assert scanner.stop() == 0
    with ScannerProcess(tmp_path) as again:
        until(lambda: [p for p in again.of(Progress) if p.done], 10, "the second scan is done")
        assert again.index.state()[0] == sequence, "a scan of what did not change changes nothing"


def test_what_a_user_does_is_followed(scanner: ScannerProcess, tmp_path: Path) -> None:
    old(tmp_path / "f", b"one")
    scanner.becomes({"f": ("own", b"one")})
    old(tmp_path / "f", b"two two")
    scanner.becomes({"f": ("own", b"two two")})
    old(tmp_path / "new/deep/g", b"g")
    scanner.becomes({"f": ("own", b"two two"), "new/deep/g": ("own", b"g")})
    (tmp_path / "new").rename(tmp_path / "moved")
    scanner.becomes({"f": ("own", b"two two"), "moved/deep/g": ("own", b"g")})
    old(tmp_path / "moved/deep/h", b"h")  # the moved directory is still watched, under its new name
    scanner.becomes({"f": ("own", b"two two"), "moved/deep/g": ("own", b"g"), "moved/deep/h": ("own", b"h")})
    shutil.rmtree(tmp_path / "moved")
    (tmp_path / "f").unlink()
    scanner.becomes({})
    (tmp_path / "e").mkdir()
    until(lambda: scanner.listed() == {"e": ("own", DIR_CID)}, 10, "an empty directory is listed")


def test_a_closed_file_does_not_wait_for_two_seconds(scanner: ScannerProcess, tmp_path: Path) -> None:
    until(lambda: [p for p in scanner.of(Progress) if p.done], 10, "the first scan is done")
    took = []
    for n in range(5):
        began = time.monotonic()
        old(tmp_path / f"f{n}", b"x")
        until(lambda name=f"f{n}": scanner.index.at(name), 10, "it is announced", every=0.005)
        took.append(time.monotonic() - began)
    assert min(took) < 1.5


def test_a_file_that_is_being_written_is_not_announced_torn(scanner: ScannerProcess, tmp_path: Path) -> None:
    rng = random.Random(3)
    final = b""
    with (tmp_path / "log").open("wb", buffering=0) as file:
        for _ in range(30):
            part = rng.randbytes(5000)
            file.write(part)
            final += part
            time.sleep(0.1)
            assert scanner.listed() == {}
    scanner.becomes({"log": ("own", final)})


def test_ten_thousand_files_at_once() -> None:
    """In memory where there is such a directory: some disks take long to make so many files."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as directory, ScannerProcess(Path(directory)) as scanner:
        for d in range(10):
            (Path(directory) / f"d{d}").mkdir()
            for n in range(1000):
                (Path(directory) / f"d{d}/{n}").write_bytes(b"%d %d" % (d, n))
        until(lambda: scanner.index.totals()[0] == 10_000, 60, "all are announced", every=0.2)
        until(lambda: scanner.index.state()[0] < 10_100, 1, "each is announced once")
        check_list(Path(directory))
        scanner.stop()


def test_keeps_of_all_kinds(scanner: ScannerProcess, tmp_path: Path) -> None:
    large = b"L" * 700_000
    (Layout(tmp_path).partial / f"{cid(large)}.data").write_bytes(large)
    (tmp_path / "taken").write_bytes(b"mine")
    keeps = [download(f"many/{n}", b"small %d" % n) for n in range(1000)]
    for keep in [*keeps, download("large", large, inline=False), download("taken", b"theirs")]:
        scanner.send(keep)
    answers = {kept.path: kept.place for kept in scanner.kept(1002)}
    assert answers["taken"] == "inside" and set(answers.values()) == {"local", "inside"}
    assert sum(place == "inside" for place in answers.values()) == 1
    until(lambda: scanner.index.totals()[::2] == (1, 1002), 10, "all are listed")
    time.sleep(0.3)  # the watch has seen our own renames by now
    assert scanner.index.totals()[::2] == (1, 1002)
    check_list(tmp_path)


def test_forget_supersede_seen_and_rescan(scanner: ScannerProcess, tmp_path: Path) -> None:
    old(tmp_path / "mine", b"mine")
    scanner.send(download("theirs", b"theirs"))
    scanner.becomes({"mine": ("own", b"mine"), "theirs": ("copy", b"theirs")})
    scanner.send(Seen("mine", (rev := scanner.index.at("mine")[0].revs[ME]) + 10**9))
    until(lambda: scanner.index.at("mine")[0].revs == {ME: rev + 10**9 + 1}, 10, "the rev is overtaken")
    scanner.send(Forget("theirs"))
    scanner.send(Forget("mine"))
    scanner.send(Supersede("theirs", cid(b"theirs"), {OTHER: 9}))
    nothing = ("nothing", NOTHING_CID)
    until(lambda: scanner.listed() == {"mine": nothing, "theirs": nothing}, 10, "both are withdrawn")
    assert [(f.path, bool(f.why)) for f in scanner.of(Forgot)] == [("theirs", True), ("mine", False)]
    scanner.send(Rescan("mine"))
    scanner.send(Rescan(""))
    time.sleep(0.5)
    assert scanner.listed() == {"mine": nothing, "theirs": nothing}
    assert (tmp_path / "mine").read_bytes() == b"mine" and not (tmp_path / "theirs").exists()
    old(tmp_path / "mine", b"changed")
    until(lambda: scanner.listed().get("mine") == ("own", cid(b"changed")), 10, "changed, it is shared again")


def test_an_index_that_is_no_database_is_made_anew(tmp_path: Path) -> None:
    with ScannerProcess(tmp_path) as scanner:
        scanner.send(download("copy", b"copy"))
        old(tmp_path / "mine", b"mine")
        scanner.becomes({"mine": ("own", b"mine"), "copy": ("copy", b"copy")})
    for file in Layout(tmp_path).state.glob("index.sqlite-*"):
        file.unlink()
    Layout(tmp_path).index.write_bytes(b"no database" * 1000)
    with ScannerProcess(tmp_path) as again:
        again.becomes({"mine": ("own", b"mine"), "copy": ("copy", b"copy")})
        assert [p.name.startswith("index.") for p in Layout(tmp_path).quarantine.iterdir()] == [True]


def test_it_is_killed_at_random_moments_and_nothing_is_lost(tmp_path: Path) -> None:
    """Whatever moment: the list's digest fits, every listed copy is whole, no file of the user's is touched."""
    rng = random.Random(7)
    users: dict[str, bytes] = {}
    number = 0
    for _ in range(6):
        scanner = ScannerProcess(tmp_path)
        try:
            check_list(tmp_path, users)
            for _ in range(150):
                number += 1
                path, body = f"d{number % 5}/f{rng.randrange(40)}", b"kept %d" % number
                if rng.random() < 0.2:
                    # As programs do that write safely: a new file is renamed into place, over a copy too.
                    old(tmp_path / "d/tmp", users.setdefault(path, b"user %d" % number))
                    (tmp_path / path).parent.mkdir(exist_ok=True)
                    if not (tmp_path / path).is_dir():
                        (tmp_path / "d/tmp").rename(tmp_path / path)
                else:
                    scanner.send(download(path, body, 10**18 + number * 10**9, {OTHER: number}))
            time.sleep(rng.random() * 0.4)
        finally:
            scanner.kill()
            scanner.stop()
        for path, data in users.items():
            assert (tmp_path / path).read_bytes() == data, "a user's file is never overwritten"
    with ScannerProcess(tmp_path) as scanner:
        check_list(tmp_path, users)
        owned = {path: ("own", cid(data)) for path, data in users.items()}

        def settled() -> bool:
            rows = {(r.path, r.kind, r.cid) for page in scanner.index.listed() for r in page if r.place == "local"}
            return all((path, *row) in rows for path, row in owned.items())

        until(settled, 20, "the user's files are all the user's")
        check_list(tmp_path, users)
        assert not [p for p in Layout(tmp_path).partial.iterdir() if p.name.endswith(".keep")]


def test_a_full_disk_keeps_nothing_and_says_why(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    local = tmp_path / "local"
    local.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3M", "tmpfs", str(local)], check=True)
    try:
        (local / "mine").write_bytes(b"mine")
        with ScannerProcess(local) as scanner:
            scanner.becomes({"mine": ("own", b"mine")})
            with (local / ".shoal/ballast").open("wb") as file:
                try:
                    for size in (65536, 4096):
                        while True:
                            os.write(file.fileno(), bytes(size))
                except OSError:
                    pass
            scanner.send(download("p", os.urandom(300_000)))
            (answer,) = scanner.kept(1)
            assert (answer.place, answer.why) == ("", "no space left on the share's disk")
            assert not list((local / ".shoal/partial").iterdir()) and not (local / "p").exists()
            (local / ".shoal/ballast").unlink()
            scanner.send(download("p", b"fits"))
            assert scanner.kept(2)[1] == Kept("p", cid(b"fits"), "local")
            assert scanner.process.poll() is None
    finally:
        subprocess.run(["umount", str(local)], check=True)
