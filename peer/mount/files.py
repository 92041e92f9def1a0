"""Files, opened and read for the kernel.

A READ that must wait for the network is parked: it holds no thread; it is
answered when its bytes are here, or with EINTR when INTERRUPT comes for it,
whichever is first. So is an OPEN of a file whose size nobody knows yet.

Threading: any thread. The lock guards the tables, and is never held while anything waits.
"""

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from peer.mount import protocol
from peer.mount.backing import LEAST, Backings
from peer.mount.protocol import Op, Open, Request, fixed
from peer.mount.stage import PLAYED
from peer.mount.table import Known, Stale, Table
from peer.swarm.pending import Parts
from peer.vfs import Handle, Node, Vfs

Write = Callable[[bytes, Parts], object]
"""Gives the kernel an answer: its head, and data of which there may be none."""
_SENT_BACK = 4096


@dataclass(eq=False)
class OpenFile:
    """A handle, and the node that it was opened by."""

    handle: Handle
    known: Known
    backing: int
    """Its backing's id, 0 if it has none."""


@dataclass(eq=False)
class Parked:
    """A request that waits. `forget` is called when it is interrupted."""

    forget: Callable[[], None] = field(default=lambda: None)


class Files:
    """Those that are open, and what waits. `calls`: the requests that are answered here, by `write` or `fail`."""

    def __init__(
        self,
        vfs: Vfs,
        table: Table,
        lock: threading.Lock,
        write: Write,
        fail: Callable[[int, BaseException, str], None],
        later: Callable[[Callable[[], object]], object],
        give_way: Callable[[], None],
    ) -> None:
        """`fail` answers a request that failed, `later` has something done by another thread that may wait,
        `give_way` is called before the disk is asked."""
        self._vfs, self._table, self._lock = vfs, table, lock
        self._write, self._fail, self._later, self._give_way = write, fail, later, give_way
        self._open: dict[int, OpenFile] = {}
        self._parked: dict[int, Parked] = {}
        self._sent_back: OrderedDict[tuple[int, int], None] = OrderedDict()
        self._numbers = count(1)
        self.backings: Backings | None = None
        """Set before the first OPEN, where files can be passed through."""
        self.calls: dict[int, Callable[[Request], None]] = {
            Op.OPEN: self._begin,
            Op.READ: self._read,
            Op.RELEASE: self._release,
            Op.INTERRUPT: self._interrupt,
        }

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def close(self) -> None:
        """Closes what is open; nothing is asked any more."""
        with self._lock:
            files, self._open = list(self._open.values()), {}
            self._parked.clear()
        for file in files:
            file.handle.close()

    def _begin(self, request: Request) -> None:
        flags, _ = fixed(protocol.OPEN_IN, request.body)
        known, unique = self._table.known(request.node), request.unique
        node = self._table.shown(known)
        if node is None:
            node = known.node
            if node is None or not self._comes_back(request.pid, known.id):
                raise Stale
        if not self._vfs.open_waits(node):
            self._write(protocol.answer(unique, self._bind(known, node, flags)), ())
            return
        self._park(unique)

        def bind() -> None:
            try:
                body = self._bind(known, node, flags)
            except BaseException as error:  # noqa: BLE001 - who asked would hang
                if self._unpark(unique):
                    self._fail(unique, error, known.path)
                return
            if self._unpark(unique):
                self._write(protocol.answer(unique, body), ())
            else:
                number, *_ = protocol.OPEN_OUT.unpack(body)
                self._close(number)

        self._later(bind)

    def _comes_back(self, pid: int, node: int) -> bool:
        """Who asks for an old version twice has a descriptor of it: a path leads elsewhere the second time."""
        with self._lock:
            if (pid, node) in self._sent_back:
                del self._sent_back[pid, node]
                return True
            self._sent_back[pid, node] = None
            if len(self._sent_back) > _SENT_BACK:
                self._sent_back.popitem(last=False)
            return False

    def _bind(self, known: Known, node: Node, flags: int) -> bytes:
        again = self._reopen(known, node, flags)
        handle = again or self._open_anew(node, flags)
        number = next(self._numbers)
        with self._lock:
            same = not known.handles or known.handles[-1].source == handle.source
            if same:
                backing = self.backings.take(known, handle) if self.backings is not None else 0
                known.handles, known.node = (*known.handles, handle), node
                self._open[number] = OpenFile(handle, known, backing)
        if not same:  # a file on this disk that was replaced, and the index does not know: another node
            handle.close()
            self._table.renew(known)
            raise Stale
        if (handle.follows and again is None) or self._vfs.open_waits(node):
            self._write(protocol.inval_inode(known.id, -1), ())  # what the kernel believes of it may be wrong
        if backing:
            known.pages, known.seen = False, handle.seen if handle.follows else None
            return protocol.OPEN_OUT.pack(number, Open.PASSTHROUGH, backing)
        if handle.direct:
            return protocol.OPEN_OUT.pack(number, Open.DIRECT_IO, 0)
        keep, known.unsettled, known.seen = not known.unsettled, False, handle.seen
        known.pages = self._vfs.attributes(node).size >= LEAST
        return protocol.OPEN_OUT.pack(number, Open.KEEP_CACHE if keep else 0, 0)

    def _reopen(self, known: Known, node: Node, flags: int) -> Handle | None:
        """The file as it was open before, if it is one's own, or the kernel may have all of it in its cache."""
        seen = known.seen
        if seen is None or known.unsettled or flags & os.O_ACCMODE:
            return None
        passed = self.backings is not None and not self.backings.why_not
        if passed and not seen.own and self._vfs.attributes(node).size >= LEAST:
            return None
        if seen.own:
            self._give_way()
        return self._vfs.reopen(node, seen)

    def _open_anew(self, node: Node, flags: int) -> Handle:
        if (ready := self._vfs.open_ready(node, flags)) is not None:
            return ready
        self._give_way()
        return self._vfs.open(node, flags)

    def _read(self, request: Request) -> None:
        number, offset, size, *_ = fixed(protocol.READ_IN, request.body)
        unique, file = request.unique, self._open[number]
        handle = file.handle
        if not handle.quick:
            self._give_way()
        if handle.fd >= 0:
            data = os.pread(handle.fd, size, offset)
            if len(data) < size:
                handle.check_end(offset + len(data))
            self._write(protocol.data_head(unique, len(data)), (data,))
            return
        parked = self._park(unique)

        def done(parts: Parts, error: BaseException | None) -> None:
            if not self._unpark(unique):
                return
            if error is None:
                self._write(protocol.data_head(unique, sum(map(len, parts))), parts)
            else:
                self._fail(unique, error, file.known.path)

        pending = handle.begin(offset, size, done)
        if pending is not None:
            parked.forget = pending.forget

    def _release(self, request: Request) -> None:
        number, *_ = fixed(protocol.RELEASE_IN, request.body)
        if number != PLAYED:
            self._close(number)
        self._write(protocol.answer(request.unique), ())

    def _close(self, number: int) -> None:
        with self._lock:
            file = self._open.pop(number)
            file.known.handles = tuple(handle for handle in file.known.handles if handle is not file.handle)
            if not file.known.handles:
                file.known.node = None
            if file.backing and self.backings is not None:
                self.backings.give_back(file.known)
        if not file.handle.direct and not file.handle.settled:
            file.known.unsettled = True  # what was read may have been something else
        file.handle.close()
        if file.known.behind and not file.known.handles:
            file.known.behind = False
            self._write(protocol.inval_inode(file.known.id, -1), ())
        if file.known.pages and not file.known.handles:
            self._later(lambda: self.free_pages(file.known))

    def free_pages(self, known: Known) -> None:
        """Has the kernel free what it caches of a file that will be passed through from now on.

        It would when the file is opened, and keep the program that opens it waiting meanwhile.
        """
        if not known.pages or known.handles or self.backings is None or self.backings.why_not:
            return
        node = self._table.shown(known)
        if node is None or not self._vfs.is_here(node):
            return
        known.pages = False
        self._write(protocol.inval_inode(known.id, 0), ())

    def _park(self, unique: int) -> Parked:
        parked = Parked()
        with self._lock:
            self._parked[unique] = parked
        return parked

    def _unpark(self, unique: int) -> bool:
        """Whether it still waits to be answered; from now on it does not."""
        with self._lock:
            return self._parked.pop(unique, None) is not None

    def _interrupt(self, request: Request) -> None:
        (unique,) = fixed(protocol.INTERRUPT_IN, request.body)
        with self._lock:
            parked = self._parked.pop(unique, None)
        if parked is None:
            # It is being answered just now, or it was not read yet: the kernel asks again while it waits.
            self._write(protocol.failure(request.unique, errno.EAGAIN), ())
            return
        parked.forget()
        self._write(protocol.failure(unique, errno.EINTR), ())
