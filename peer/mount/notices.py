"""What the kernel is told unasked: to forget what is not so any more.

Threading: one thread sends, and holds no lock while it does: the kernel may make it wait until a request is answered.
"""

import logging
import threading
from collections.abc import Callable

from peer.catalogue.difference import Difference
from peer.mount import protocol
from peer.mount.table import Known, Table

log = logging.getLogger(__name__)


class Notices:
    """Tells the kernel about paths that changed; what changes meanwhile is told together."""

    def __init__(
        self,
        table: Table,
        write: Callable[[bytes], bool],
        free_pages: Callable[[Known], None],
        told: Callable[[Difference], None] = lambda difference: None,
    ) -> None:
        """`free_pages` frees what is cached of a file, if it is of no use any more. `told` hears of each change when
        the table knows what it shows now, and what it showed before.
        """
        self._table, self._write, self._free_pages, self._told = table, write, free_pages, told
        self._changed = threading.Condition()
        self._pending = Difference()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="mount-notices", daemon=True)

    def start(self) -> None:
        """Begins to tell."""
        self._thread.start()

    def changed(self, difference: Difference) -> None:
        """Something else may be shown there now. Quick."""
        with self._changed:
            self._pending.follow(difference)
            self._changed.notify()

    def close(self) -> None:
        """Tells nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._pending and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                difference, self._pending = self._pending, Difference()
            try:
                self._tell(set(difference.paths))
                self._told(difference)
            except Exception:  # without this thread nothing new would ever show
                log.exception("the kernel could not be told of changes")

    def _tell(self, paths: set[str]) -> None:
        told = self._table.review(paths)
        for parent, name in told.entries:
            self._write(protocol.inval_entry(parent, name))
        for known in told.attributes:
            self._write(protocol.inval_inode(known.id, -1))
        for node in told.directories:
            self._write(protocol.inval_inode(node, 0))
        for known in told.attributes:
            self._free_pages(known)
