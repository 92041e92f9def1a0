"""A share with its index, made by hand: what the scanner would have written, without a scanner."""

import itertools
import json
import os
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from peer.data.content import Contents
from peer.data.handler import Limits
from peer.data.server import DataServer
from peer.layout import Layout
from peer.messages import Limit
from peer.share.rows import COLUMNS, SCHEMA
from shoal.manifest import Manifest, ManifestBuilder
from shoal.wire import encode

NAME = "lab2"
HTTP_URL = "http://127.0.0.1:9"


class Share:
    """LOCAL with files and their rows."""

    def __init__(self, local: Path) -> None:
        self.layout = Layout(local)
        self.layout.make()
        self._sequence = itertools.count(1)
        with self._db() as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.executescript(SCHEMA)

    @contextmanager
    def _db(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.layout.index)) as db, db:
            yield db

    def add(self, path: str, data: bytes = b"", place: str = "local", kind: str = "own") -> Manifest:
        """Writes a file and lists it."""
        manifest = manifest_in_slices(data)
        file = self.layout.local / path if place == "local" else self.layout.copies / manifest.cid
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        self.list(path, manifest, file, place, kind)
        return manifest

    def list(self, path: str, manifest: Manifest, file: Path, place: str = "local", kind: str = "own") -> None:
        """The row of a file as it is on disk now, and its manifest."""
        self.put(path, manifest, os.lstat(file), place, kind)

    def put(
        self,
        path: str,
        manifest: Manifest,
        st: os.stat_result,
        place: str = "local",
        kind: str = "own",
        state: str = "ok",
    ) -> None:
        """The row of a file with this status."""
        disk = path if place == "local" else ""
        x = int(bool(st.st_mode & 0o100))
        row = (path, manifest.cid, kind, manifest.size, st.st_mtime_ns, manifest.sha1, x, "", json.dumps({}))
        row += (next(self._sequence), place, disk, st.st_dev, st.st_ino, st.st_ctime_ns, state, 0)
        with self._db() as db:
            db.execute("DELETE FROM rows WHERE path = ?", (path,))
            db.execute(f"INSERT INTO rows ({COLUMNS}) VALUES ({', '.join('?' * len(row))})", row)
            db.execute("INSERT OR REPLACE INTO manifests VALUES (?, ?)", (manifest.cid, manifest.encode()))


def manifest_in_slices(data: bytes) -> Manifest:
    """The manifest of bytes at hand."""
    builder = ManifestBuilder(len(data))
    builder.update(data)
    return builder.finish()


def listening() -> socket.socket:
    """A listening socket on a free port of 127.0.0.1."""
    return socket.create_server(("127.0.0.1", 0), backlog=512)


@contextmanager
def serving(share: Share, limits: Limits = Limits(), openat2: bool = True) -> Iterator[tuple[int, DataServer]]:
    """(port, server): a data server in threads of this process."""
    contents = Contents(share.layout)
    files = contents._share()[1]
    files._root._openat2 = openat2
    with listening() as sock:
        server = DataServer(sock, contents, encode({"ok": True, "name": NAME, "http": HTTP_URL}), limits)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield sock.getsockname()[1], server
        finally:
            server.shutdown()
            thread.join()
            server.close()
            contents.close()


@dataclass
class ServerProcess:
    """A running data server and our end of its channel."""

    process: subprocess.Popen[bytes]
    channel: socket.socket


@contextmanager
def server_process(share: Share, sock: socket.socket) -> Iterator[ServerProcess]:
    """The real process, on an inherited listening socket; killed at the end if it still runs."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "peer.data.server", str(share.layout.local), str(sock.fileno()), NAME, HTTP_URL]
    with ours, theirs:
        process = subprocess.Popen(command, stdin=theirs.fileno(), pass_fds=[sock.fileno()])
        theirs.close()
        try:
            body = msgspec.msgpack.encode(Limit(0, 200))
            ours.sendall(struct.pack("<I", len(body)) + body)  # as the peer does first
            yield ServerProcess(process, ours)
        finally:
            process.kill()
            process.wait()
