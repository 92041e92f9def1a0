import errno
import os
import stat
import threading
import time

import pytest

from peer import beneath
from peer.beneath import Beneath, rename_exchange, rename_noreplace


@pytest.fixture(params=[True, False], ids=["openat2", "by steps"])
def root(request, tmp_path):
    """A share's root, and beside it what nobody may reach."""
    share = tmp_path / "share"
    (share / "dir" / "deep").mkdir(parents=True)
    (share / "dir" / "deep" / "file").write_bytes(b"inside")
    (tmp_path / "secret").write_bytes(b"outside")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_bytes(b"outside")
    (share / "link").symlink_to("../secret")
    (share / "inner").symlink_to("dir/deep/file")
    (share / "linkdir").symlink_to("../other")
    (share / "innerdir").symlink_to("dir")
    (share / "proc").symlink_to("/proc/self/root")
    os.mkfifo(share / "fifo")
    with Beneath(share, use_openat2=request.param) as root:
        yield root


def content(root, path):
    fd = root.open_file(path)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def test_files_inside_open(root):
    assert content(root, "dir/deep/file") == b"inside"


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "dir/../../secret",
        "dir/../dir/deep/file",
        "..",
        "link",
        "inner",
        "linkdir/file",
        "innerdir/deep/file",
        *[
            "proc/etc/passwd",
            "/etc/passwd",
            "//etc/passwd",
            "dir//../../secret",
            "dir/deep/file/",
            "dir/deep/file\0",
            "\0",
        ],
        *["dir", "", ".", "fifo", "missing", "dir/missing/file", "dir\\deep\\file", "x" * 300, "/".join("y" * 5000)],
    ],
)
def test_nothing_else_does(root, path):
    with pytest.raises(OSError):
        content(root, path)


def test_only_regular_files_are_opened_at_all(root):
    """Even the opening of a FIFO would be felt: its writer would go on."""
    opened = threading.Event()

    def write():
        fd = os.open("fifo", os.O_WRONLY, dir_fd=root.fd)
        opened.set()
        os.close(fd)

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(20):
        with pytest.raises(OSError) as error:
            root.open_file("fifo")
        assert error.value.errno == errno.EINVAL
        assert not opened.wait(0.01)
    fd = os.open("fifo", os.O_RDONLY | os.O_NONBLOCK, dir_fd=root.fd)
    writer.join()
    os.close(fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="devices need root")
def test_devices_are_not_opened(root):
    os.mknod("zero", stat.S_IFCHR | 0o666, os.makedev(1, 5), dir_fd=root.fd)
    with pytest.raises(OSError) as error:
        root.open_file("zero")
    assert error.value.errno == errno.EINVAL


def test_a_directory_swapped_for_a_link_leads_nowhere(root, tmp_path):
    share = tmp_path / "share"
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            os.rename(share / "dir", share / "aside")
            os.symlink("../other/", share / "dir")
            os.unlink(share / "dir")
            os.rename(share / "aside", share / "dir")
            time.sleep(0.0001)

    (tmp_path / "other" / "deep").mkdir()
    (tmp_path / "other" / "deep" / "file").write_bytes(b"outside")
    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = set()
    try:
        for _ in range(3000):
            try:
                seen.add(content(root, "dir/deep/file"))
            except OSError:
                seen.add(None)
    finally:
        stop.set()
        swapper.join()
    assert b"outside" not in seen
    assert b"inside" in seen


def test_what_is_opened_is_the_very_file_that_was_looked_at(root, tmp_path, monkeypatch):
    """What takes its name between the look and the opening is not opened, whatever it is."""
    fstat = os.fstat

    def look_then_swap(fd):
        status = fstat(fd)
        (tmp_path / "other" / "file").rename(tmp_path / "share" / "dir" / "deep" / "file")
        return status

    with monkeypatch.context() as patch:
        patch.setattr(beneath.os, "fstat", look_then_swap)
        fd = root.open_file("dir/deep/file")
    assert os.read(fd, 100) == b"inside"
    os.close(fd)
    assert content(root, "dir/deep/file") == b"outside", "the next one opens what is there by then"


def test_where_openat2_is_missing_the_steps_are_taken(root, monkeypatch):
    def missing(*_):
        raise OSError(errno.ENOSYS, "no openat2 here")

    monkeypatch.setattr(root, "_open_at_once", missing)
    assert content(root, "dir/deep/file") == b"inside"
    with pytest.raises(OSError):
        content(root, "linkdir/file")


def test_a_parent_is_made_and_never_through_a_link(root):
    fd, last = root.parent("new/deeper/name", make=True)
    assert last == "name"
    os.close(fd)
    assert stat.S_ISDIR(root.lstat("new/deeper").st_mode)
    for path in ("linkdir/new/name", "../name/x", "link/x"):
        with pytest.raises(OSError):
            os.close(root.parent(path, make=True)[0])


def test_lstat_is_of_the_link_itself(root):
    assert stat.S_ISLNK(root.lstat("link").st_mode)
    with pytest.raises(OSError):
        root.lstat("linkdir/file")


def test_no_descriptor_is_lost(root):
    def count():
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for path in ("dir/deep/file", "linkdir/file", "fifo", "dir/missing/file", "dir", "dir/deep/file\0"):
        try:
            os.close(root.open_file(path))
        except OSError:
            pass
        try:
            root.lstat(path)
        except (OSError, ValueError):
            pass
        try:
            os.close(root.parent(path, make=True)[0])
        except (OSError, ValueError):
            pass
    assert count() == before


def test_renames(root):
    with open(os.open("a", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=root.fd), "w") as file:
        file.write("a")
    with pytest.raises(FileExistsError):
        rename_noreplace(root.fd, "a", root.fd, "fifo")
    rename_noreplace(root.fd, "a", root.fd, "b")
    assert content(root, "b") == b"a"
    rename_exchange(root.fd, "b", root.fd, "fifo")
    assert content(root, "fifo") == b"a"
    with pytest.raises(FileNotFoundError):
        rename_exchange(root.fd, "b", root.fd, "missing")
