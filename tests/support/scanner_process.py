"""The scanner as the process it is, with a test at the peer's end of its channel."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Container
from pathlib import Path

from peer.layout import Layout
from peer.messages import Kept, Message, Opened, ToPeer
from peer.process import Channel
from peer.share.local import unchanged
from peer.share.rows import COLUMNS, IndexReader, row_of
from shoal.manifest import manifest_of
from shoal.wire import Digest
from tests.support.patience import until
from tests.support.share_by_hand import ME


class ScannerProcess:
    """A scanner of `local`. Use as a context manager; it has said `Opened` then."""

    def __init__(self, local: Path, scrub_every: float = 0.0) -> None:
        self.layout = Layout(local)
        self.said: list[Message] = []
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "peer.share.scanner", str(local), ME, str(scrub_every)]
            self.process = subprocess.Popen(command, stdin=theirs.fileno(), cwd=Path(__file__).parents[2])
        self.channel: Channel[Message, Message] = Channel(ours, ToPeer)
        self._thread = threading.Thread(target=self._listen, name="scanner-test")
        self._thread.start()
        until(lambda: self.of(Opened) or self.process.poll() is not None, 20, "the scanner opens")
        assert self.of(Opened), "the scanner ended"
        self.index = IndexReader(self.layout.index)

    def _listen(self) -> None:
        while (message := self.channel.receive()) is not None:
            self.said.append(message)

    def of(self, kind: type) -> list:
        """The messages of one type."""
        return [message for message in self.said if isinstance(message, kind)]

    def send(self, message: Message) -> None:
        """Sends a message."""
        self.channel.send(message)

    def kept(self, count: int, seconds: float = 30) -> list[Kept]:
        """Waits for that many answers to keeps."""
        until(lambda: len(self.of(Kept)) >= count, seconds, f"{count} are kept")
        return self.of(Kept)

    def listed(self) -> dict[str, tuple[str, str]]:
        """path → (kind, cid) of the announced list."""
        return {row.path: (row.kind, row.cid) for page in self.index.listed() for row in page}

    def becomes(self, expected: dict[str, tuple[str, bytes]], seconds: float = 20) -> None:
        """Waits until exactly these files are listed: path → (kind, content)."""
        wanted = {path: (kind, manifest_of(data).cid) for path, (kind, data) in expected.items()}
        try:
            until(lambda: self.listed() == wanted, seconds, "the list is as expected")
        except AssertionError:
            assert self.listed() == wanted
            raise

    def kill(self) -> None:
        """kill -9."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(20)

    def stop(self) -> int:
        """Closes the channel and returns the exit code."""
        self.channel.close()
        code = self.process.wait(20)
        self._thread.join(20)
        self.index.close()
        return code

    def __enter__(self) -> "ScannerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None and self.process.stdin is None:
            self.process.kill()
        self.stop()


def check_list(local: Path, users: Container[str] = ()) -> None:
    """Fails if the digest is not that of the list, or a listed file is not whole.

    Only files of which the test as a user changed the content may be others than the index says; `users` names
    those that stand where a copy stood, and of which the index need not know yet.
    """
    layout, digest = Layout(local), Digest()
    database = sqlite3.connect(f"file:{layout.index}?mode=ro", uri=True, isolation_level=None)
    try:
        database.execute("BEGIN")  # one snapshot: the scanner may be at work
        rows = [row_of(values) for values in database.execute(f"SELECT {COLUMNS} FROM rows")]
        manifests = {cid for (cid,) in database.execute("SELECT cid FROM manifests")}
        ((told,),) = database.execute("SELECT value FROM meta WHERE key = 'digest'")
    finally:
        database.close()
    for row in filter(lambda row: row.announced, rows):
        digest.add(row.item())
        if not row.is_file:
            continue
        file = local / row.disk if row.place == "local" else layout.copies / row.cid
        if unchanged(row, os.lstat(file)):
            assert manifest_of(file.read_bytes()).cid == row.cid, row
        else:
            assert row.path in users, row
        assert row.cid in manifests
    assert told == str(digest)
