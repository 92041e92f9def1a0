"""What the http port can have done with what is kept: `warm` and `scrub`; and what follows from what a scrub found.

A scrub has three parts: the scanner reads again what is whole, a thread here the pieces of downloads, and copies that
were rotten are fetched again. So does a pass that nobody asked for.

Threading: any thread may call anything; a lock guards the scrubs and what was found.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from peer.catalogue.catalogue import Catalogue
from peer.catalogue.tree import File
from peer.layout import Layout
from peer.messages import EndScrub, Kept, Rotten, Scrub, Scrubbed, Scrubbing
from peer.priority import Patience, give_way
from peer.share.check import Disk
from peer.share.rounds import rest
from peer.share.rows import IndexReader
from peer.swarm import Swarm
from peer.swarm.recheck import downloads, recheck
from peer.warm.jobs import Job, Jobs, new_name
from peer.warm.line import Wanted
from peer.warm.warm import Run, Warm, wanted
from shoal.errors import Busy, DataError, Gone, LocalError
from shoal.names import printable, safe_path
from shoal.wire import Entry, Owner

PATHS = 1000
"""Paths of one `warm` at most."""
PAGE = 200
"""Failures in one answer."""
FOUND = 1000
"""Rotten files that are remembered by name."""
OWN = "yours: it is given to nobody until it changes; mend it, or remove it and the copies of others are read"
log = logging.getLogger(__name__)


class Found:
    """Something rotten, and what became of it."""

    def __init__(self, job: str, kind: str, path: str, why: str, outcome: str) -> None:
        self.job, self.kind, self.path, self.why, self.outcome = job, kind, path, why, outcome
        self.open = kind == "copy"

    def told(self) -> dict[str, str]:
        """As it is shown."""
        return {"path": self.path, "kind": self.kind, "why": self.why, "outcome": self.outcome}


class WarmJob(Job):
    """A run that somebody waits for."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def progress(self, after: int) -> dict[str, Any]:
        """See `Job.progress`."""
        done, tally, now = self._run.done.is_set(), self._run.tally, time.monotonic()
        page = tally.failures[after : after + PAGE]
        return {
            "done": done,
            "files": tally.files,
            "files_total": tally.files_total,
            "bytes": tally.bytes,
            "bytes_total": tally.bytes_total,
            "counted": tally.counted,
            "here": tally.here,
            "failures": tally.failed,
            "failed": [{"path": failure.path, "why": failure.why} for failure in page],
            "next": after + len(page),
            "rate": tally.rate(now),
            "left": tally.left(now),
        }

    def cancel(self) -> None:
        """See `Job.cancel`."""
        self._run.cancel()


class ScrubJob(Job):
    """A scrub that somebody waits for."""

    def __init__(self, name: str, path: str, files: int, size: int, end: Callable[[str], object]) -> None:
        self.name, self.path = name, path
        self.whole = Scrubbing(name, 0, files, 0, size, 0, False)
        self.pieces = self.piece_bytes = 0
        self.rechecked = False
        self.found: list[Found] = []
        self.cancelled = threading.Event()
        self._began, self._end = time.monotonic(), end

    def progress(self, after: int) -> dict[str, Any]:
        """See `Job.progress`."""
        whole, found = self.whole, list(self.found)
        done = whole.done and self.rechecked and not any(rotten.open for rotten in found)
        read = whole.bytes + self.piece_bytes
        rate = read / max(0.05, time.monotonic() - self._began)
        page = found[after : after + PAGE] if done else []  # what becomes of them is not known before
        return {
            "done": done,
            "files": whole.files,
            "files_total": whole.files_total,
            "bytes": read,
            "bytes_total": max(read, whole.bytes_total + self.piece_bytes),
            "pieces": self.pieces,
            "changed": whole.changed,
            "failures": len(found),
            "failed": [rotten.told() for rotten in page],
            "next": after + len(page),
            "rate": rate,
            "left": max(0, whole.bytes_total - whole.bytes) / rate if read and not done else None,
        }

    def cancel(self) -> None:
        """See `Job.cancel`."""
        self.cancelled.set()
        self._end(self.name)


class Care:
    """Warms and scrubs."""

    def __init__(
        self,
        catalogue: Catalogue,
        index: IndexReader,
        layout: Layout,
        swarm: Swarm,
        state: Callable[[str, Entry], str],
        send: Callable[[Scrub | EndScrub], bool],
    ) -> None:
        """`state` says whether a version is "here"; `send` tells the scanner something, False if it is not there."""
        self._catalogue, self._index, self._layout, self._swarm = catalogue, index, layout, swarm
        self._send = send
        self.jobs = Jobs()
        self.warm = Warm(
            lambda wanted: swarm.open(wanted.path, wanted.entry, waited_for=False),
            state,
            swarm.keeping,
            swarm.foreground.busy,
        )
        self._lock = threading.Lock()
        self._scrubs: dict[str, ScrubJob] = {}
        self._found: deque[Found] = deque(maxlen=FOUND)
        self._rotten = 0
        self._scrubbed = Scrubbed(0, 0, 0, 0, 0.0, 0.0)
        self._before = (0, 0)
        self._pieces = 0
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    def close(self) -> None:
        """Ends everything that is under way."""
        self._closing.set()
        self.jobs.close()
        self.warm.close()
        for thread in self._threads:
            thread.join(2.0)

    # What is asked for.

    def start_warm(self, paths: list[str]) -> str:
        """Begins to fetch all files at and beneath these shown paths; the job's name.

        Raises:
            Gone: there is no such path. Busy: perhaps it is not known yet, or too much is under way.
        """
        if not 0 < len(paths) <= PATHS:
            raise DataError(f"1 to {PATHS} paths at a time, not {len(paths)}")
        paths = [path.strip("/") for path in paths]
        for path in paths:
            self._check(path, self._catalogue.find(path) is not None)
        self.jobs.check_room()
        return self.jobs.add(WarmJob(self.warm.start(lambda: wanted(self._catalogue, paths))))

    def start_scrub(self, path: str) -> str:
        """Begins to read again all that is kept at and beneath this shown path ("": everything); the job's name.

        Raises:
            Gone: there is no such path. Busy: the scanner is not there just now, or too much is under way.
        """
        path = path.strip("/")
        found = self._catalogue.find(path)
        kept = found.path if isinstance(found, File) else path
        if path:
            safe_path(kept)
        files, size = self._index.weight(kept)
        self._check(path, found is not None or files > 0)
        self.jobs.check_room()
        job = ScrubJob(new_name(), kept, files, size, self._end_scrub)
        with self._lock:
            self._scrubs[job.name] = job
        if not self._send(Scrub(job.name, kept)):
            self._end_scrub(job.name)
            raise Busy("the scanner is being started again; try again")
        return self.jobs.add(job, job.name)

    def _check(self, path: str, there: bool) -> None:
        if there:
            return
        if not self._catalogue.settled:
            raise Busy(f"not known yet, as the catalogue is still coming in: {printable(path)}")
        raise Gone(f"no such path: {printable(path)}")

    def _end_scrub(self, name: str) -> None:
        with self._lock:
            known = self._scrubs.pop(name, None)
        if known is not None and not known.whole.done:
            self._send(EndScrub(name))

    # What the scanner says.

    def kept(self, message: Kept) -> None:
        """What became of a download."""
        self.warm.kept(message)

    def scanner_started(self) -> None:
        """The one before died with what it had been asked."""
        with self._lock:
            jobs = [job for job in self._scrubs.values() if not job.whole.done]
        for job in jobs:
            self._send(Scrub(job.name, job.path))

    def take(self, message: Scrubbing | Scrubbed | Rotten) -> None:
        """What the scrub has to say."""
        match message:
            case Scrubbing():
                self._scrubbing(message)
            case Scrubbed():
                self._passing(message)
            case Rotten():
                self._found_rotten(message)

    def _scrubbing(self, message: Scrubbing) -> None:
        """How far a scrub is that was asked for."""
        with self._lock:
            job = self._scrubs.get(message.job)
            if job is None:
                return
            job.whole = message
        if message.done:
            self._in_background(lambda: self._recheck(job))

    def _passing(self, message: Scrubbed) -> None:
        """How far the pass is that runs by itself; when one ended, pieces of downloads are read as well."""
        with self._lock:
            old, self._scrubbed = self._scrubbed, message
            if message.bytes < old.bytes:  # of another run of the scanner
                self._before = (self._before[0] + old.bytes, self._before[1] + old.files)
        if message.last > old.last > 0:
            self._in_background(lambda: self._recheck(None))

    def _found_rotten(self, message: Rotten) -> None:
        """Something is rotten: a copy is fetched again."""
        name = printable(message.path)
        if message.kind == "own":
            log.error("rotten: %s (%s): %s", name, message.why, OWN)
            self._note(Found(message.job, "own", message.path, message.why, OWN))
            return
        log.error("rotten: the copy of %s (%s) is in quarantine; fetching it again", name, message.why)
        found = Found(message.job, "copy", message.path, message.why, "being fetched again")
        self._note(found)
        again = Wanted(message.path, safe_path(message.path), self._entry(message))

        def ended(run: Run) -> None:
            if run.tally.failures:
                found.outcome = f"not to be had: {run.tally.failures[0].why}"
            elif run.cancelled.is_set():
                found.outcome = "not fetched: the program ends"
            else:
                found.outcome = "fetched again" if not run.tally.here else "the same bytes are here at another path"
            found.open = False
            log.log(
                logging.ERROR if run.tally.failures else logging.INFO, "the rotten copy of %s: %s", name, found.outcome
            )

        self.warm.start(lambda: iter([again]), ended)

    def _entry(self, message: Rotten) -> Entry:
        """The version that was lost: as it is listed, else as it was here."""
        for entry in self._catalogue.entries(message.path):
            if entry.cid == message.cid:
                return entry
        owners = tuple([Owner(id, "", rev) for id, rev in message.revs.items()])
        return Entry(message.cid, message.size, message.mtime, message.sha1, message.x, owners=owners)

    def _note(self, found: Found) -> None:
        with self._lock:
            self._rotten += 1
            self._found.append(found)
            job = self._scrubs.get(found.job)
            if job is not None and len(job.found) < FOUND:
                job.found.append(found)

    # Pieces of downloads.

    def _in_background(self, task: Callable[[], None]) -> None:
        thread = threading.Thread(target=task, name="recheck", daemon=True)
        self._threads = [old for old in self._threads if old.is_alive()] + [thread]
        thread.start()

    def _recheck(self, job: ScrubJob | None) -> None:
        give_way()
        disk, patience = Disk(), Patience()
        for cid in self._downloads(job.path if job else ""):
            rotten = []
            began, before = time.monotonic(), 0
            try:
                for size, number in recheck(self._layout, self._swarm, cid, disk):
                    before += size
                    with self._lock:
                        self._pieces += size
                    if job is not None:
                        job.pieces, job.piece_bytes = job.pieces + 1, job.piece_bytes + size
                    if number is not None:
                        rotten.append(number)
                    patience.rest()
                    pause = 0.0 if job else rest(before, time.monotonic() - began)
                    if self._closing.wait(pause) or (job is not None and job.cancelled.is_set()):
                        return
            except LocalError as error:
                log.error("%s", error)
            if rotten:
                why = f"{len(rotten)} of its pieces are not what they were"
                outcome = "missing from now on; fetched again when it is read"
                self._note(Found(job.name if job else "", "pieces", cid, why, outcome))
        if job is not None:
            job.rechecked = True

    def _downloads(self, path: str) -> list[str]:
        cids = downloads(self._layout)
        if not path or not cids:
            return cids
        beneath = {file.version.cid for _, file in self._catalogue.walk(path)}
        return [cid for cid in cids if cid in beneath]

    # What is told.

    @property
    def scrubbed_bytes(self) -> int:
        """Bytes read again since the peer started."""
        return self._before[0] + self._scrubbed.bytes + self._pieces

    @property
    def found(self) -> int:
        """Rotten files, copies and downloads found since the peer started."""
        return self._rotten

    @property
    def rotten_own(self) -> int:
        """One's own files that are rotten now."""
        return len(self._index.rotten())

    @property
    def last_pass(self) -> float:
        """When all was last read by the pass that runs by itself, in seconds since 1970; 0: never yet."""
        return self._scrubbed.last

    def told(self) -> dict[str, Any]:
        """For the status. Times in seconds since 1970; None: never yet."""
        with self._lock:
            now, found = self._scrubbed, list(self._found)[-100:]
        own = self._index.rotten(100)
        return {
            "scrubbed_bytes": self.scrubbed_bytes,
            "scrubbed_files": self._before[1] + now.files,
            "pass": {"began": now.began or None, "files": now.met, "files_total": now.total, "last": now.last or None},
            "rotten_found": self._rotten,
            "rotten_own": [printable(row.path) for row in own],
            "found": [{**rotten.told(), "path": printable(rotten.path)} for rotten in found],
        }
