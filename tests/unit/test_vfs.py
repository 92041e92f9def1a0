"""The vfs over a catalogue, a share and a swarm in memory: what is found, what is opened, what is read."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.vfs import Attributes, Handle, Node
from peer.vfs.nodes import DIRECTORY, FILE, LINK, PROGRAM
from shoal.errors import Gone, LocalError, Unreachable
from shoal.manifest import link_cid
from shoal.wire import Entry, Owner
from tests.support.mounted import NOW, OTHER, Network, network


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Network]:
    with network(tmp_path) as made:
        yield made


def at(net: Network, path: str) -> Node:
    node = net.vfs.find(path)
    assert node is not None
    return node


def opened(net: Network, path: str) -> Handle:
    return net.vfs.open(at(net, path))


def names(net: Network, path: str) -> list[str]:
    return sorted(name for name, _ in net.vfs.children(at(net, path)))


def number(call: object, *args: object) -> int | None:
    with pytest.raises(OSError) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.errno


def test_finds_lists_and_describes_from_memory(net: Network) -> None:
    entry = net.remote("dir/file", b"12345")
    net.remote("dir/run", b"1", x=True)
    net.link("dir/link", "file")
    assert names(net, "") == ["dir"] and names(net, "dir") == ["file", "link", "run"]
    assert net.vfs.attributes(at(net, "dir/file")) == Attributes(FILE, 5, entry.mtime)
    assert net.vfs.attributes(at(net, "dir/run")).mode == PROGRAM
    assert net.vfs.attributes(at(net, "dir/link"))[:2] == (LINK, 4)
    assert net.vfs.attributes(at(net, "dir")).mode == net.vfs.attributes(at(net, "")).mode == DIRECTORY
    assert net.vfs.readlink(at(net, "dir/link")) == "file"
    assert net.vfs.find("dir/none") is net.vfs.find("dir/file/below") is None
    assert number(net.vfs.children, at(net, "dir/file")) == errno.ENOTDIR
    assert number(net.vfs.readlink, at(net, "dir/file")) == errno.EINVAL
    assert net.swarm.opened == []


def test_a_handle_keeps_its_version(net: Network) -> None:
    net.remote("file", b"old")
    handle = opened(net, "file")
    net.remote("file", b"newer")
    assert handle.read(0, 10) == b"old" and handle.attributes.size == 3
    second = opened(net, "file")
    assert second.read(0, 10) == b"newer" and second.version != handle.version
    handle.close()
    second.close()
    assert net.swarm.open_readers == 0


def test_a_version_that_left_the_network_is_stale(net: Network) -> None:
    entry = net.remote("file", b"data")
    handle = opened(net, "file")
    net.swarm.errors[entry.cid] = Unreachable("nobody has it")
    with pytest.raises(Unreachable):  # it is listed: somebody may come back
        handle.read(0, 4)
    net.put({"file": []})
    with pytest.raises(Gone):
        handle.read(0, 4)
    handle.close()


def test_nothing_is_opened_for_writing(net: Network) -> None:
    net.remote("file", b"data")
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_APPEND | os.O_WRONLY):
        assert number(net.vfs.open, at(net, "file"), flags) == errno.EROFS
    assert number(net.vfs.open, at(net, "")) == errno.EISDIR
    net.link("link", "file")
    assert number(net.vfs.open, at(net, "link")) == errno.ELOOP


def test_what_is_whole_here_is_read_here(net: Network) -> None:
    net.own("mine", b"mine")
    net.own("copy", b"a copy", kind="copy", place="inside")
    for path, data in (("mine", b"mine"), ("copy", b"a copy")):
        handle = opened(net, path)
        assert handle.read(0, 100) == data and handle.fd >= 0 and handle.settled and not handle.direct
        handle.close()
    assert net.swarm.opened == net.rescans == []


def test_ones_own_file_is_followed_and_looked_at_again(net: Network) -> None:
    cid = net.own("mine", b"before")
    first = opened(net, "mine")
    disk = net.share.layout.local / "mine"
    with disk.open("r+b") as file:
        file.write(b"AFTER and more")
    assert first.read(0, 100) == b"AFTER and more"
    assert first.attributes.size == 14 and not first.settled
    second = opened(net, "mine")
    assert second.direct and second.version != cid and second.source == first.source
    assert net.rescans == ["mine"]
    disk.unlink()
    net.swarm.contents[cid] = b"before"
    third = opened(net, "mine")
    assert third.read(0, 100) == b"before" and net.rescans == ["mine", "mine"]
    for handle in (first, second, third):
        handle.close()


def test_a_copy_that_was_cut_short_is_an_error(net: Network) -> None:
    net.own("copy", b"a whole copy", kind="copy")
    handle = opened(net, "copy")
    os.truncate(net.share.layout.local / "copy", 5)
    assert handle.read(0, 5) == b"a who"
    with pytest.raises(LocalError):
        handle.read(0, 12)
    with pytest.raises(LocalError):
        handle.check_end(5)
    assert handle.attributes.size == 12 and not handle.settled
    handle.close()


def test_a_copy_that_was_changed_is_not_read(net: Network) -> None:
    cid = net.own("copy", b"checked", kind="copy")
    net.swarm.contents[cid] = b"checked"
    (net.share.layout.local / "copy").write_bytes(b"changed")
    handle = opened(net, "copy")
    assert handle.fd < 0 and handle.read(0, 10) == b"checked"
    handle.close()


def test_a_file_of_unknown_size_has_one_once_it_was_opened(net: Network) -> None:
    net.seed("theirs", b"x" * 77)
    assert net.vfs.attributes(at(net, "theirs")).size == 0 and net.swarm.opened == []
    handle = opened(net, "theirs")
    assert handle.direct and handle.attributes.size == 77 == net.vfs.attributes(at(net, "theirs")).size
    handle.close()
    net.seed("theirs", b"y" * 3)
    assert net.vfs.attributes(at(net, "theirs")).size == 0


@pytest.mark.parametrize("target", ["/etc/passwd", "../out", "a/../../out", ".shoal/status", "x\ny"])
def test_a_link_that_leads_out_is_not_shown(net: Network, target: str) -> None:
    """Also when the catalogue lets it through."""
    net.remote("dir/file", b"1")
    entry = Entry(link_cid(target), 0, NOW, link=target, owners=(Owner(OTHER, "lab2", 1),))
    tree = net.catalogue._tree
    with net.catalogue._lock:
        tree.put("out", [net.catalogue._merge.version(entry, 1)])  # type: ignore[arg-type,list-item]
    assert net.vfs.find("out") is None
    assert names(net, "") == ["dir"]


def test_attributes_beyond_stat(net: Network) -> None:
    entry = net.remote("file", b"data")
    file = at(net, "file")
    values = {name.rpartition(".")[2]: net.vfs.xattr(file, name) for name in net.vfs.xattrs(file)}
    assert values == {"cid": entry.cid, "sha1": entry.sha1, "owners": "lab2", "holders": "lab2", "state": "remote"}
    assert number(net.vfs.xattr, file, "user.shoal.none") == errno.ENODATA
    assert number(net.vfs.xattr, file, "user.mime_type") == errno.EOPNOTSUPP
    assert number(net.vfs.xattr, at(net, ""), "user.shoal.cid") == errno.ENODATA
    assert net.vfs.xattrs(at(net, "")) == []
    net.seed("old", b"data")
    assert "user.shoal.cid" not in net.vfs.xattrs(at(net, "old"))
    assert net.vfs.state("file", entry) == "remote"
    net.swarm.contents.clear()
    assert net.vfs.state("file", entry) == "unreachable"
    net.own("here", b"data", kind="copy")
    assert net.vfs.state("file", entry) == "here"


def test_the_state_as_files(net: Network) -> None:
    net.remote("dir/theirs", b"data")
    net.own("dir/mine", b"mine")
    assert ".shoal" not in names(net, "")
    assert names(net, ".shoal") == ["peers", "status"]
    assert names(net, ".shoal/peers") == ["lab2", "me"]
    assert names(net, ".shoal/peers/lab2/dir") == ["theirs"]
    handle = opened(net, ".shoal/status")
    net.status = b"another"
    assert handle.read(2, 4) == b'ok":' and handle.attributes.size == 13  # bound when it was opened
    assert opened(net, ".shoal/status").read(0, 99) == b"another"
    assert opened(net, ".shoal/peers/lab2/dir/theirs").read(0, 9) == b"data"
    for path in (".shoal/none", ".shoal/status/below", ".shoal/peers/nobody", ".shoalx"):
        assert net.vfs.find(path) is None
    assert net.vfs.attributes(at(net, ".shoal/peers")).mode == DIRECTORY
    assert net.vfs.attributes(at(net, ".shoal/status")).mode == FILE


def test_hears_of_changes(net: Network) -> None:
    heard: list[int] = []
    net.vfs.changed_by(lambda: heard.append(1))
    net.remote("file", b"data")
    assert heard == [1]
