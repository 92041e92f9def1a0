"""The helper's requests, against a kernel that passes on anybody's."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.mount import protocol
from peer.mount.acts import Act
from peer.mount.answers import ATTRIBUTES, ENTRY
from peer.mount.protocol import Op
from peer.mount.stage import GHOSTS, PLAYED
from tests.support.fake_kernel import FakeKernel, spoken_to
from tests.support.mounted import Network
from tests.support.patience import until

HELPER, STRANGER = 77, 78
CREATE = protocol.CREATE_IN.pack(os.O_WRONLY | os.O_CREAT, 0o444, 0, 0) + b"new\0"
SETATTR = bytes(88)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Network, FakeKernel]]:
    with spoken_to(tmp_path) as (net, kernel):
        net.remote("d/old", b"1")
        net.remote("d/new", b"22")
        yield net, kernel


def mode_and_size(entry: bytes) -> tuple[int, int]:
    fields = ENTRY.unpack(entry[: ENTRY.size])
    return stat.S_IFMT(fields[15]), fields[7]


def test_what_is_made_is_not_there_before_and_is_what_everybody_sees_after(place: tuple[Network, FakeKernel]) -> None:
    _, kernel = place
    folder = kernel.look_up("d")
    kernel.requests.stage.expect(HELPER, [Act("create", "d/new")])
    assert kernel.ask(Op.LOOKUP, b"new\0", folder, HELPER).error == errno.ENOENT
    assert not kernel.ask(Op.LOOKUP, b"new\0", folder, STRANGER).error
    assert kernel.ask(Op.CREATE, CREATE, folder, STRANGER).error == errno.EROFS
    answer = kernel.ask(Op.CREATE, CREATE, folder, HELPER)
    assert mode_and_size(answer.body) == (stat.S_IFREG, 2)
    assert ENTRY.unpack(answer.body[: ENTRY.size])[0] == kernel.look_up("d/new")
    assert protocol.OPEN_OUT.unpack(answer.body[ENTRY.size :])[0] == PLAYED
    assert not kernel.ask(Op.RELEASE, protocol.RELEASE_IN.pack(PLAYED, 0, 0, 0), folder, 0).error
    assert kernel.ask(Op.CREATE, CREATE, folder, HELPER).error == errno.EROFS, "once"


def test_what_goes_is_there_until_it_is_taken_away(place: tuple[Network, FakeKernel]) -> None:
    net, kernel = place
    folder, file = kernel.look_up("d"), kernel.look_up("d/old")
    net.put({"d/old": []})
    until(lambda: kernel.table.gone_id_of("d/old") == file, 5, "that is noticed; not only that it came")
    kernel.requests.stage.expect(HELPER, [Act("unlink", "d/old"), Act("unlink", "d/never")])
    assert ENTRY.unpack(kernel.ask(Op.LOOKUP, b"old\0", folder, STRANGER).body)[0] == 0
    assert ENTRY.unpack(kernel.ask(Op.LOOKUP, b"old\0", folder, HELPER).body)[0] == file, "those who watch it hear"
    assert ENTRY.unpack(kernel.ask(Op.LOOKUP, b"never\0", folder, HELPER).body)[0] >= GHOSTS
    assert kernel.ask(Op.UNLINK, b"old\0", folder, STRANGER).error == errno.EROFS
    assert not kernel.ask(Op.UNLINK, b"old\0", folder, HELPER).error
    assert kernel.ask(Op.UNLINK, b"old\0", folder, HELPER).error == errno.EROFS, "once"
    known = len(kernel.table)
    kernel.send(Op.FORGET, protocol.FORGET_IN.pack(1), file)
    assert not kernel.ask(Op.GETATTR, bytes(16)).error
    assert len(kernel.table) == known, "it was told of it twice"
    kernel.send(Op.FORGET, protocol.FORGET_IN.pack(1), file)
    assert not kernel.ask(Op.GETATTR, bytes(16)).error
    assert len(kernel.table) == known - 1


def test_the_helper_writes_nowhere_else(place: tuple[Network, FakeKernel]) -> None:
    _, kernel = place
    folder, file = kernel.look_up("d"), kernel.look_up("d/old")
    kernel.requests.stage.expect(HELPER, [Act("modify", "d/new")])
    assert kernel.ask(Op.CREATE, CREATE.replace(b"new", b"mine"), folder, HELPER).error == errno.EROFS
    assert kernel.ask(Op.UNLINK, b"old\0", folder, HELPER).error == errno.EROFS
    assert kernel.ask(Op.SETATTR, SETATTR, file, HELPER).error == errno.EROFS
    with pytest.raises(OSError) as error:
        kernel.open(file, os.O_WRONLY, HELPER)
    assert error.value.errno == errno.EROFS


def test_a_file_is_written_by_the_helper_alone_and_stays_as_it_is(place: tuple[Network, FakeKernel]) -> None:
    _, kernel = place
    file = kernel.look_up("d/old")
    kernel.requests.stage.expect(HELPER, [Act("modify", "d/old")])
    assert kernel.open(file, os.O_WRONLY, HELPER)[0] == PLAYED
    answer = kernel.ask(Op.SETATTR, SETATTR, file, HELPER)
    assert ATTRIBUTES.unpack(answer.body)[3] == 1, "its size"
    with pytest.raises(OSError) as error:
        kernel.open(file, os.O_WRONLY, STRANGER)
    assert error.value.errno == errno.EROFS
    assert kernel.ask(Op.SETATTR, SETATTR, file, STRANGER).error == errno.EROFS
    handle, _ = kernel.open(file, os.O_RDONLY, HELPER)
    assert handle != PLAYED
