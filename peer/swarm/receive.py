"""A run of pieces off one holder: each piece is hashed while it comes in, and is verified before anybody has it."""

import hashlib
import time
from collections.abc import Callable

from peer.swarm.counters import Counters
from peer.swarm.pieces import VerifiedPiece
from peer.swarm.plan import Run
from peer.swarm.source import Source, by_cid
from shoal.errors import Lied
from shoal.manifest import Manifest

SLICE = 256 << 10
"""Bytes hashed at a time, while they are in the CPU's cache."""


class Receiver:
    """Receives runs of one content, into buffers that are used again.

    Threading: any thread; each run in progress has a buffer of one piece of its own.
    """

    def __init__(self, manifest: Manifest, counters: Counters, arrived: Callable[[VerifiedPiece], None]) -> None:
        """`arrived` is given each piece; its bytes are overwritten after that returns."""
        self._manifest, self._counters, self._arrived = manifest, counters, arrived
        self._buffers: list[bytearray] = []

    def receive(self, run: Run, source: Source) -> None:
        """Fetches the run. Pieces that arrived before an error are given to `arrived` all the same.

        Raises:
            Lied: a piece is wrong; nothing after it was read.
            RemoteError: see `Source.get`.
        """
        manifest = self._manifest
        first, (last, length) = run.first * manifest.piece, manifest.span(run.end - 1)
        buffer = self._buffers.pop() if self._buffers else bytearray(manifest.piece)
        try:
            with source.get(by_cid(manifest.cid), first, last + length, manifest.size) as body:
                view = memoryview(buffer)
                for number in range(run.first, run.end):
                    length = manifest.span(number)[1]
                    digest = hashlib.sha1(usedforsecurity=False)
                    done = 0
                    while done < length:
                        part = view[done : min(done + SLICE, length)]
                        got = body.readinto(part)
                        digest.update(part[:got])
                        done += got
                        run.heard = time.monotonic()
                    if digest.digest() != manifest.hash_of(number):
                        raise Lied(f"{source.name} sent a wrong piece {number} of {manifest.cid[:12]}")
                    self._arrived(VerifiedPiece(manifest.cid, number, view[:length]))
                    self._counters.fetched(source.name, length)
        finally:
            self._buffers.append(buffer)
