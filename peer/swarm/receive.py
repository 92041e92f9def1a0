"""A run of pieces off one holder: each piece is hashed while it comes in, and is verified before anybody has it."""

import hashlib
import time
from collections.abc import Callable

from peer.swarm.counters import Counters
from peer.swarm.pieces import VerifiedPiece
from peer.swarm.plan import Run
from peer.swarm.source import Body, Source, by_cid
from shoal.errors import Lied
from shoal.manifest import Manifest

SLICE = 256 << 10
"""Bytes hashed at a time, while they are in the CPU's cache, and not fewer: each time costs a hand-over of the
interpreter to another thread, and a slow line brings a few KB at a time."""


class Receiver:
    """Receives runs of one content, into buffers that are used again.

    Threading: any thread; each piece under way has a buffer of its own.
    """

    def __init__(self, manifest: Manifest, counters: Counters) -> None:
        self._manifest, self._counters = manifest, counters
        self._buffers: list[memoryview] = []

    def give_back(self, piece: VerifiedPiece) -> None:
        """The piece's bytes are not needed any more: others come to stand in their place."""
        self._buffers.append(memoryview(piece.data.obj))

    def receive(
        self,
        run: Run,
        source: Source,
        say: bytes,
        begun: Callable[[Body], None],
        arrived: Callable[[Run, VerifiedPiece], None],
    ) -> None:
        """Fetches the run. Pieces that arrived before an error are given to `arrived` all the same.

        `say` goes with the request; `begun` is told of the answer's body before it is read. Who is given a piece gives
        it back some time.

        Raises:
            Lied: a piece is wrong; nothing after it was read.
            RemoteError: see `Source.get`.
        """
        manifest = self._manifest
        first, (last, length) = run.first * manifest.piece, manifest.span(run.end - 1)
        with source.get(by_cid(manifest.cid), first, last + length, manifest.size, say) as body:
            begun(body)
            for number in range(run.first, run.end):
                length = manifest.span(number)[1]
                view = self._buffers.pop() if self._buffers else memoryview(bytearray(manifest.piece))
                digest = hashlib.sha1(usedforsecurity=False)
                done = hashed = 0
                while done < length:
                    got = body.readinto(view[done : min(done + SLICE, length)])
                    done += got
                    run.heard, run.bytes = time.monotonic(), run.bytes + got
                    if done - hashed >= SLICE or done == length:
                        digest.update(view[hashed:done])
                        hashed = done
                if digest.digest() != manifest.hash_of(number):
                    raise Lied(f"{source.name} sent a wrong piece {number} of {manifest.cid[:12]}")
                self._counters.fetched(source.name, length)
                arrived(run, VerifiedPiece(manifest.cid, number, view[:length]))
