"""One mount's conversation with the kernel: what both can do is agreed, requests are read and answered, until the end.

Threading: one of some threads has its turn: it reads requests and answers them, one after the other, so that quick
ones cost no change of threads. Who answers one that may take the disk some time gives its turn to another first. None
of them waits for the network.
"""

import errno
import logging
import os
import select
import threading
import time
from collections.abc import Callable

from peer.mount import protocol
from peer.mount.protocol import BadMessage, Init, Op, Request, fixed
from peer.swarm.pending import Parts

THREADS = 4
AWAKE = 100e-6
"""Seconds for which the next request is waited for awake after a quick one: who lists or opens many files asks again at
once, and to be woken takes longer than to answer, most of all on a virtual machine."""
BACKGROUND = 4096
WANTED = (
    Init.ASYNC_READ
    | Init.BIG_WRITES
    | Init.DO_READDIRPLUS
    | Init.READDIRPLUS_AUTO
    | Init.ASYNC_DIO
    | Init.PARALLEL_DIROPS
    | Init.ABORT_ERROR
    | Init.MAX_PAGES
    | Init.CACHE_SYMLINKS
    | Init.AUTO_INVAL_DATA  # where one's own file is not passed through, a new size or time frees what is cached of it
    | Init.DIRECT_IO_ALLOW_MMAP
)
log = logging.getLogger(__name__)


class Session:
    """A conversation over a descriptor: `/dev/fuse`'s, or a socket's in tests."""

    def __init__(self, fd: int, answer: Callable[[Request], None], passthrough: bool) -> None:
        """`answer` is called with each request after the first, by any of the threads.

        `passthrough`: whether files may be passed through, where the kernel can.
        """
        self._fd, self._answer = fd, answer
        self._wanted = WANTED | (Init.PASSTHROUGH if passthrough else Init(0))
        self._threads: list[threading.Thread] = []
        self._greeted = threading.Event()
        self._turn = threading.Lock()
        self._whose = 0
        self.minor = 0
        self.features = Init(0)
        """What both can do; known once `start` returned."""

    def start(self, timeout: float) -> bool:
        """Begins; whether the kernel said hello in time."""
        for number in range(THREADS):
            thread = threading.Thread(target=self._run, name=f"mount-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
            if number == 0 and not self._greeted.wait(timeout):
                return False
        return True

    @property
    def alive(self) -> bool:
        """Whether requests are still read."""
        return any(thread.is_alive() for thread in self._threads)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it has ended, up to `timeout` seconds in all; whether it has."""
        until = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))
        return not self.alive

    def give_way(self) -> None:
        """Called by who answers a request and may be some time: the next one is read by another thread."""
        if self._whose == threading.get_ident():
            self._whose = 0
            self._turn.release()

    def write(self, head: bytes, data: Parts = ()) -> bool:
        """Gives the kernel a message; False if it does not want it any more (interrupted, forgotten, unmounted)."""
        try:
            os.writev(self._fd, (head, *data))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.ENOTCONN, errno.EPIPE):
                log.error("the kernel refuses an answer: %s", error)
            return False
        return True

    def _run(self) -> None:
        try:
            self._answer_all()
        finally:
            self.give_way()

    def _answer_all(self) -> None:
        buffer, me = memoryview(bytearray(protocol.BUFFER)), threading.get_ident()
        ready = select.poll()
        ready.register(self._fd, select.POLLIN)
        while True:
            if self._whose == me:
                until = time.perf_counter() + AWAKE
                while not ready.poll(0) and time.perf_counter() < until:
                    pass
            else:
                self._turn.acquire()
                self._whose = me
            try:
                length = os.readv(self._fd, (buffer,))
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):  # a request that was taken back
                    continue
                if error.errno not in (errno.ENODEV, errno.ECONNABORTED):
                    log.error("the kernel cannot be heard any more: %s", error)
                return
            if not length:
                return
            try:
                request = protocol.parse(buffer[:length])
            except BadMessage as error:
                log.error("what the kernel says is not understood: %s", error)
                continue
            if request.opcode == Op.INIT:
                self._greet(request)
            elif request.opcode == Op.DESTROY:
                self.write(protocol.answer(request.unique))
            else:
                self._answer(request)

    def _greet(self, request: Request) -> None:
        """Agrees on what both can do; once."""
        if self._greeted.is_set():
            self.write(protocol.failure(request.unique, errno.EIO))
            return
        try:
            major, minor, read_ahead, low = fixed(protocol.INIT_IN_SHORT, request.body)
        except BadMessage:
            self.write(protocol.failure(request.unique, errno.EPROTO))
            return
        if major > protocol.KERNEL_VERSION:  # it says hello again, in our version
            self.write(protocol.answer(request.unique, protocol.INIT_OUT.pack(protocol.KERNEL_VERSION, *(0,) * 12)))
            return
        if (major, minor) < (protocol.KERNEL_VERSION, protocol.OLDEST_MINOR):
            log.error("this kernel speaks FUSE %d.%d, which is too old: run with --fuse libfuse", major, minor)
            self.write(protocol.failure(request.unique, errno.EPROTO))
            return
        offered = Init(low)
        if offered & Init.INIT_EXT and len(request.body) >= protocol.INIT_IN.size:
            offered |= Init(fixed(protocol.INIT_IN, request.body)[4] << 32)
        self.minor, self.features = min(minor, protocol.NEWEST_MINOR), offered & (self._wanted | Init.INIT_EXT)
        flags, background = int(self.features), BACKGROUND
        depth = int(Init.PASSTHROUGH in self.features)
        body = protocol.INIT_OUT.pack(
            *(protocol.KERNEL_VERSION, self.minor, read_ahead, flags & 0xFFFFFFFF, background, background * 3 // 4),
            *(protocol.PAGE, 1, protocol.MAX_READ // protocol.PAGE, 0, flags >> 32, depth, 0),
        )
        self.write(protocol.answer(request.unique, body))
        self._greeted.set()
