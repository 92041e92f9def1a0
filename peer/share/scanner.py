"""The scanner's process: `python -m peer.share.scanner LOCAL PEER_ID SECONDS`.

    survey   walks, watches, hashes; keeps the index true to the disk
    keeper   keeps downloads, and does what the peer asks
    scrub    reads again what is kept, all of it in SECONDS (0: only when asked)
    index    written by both, in short transactions

It starts by ending what a crash interrupted, says `Opened`, and then `Changed`
after commits, a few of them together. It ends when the peer's end of the
channel does, or when one of its threads fails; then the peer starts it again.
"""

import logging
import os
import sqlite3
import sys
import threading
import time
import traceback
from pathlib import Path

from peer.beneath import Beneath
from peer.layout import Layout
from peer.messages import Changed, EndScrub, Message, Opened, Rescan, Scrub, ToScanner
from peer.process import Channel, channel_to_peer
from peer.share.adopt import adopt
from peer.share.index import Index
from peer.share.keep import Keeper
from peer.share.survey import Survey

COALESCE = 0.02
"""Seconds for which commits are gathered before the peer is told."""
log = logging.getLogger(__name__)


def open_index(layout: Layout) -> Index:
    """The share's index; one that is no database any more is put aside, and made anew from the disk."""
    try:
        return Index(layout.index)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        kept = layout.quarantine / f"index.{time.time_ns()}"
        log.error("the index cannot be read (%s); it is now %s, and a new one is made", error, kept)
        for suffix in ("-wal", "-shm"):
            layout.index.with_name(layout.index.name + suffix).unlink(missing_ok=True)
        layout.index.rename(kept)
        return Index(layout.index)


class Scanner:
    """The process's parts, wired."""

    def __init__(self, layout: Layout, peer: str, scrub_every: float, channel: Channel[object, object]) -> None:
        layout.make()
        self._channel, self._peer = channel, peer
        self._commits = threading.Event()
        self._stopping = False
        self._root = Beneath(layout.local)
        self._index = open_index(layout)
        self._index.on_commit = self._commits.set
        self._survey = Survey(self._root, self._index, peer, self._say, lambda cid: self._keeper.released(cid))
        self._keeper = Keeper(layout, self._root, self._index, peer, self._say, self._survey.look, scrub_every)
        self._teller = threading.Thread(target=self._tell, name="tell", daemon=True)

    def run(self) -> None:
        """Works until the peer's end of the channel closes."""
        self._keeper.recover()
        adopt(self._index, self._peer)
        self._say(Opened())
        self._teller.start()
        self._keeper.start()
        self._survey.start()
        while (message := self._channel.receive()) is not None:
            if isinstance(message, Rescan):
                self._survey.rescan(self._disk(message.path))
            elif isinstance(message, (Scrub, EndScrub)):
                self._keeper.scrubber.ask(message)
            else:
                self._keeper.put(message)  # type: ignore[arg-type]
        self._stop()

    def _disk(self, path: str) -> str:
        return next((row.disk for row in self._index.at(path) if row.place == "local"), path)

    def _stop(self) -> None:
        self._stopping = True
        self._commits.set()
        self._survey.stop()
        self._keeper.stop()
        self._teller.join()
        self._index.close()
        self._root.close()

    def _say(self, message: Message) -> None:
        try:
            self._channel.send(message)
        except OSError:
            log.debug("the peer is gone")  # `receive` ends, and with it the process

    def _tell(self) -> None:
        while not self._stopping:
            self._commits.wait()
            time.sleep(COALESCE)
            self._commits.clear()
            self._say(Changed(self._index.sequence))


def _end(failure: threading.ExceptHookArgs) -> None:
    """A thread's failure is the process's: half a scanner would be worse than a new one."""
    traceback.print_exception(failure.exc_type, failure.exc_value, failure.exc_traceback)
    os._exit(1)


def main() -> None:
    """The process. Arguments: LOCAL, the peer's id, and the seconds of a scrub's pass."""
    channel = channel_to_peer(ToScanner)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    threading.excepthook = _end
    Scanner(Layout(Path(sys.argv[1])), sys.argv[2], float(sys.argv[3]), channel).run()


if __name__ == "__main__":
    main()
