"""Where the bytes of a path or of a content id are: whole files of the share, pieces of downloads under way.

Nothing is opened by the name that was asked for: the name is looked up in the index, and what the index says is
opened beneath the share's root.
"""

import base64
import logging
import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from typing import Self

from peer import bitmap
from peer.layout import Layout
from peer.share.local import LocalFiles, OpenFile
from peer.share.rows import IndexReader
from peer.swarm.pieces import PiecesReader
from shoal.errors import Busy, Gone, LocalError
from shoal.manifest import piece_count

_LINES = 256
"""Bytes that hold all lines of a manifest before the pieces' hashes."""
_DIGESTS = 16384
"""How many contents' SHA-256 are remembered: some 3 MB."""
log = logging.getLogger(__name__)


class NotHere(Exception):
    """Nothing of that name, or not those bytes."""


@dataclass(slots=True)
class Content:
    """Bytes that can be sent: `fd` is a file of `size` bytes, all of it, or sparse with some of its pieces.

    `digest` is the base64 SHA-256 of the whole, `modified` an HTTP date, or empty for a download. To be closed.
    """

    cid: str
    fd: int
    size: int
    digest: str
    modified: str
    _source: OpenFile | PiecesReader

    def covers(self, offset: int, length: int) -> bool:
        """Whether those bytes are here."""
        return isinstance(self._source, OpenFile) or self._source.covers(offset, length)

    def pieces(self) -> int:
        """The pieces that are here, as in `peer.bitmap`."""
        if isinstance(self._source, OpenFile):
            return bitmap.span(0, piece_count(self.size))
        return bitmap.of_flags(self._source.flags())

    def pieces_around(self, number: int) -> int:
        """The same, but of very many pieces only some thousands around this one. Of a download."""
        assert isinstance(self._source, PiecesReader)
        return self._source.pieces_around(number)

    def want(self) -> tuple[int, int]:
        """The pieces first ≤ n < end that this peer's readers want next; (0, 0): none. Raises OSError."""
        return (0, 0) if isinstance(self._source, OpenFile) else self._source.want()

    @property
    def lasting(self) -> bool:
        """Whether it may be used for as long as it is `still` so: a whole file, and no download under way."""
        return isinstance(self._source, OpenFile)

    def still(self) -> bool:
        """Whether the file is unchanged, so that what was read from it before is right.

        A checked piece never changes. (When the last one is there the file moves into the share, where its user may
        change it while an answer is under way: the reader, who checks each piece, finds that.)
        """
        return not isinstance(self._source, OpenFile) or self._source.still()

    def close(self) -> None:
        """Gives the descriptors back."""
        if isinstance(self._source, OpenFile):
            os.close(self.fd)
        else:
            self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Contents:
    """Finds contents.

    Raises (all methods):
        NotHere: there is none.
        Gone: there was one, but its file changed since it was announced.
        Busy: the index is not ready, or the file is just being moved: soon.
        LocalError: the index or the disk is broken.

    Threading: any thread. One lock guards the making of the index's reader, another the remembered digests.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._index: IndexReader | None = None
        self._files: LocalFiles | None = None
        self._digests: OrderedDict[str, str] = OrderedDict()
        self._digests_lock = threading.Lock()

    def close(self) -> None:
        """Closes the index's reader and the share's root."""
        with self._lock:
            if self._files is not None and self._index is not None:
                self._files.close()
                self._index.close()
            self._index = self._files = None

    def at(self, path: str) -> Content:
        """The file announced at this path, byte for byte."""
        with _errors():
            index, files = self._share()
            found = files.open_path(path)
            if found is None:
                raise NotHere(f"no file is announced at this path: {path}")
            return self._whole(index, found)

    def of(self, cid: str) -> Content:
        """The content: a whole file, else what is here of a download."""
        with _errors():
            index, files = self._share()
            found = files.open(cid)
            if found is not None:
                return self._whole(index, found)
            pieces = PiecesReader.open(self._layout, cid)
            if pieces is not None:
                return _partial(cid, pieces)
            raise _why_not(index, cid)

    def stands(self, content: Content) -> bool:
        """Whether a content that is open may still be given: its file is unchanged, and was not found rotten."""
        if not isinstance(content._source, OpenFile):
            return True
        with _errors():
            row = content._source.row
            rows = self._share()[0].at(row.path)
            return content.still() and any(now.cid == row.cid and now.announced for now in rows)

    def manifest(self, cid: str) -> bytes:
        """The manifest of a content that is here, whole or in part."""
        with _errors():
            index, _ = self._share()
            body = index.manifest(cid)
            if body is not None:
                return body
            pieces = PiecesReader.open(self._layout, cid)
            if pieces is None:
                raise _why_not(index, cid)
            try:
                return pieces.manifest()
            finally:
                pieces.close()

    def several(self, cids: Sequence[str], longest: int, most: int) -> list[bytes | None]:
        """The bytes of these contents, as far as they are whole here, each has at most `longest`, all at most `most`.

        None for what is not; that one is not here, changed, or cannot be read, is no error.
        """
        with _errors():
            _, files = self._share()
            given: list[bytes | None] = []
            for found in files.open_each(cids):
                data = _read(found, min(longest, most)) if found is not None else None
                most -= len(data or b"")
                given.append(data)
            return given

    def _share(self) -> tuple[IndexReader, LocalFiles]:
        index, files = self._index, self._files
        if index is None or files is None:
            with self._lock:
                index, files = self._index, self._files
                if index is None or files is None:
                    index = IndexReader(self._layout.index)
                    files = LocalFiles(self._layout, index)
                    self._index, self._files = index, files
        return index, files

    def _whole(self, index: IndexReader, found: OpenFile) -> Content:
        try:
            digest = self._digest(index, found.row.cid)
        except BaseException:
            os.close(found.fd)
            raise
        modified = _date(found.row.mtime // 1_000_000_000)
        return Content(found.row.cid, found.fd, found.row.size, digest, modified, found)

    def _digest(self, index: IndexReader, cid: str) -> str:
        """The base64 SHA-256 that the manifest names; remembered, for a cid's never changes."""
        with self._digests_lock:
            digest = self._digests.get(cid)
            if digest is not None:
                self._digests.move_to_end(cid)
                return digest
        body = index.manifest(cid)
        if body is None:
            raise NotHere("the file's manifest is not here")
        digest = _digest_in(body)
        with self._digests_lock:
            self._digests[cid] = digest
            if len(self._digests) > _DIGESTS:
                self._digests.popitem(last=False)
        return digest


def _read(found: OpenFile, most: int) -> bytes | None:
    """All of a file of at most so many bytes, if it can be read and did not change until it was; closes it."""
    try:
        if found.row.size > most:
            return None
        data = os.pread(found.fd, found.row.size, 0)
        return data if len(data) == found.row.size and found.still() else None
    except OSError as error:  # its disk is broken there: the others are given all the same
        log.debug("a file of a batch cannot be read: %s", error)
        return None
    finally:
        os.close(found.fd)


def _partial(cid: str, pieces: PiecesReader) -> Content:
    try:
        return Content(cid, pieces.fd, pieces.size, _digest_in(pieces.manifest_head()), "", pieces)
    except BaseException:
        pieces.close()
        raise


def _digest_in(manifest: bytes) -> str:
    """The base64 SHA-256 of the whole file that is named in a manifest's head."""
    head = manifest[:_LINES].partition(b"\n\n")[0]
    return base64.b64encode(bytes.fromhex(head.rpartition(b"sha256 ")[2].decode())).decode()


def _why_not(index: IndexReader, cid: str) -> Exception:
    """What to say when a content can be opened neither whole nor in part."""
    rows = index.of(cid)
    if any(row.state == "moving" for row in rows):
        return Busy("the file is being moved into the share")
    return Gone("the file changed since it was announced") if rows else NotHere("nothing of this content is here")


@lru_cache(4096)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


@contextmanager
def _errors() -> Iterator[None]:
    """Turns the index's and the disk's errors into those of `Contents`."""
    try:
        yield
    except sqlite3.OperationalError as error:  # no file or no table yet, or a lock
        raise Busy(f"the index is not ready: {error}") from error
    except (sqlite3.Error, OSError) as error:
        raise LocalError(f"the index or the disk is broken: {error}") from error
