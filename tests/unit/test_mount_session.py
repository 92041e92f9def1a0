"""The kernel adapter against a kernel that says what a real one rarely says."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.mount import protocol
from peer.mount.answers import ATTRIBUTES, ENTRY
from peer.mount.protocol import INIT_OUT, Init, Op, Open
from tests.support.fake_kernel import SECONDS, FakeKernel, spoken_to
from tests.support.mounted import Network
from tests.support.patience import until

DATA = bytes(range(256)) * 40


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Network, FakeKernel]]:
    with spoken_to(tmp_path) as made:
        yield made


@pytest.fixture
def strangers(tmp_path: Path) -> Iterator[FakeKernel]:
    with spoken_to(tmp_path, hello=False) as (_, kernel):
        starting = threading.Thread(target=kernel.session.start, args=(SECONDS,))
        starting.start()
        yield kernel
        kernel.hello()
        starting.join()


@pytest.mark.parametrize("minor", [31, 36, 38, 45, 46, 99])
def test_what_both_can_do_is_agreed(strangers: FakeKernel, minor: int) -> None:
    answer = strangers.hello(minor=minor)
    major, told, _, flags, background, *_, pages, _, high, depth, _ = INIT_OUT.unpack(answer.body)
    assert (answer.error, major, told) == (0, 7, min(minor, 45))
    assert background > 1000 and pages * protocol.PAGE == protocol.MAX_READ and depth == 0
    assert Init(flags | high << 32) & Init.DO_READDIRPLUS


def test_only_what_is_offered_is_taken(strangers: FakeKernel) -> None:
    offered = Init.ASYNC_READ | Init.PARALLEL_DIROPS
    flags, high = INIT_OUT.unpack(strangers.hello(flags=int(offered)).body)[3::7][:2]
    assert Init(flags) == offered and high == 0


def test_a_kernel_too_old_is_told_so(strangers: FakeKernel) -> None:
    assert strangers.hello(minor=30).error == errno.EPROTO


def test_a_newer_major_version_says_hello_again(strangers: FakeKernel) -> None:
    answer = strangers.hello(major=8)
    assert not answer.error and INIT_OUT.unpack(answer.body)[0] == 7
    assert not strangers.hello().error


def test_a_hello_cut_short(strangers: FakeKernel) -> None:
    assert strangers.ask(Op.INIT, b"\x07\0\0\0").error == errno.EPROTO


def test_a_second_hello_changes_nothing(place: tuple[Network, FakeKernel]) -> None:
    net, kernel = place
    assert kernel.hello(minor=31).error == errno.EIO
    net.remote("file", DATA)
    assert kernel.look_up("file") > protocol.ROOT
    assert kernel.session.minor == 45


@pytest.mark.parametrize("opcode", [0, 7, 19, 31, 32, 33, 46, 48, 49, 52, 4096, 1 << 31])
def test_what_is_not_known_is_not_there(place: tuple[Network, FakeKernel], opcode: int) -> None:
    assert place[1].ask(opcode, b"x" * 64).error == errno.ENOSYS


@pytest.mark.parametrize("opcode", sorted(protocol.WRITES))
def test_nothing_is_written(place: tuple[Network, FakeKernel], opcode: int) -> None:
    assert place[1].ask(opcode, b"x" * 64).error == errno.EROFS


@pytest.mark.parametrize("opcode", [Op.LOOKUP, Op.OPEN, Op.READ, Op.GETXATTR, Op.RELEASE, Op.READDIR, Op.ACCESS])
def test_a_body_cut_short_is_an_error_and_no_more(place: tuple[Network, FakeKernel], opcode: Op) -> None:
    _, kernel = place
    assert kernel.ask(opcode, b"").error == errno.EINVAL
    kernel.send_raw(b"")  # an end that is none: a message without anything
    assert not kernel.session.alive or not kernel.ask(Op.STATFS).error


@pytest.mark.parametrize("message", [b"x", b"x" * 39, b"\xff" * 100])
def test_what_is_no_request_is_passed_over(place: tuple[Network, FakeKernel], message: bytes) -> None:
    _, kernel = place
    kernel.send_raw(message)
    assert not kernel.ask(Op.STATFS).error


def test_handles_and_nodes_that_are_none(place: tuple[Network, FakeKernel]) -> None:
    _, kernel = place
    for opcode in (Op.GETATTR, Op.OPEN, Op.OPENDIR, Op.READLINK):
        assert kernel.ask(opcode, bytes(16), node=999).error == errno.ESTALE
    for opcode in (Op.READ, Op.READDIR, Op.READDIRPLUS, Op.RELEASE, Op.RELEASEDIR):
        assert kernel.ask(opcode, bytes(40)).error in (errno.EBADF, errno.EIO)


def test_reads_at_and_beyond_the_end(place: tuple[Network, FakeKernel]) -> None:
    net, kernel = place
    net.remote("remote", DATA)
    net.own("own", DATA)
    for path in ("remote", "own"):
        node = kernel.look_up(path)
        handle, _ = kernel.open(node)
        assert kernel.read(node, handle, 0, 1 << 20) == DATA
        assert kernel.read(node, handle, len(DATA) - 3, 100) == DATA[-3:]
        for offset in (len(DATA), len(DATA) + 1, 1 << 62):
            assert kernel.read(node, handle, offset, 4096) == b""
        kernel.release(node, handle)
    assert kernel.requests.open_count == 0


def test_an_interrupt_ends_a_read_at_once(place: tuple[Network, FakeKernel]) -> None:
    net, kernel = place
    net.swarm.held.add(net.remote("held", DATA).cid)
    node = kernel.look_up("held")
    handle, _ = kernel.open(node)
    read = kernel.send_read(node, handle, 0, 4096)
    until(lambda: len(net.swarm.reads) == 1, SECONDS, "it waits")
    kernel.send(Op.INTERRUPT, protocol.INTERRUPT_IN.pack(read))
    assert kernel.receive(read).error == errno.EINTR
    net.swarm.let_go.set()
    assert kernel.silent(0.2), "it is answered once"
    assert kernel.read(node, handle, 0, 10) == DATA[:10]


@pytest.mark.parametrize("unique", [0, 999, 1 << 63])
def test_an_interrupt_of_what_is_not_waited_for_is_to_come_again(
    place: tuple[Network, FakeKernel], unique: int
) -> None:
    assert place[1].ask(Op.INTERRUPT, protocol.INTERRUPT_IN.pack(unique)).error == errno.EAGAIN


def test_reads_that_wait_hold_up_nothing(place: tuple[Network, FakeKernel]) -> None:
    net, kernel = place
    net.swarm.held.add(net.remote("held", DATA).cid)
    net.remote("free", DATA[::-1])
    node, free = kernel.look_up("held"), kernel.look_up("free")
    handle, _ = kernel.open(node)
    waiting = [kernel.send_read(node, handle, 0, 4096) for _ in range(100)]
    until(lambda: len(net.swarm.reads) >= 1, SECONDS, "they wait")
    other, _ = kernel.open(free)
    assert kernel.read(free, other, 0, 100) == DATA[:-101:-1]
    assert kernel.look_up("free") == free
    net.swarm.let_go.set()
    for read in waiting:
        assert kernel.receive(read).body == DATA[:4096]


def test_forgets_in_batches_leave_nothing(place: tuple[Network, FakeKernel]) -> None:
    net, kernel = place
    nodes = []
    for number in range(300):
        net.remote(f"f{number}", b"x")
        nodes.append(kernel.look_up(f"f{number}"))
    again = kernel.look_up("f0")
    assert again == nodes[0] and len(kernel.table) == 301
    pairs = b"".join(protocol.FORGET_ONE.pack(node, 1) for node in nodes)
    kernel.send(Op.BATCH_FORGET, protocol.BATCH_FORGET_IN.pack(len(nodes)) + pairs)
    assert not kernel.ask(Op.GETATTR, bytes(16), node=again).error  # it was told of this one twice
    kernel.send(Op.FORGET, protocol.FORGET_IN.pack(1), node=again)
    until(lambda: len(kernel.table) == 1, SECONDS, "nothing is known any more")
    kernel.send(Op.FORGET, protocol.FORGET_IN.pack(5), node=protocol.ROOT)
    kernel.send(Op.FORGET, protocol.FORGET_IN.pack(5), node=12345)
    kernel.send(Op.BATCH_FORGET, protocol.BATCH_FORGET_IN.pack(1000) + pairs[:32])
    assert not kernel.ask(Op.GETATTR, bytes(16)).error


def test_a_version_that_comes_back_is_a_new_node_and_the_old_ones_keep_theirs(
    place: tuple[Network, FakeKernel],
) -> None:
    net, kernel = place
    net.remote("file", b"first")
    first = kernel.look_up("file")
    handle, _ = kernel.open(first)
    net.remote("file", b"second")
    kernel.await_notice(b"file")
    second = kernel.look_up("file")
    open_now, _ = kernel.open(second)
    net.remote("file", b"first")
    third = kernel.look_up("file")
    assert len({first, second, third}) == 3
    assert kernel.read(first, handle, 0, 100) == b"first"
    with pytest.raises(OSError, match="Stale"):
        kernel.open(second)
    old, _ = kernel.open(second)  # who asks again has a descriptor of it
    assert kernel.read(second, old, 0, 100) == b"second"
    sizes = [ATTRIBUTES.unpack(kernel.ask(Op.GETATTR, bytes(16), node=node).body)[3] for node in (first, second, third)]
    assert sizes == [5, 6, 5]
    for number in (open_now, old):
        kernel.release(second, number)
    assert kernel.ask(Op.GETATTR, bytes(16), node=second).error == errno.ESTALE


def test_who_hears_of_a_change_finds_what_was_there_before(place: tuple[Network, FakeKernel]) -> None:
    """Or a watcher of the old version would not be told that it ended."""
    net, kernel = place
    net.remote("file", b"first")
    first = kernel.look_up("file")
    before: list[int] = []
    kernel.notices._told = lambda difference: before.append(kernel.table.gone_id_of("file"))
    net.remote("file", b"second")
    until(lambda: before and before[-1] == first, SECONDS, "it is known what was there")


def test_that_nothing_is_there_is_believed_until_something_is(place: tuple[Network, FakeKernel]) -> None:
    net, kernel = place
    answer = kernel.ask(Op.LOOKUP, b"to come\0")
    entry = ENTRY.unpack(answer.body)
    assert entry[0] == 0 and entry[2] > 1000
    net.remote("to come", DATA)
    kernel.await_notice(b"to come")
    assert kernel.look_up("to come")


def test_what_is_here_is_kept_in_the_page_cache(place: tuple[Network, FakeKernel]) -> None:
    net, kernel = place
    net.remote("remote", DATA)
    node = kernel.look_up("remote")
    assert kernel.open(node)[1] == Open.KEEP_CACHE
    status = kernel.look_up(".shoal/status")
    assert kernel.open(status)[1] == Open.DIRECT_IO


def test_opening_for_writing(place: tuple[Network, FakeKernel]) -> None:
    net, kernel = place
    net.remote("file", DATA)
    node = kernel.look_up("file")
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
        with pytest.raises(OSError, match="Read-only"):
            kernel.open(node, flags)


@pytest.mark.parametrize("how", ["open", "reopen"])
def test_a_disk_that_hangs_holds_up_nobody_else(
    place: tuple[Network, FakeKernel], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Neither who opens a file for the first time, nor who opens an own one again."""
    net, kernel = place
    net.own("mine", DATA)
    node = kernel.look_up("mine")
    if how == "reopen":
        kernel.release(node, kernel.open(node)[0])
    really, begun, go_on = getattr(net.vfs, how), threading.Event(), threading.Event()

    def hang(*args: object) -> object:
        begun.set()
        assert go_on.wait(SECONDS)
        return really(*args)

    monkeypatch.setattr(net.vfs, how, hang)
    opening = kernel.send(Op.OPEN, protocol.OPEN_IN.pack(os.O_RDONLY, 0), node)
    try:
        assert begun.wait(SECONDS)
        assert not kernel.ask(Op.LOOKUP, b"mine\0").error
    finally:
        go_on.set()
    answer = kernel.receive(opening)
    assert not answer.error
    kernel.release(node, protocol.OPEN_OUT.unpack(answer.body)[0])
