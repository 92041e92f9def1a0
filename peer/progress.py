"""The progress of a first scan: a line that updates on a terminal, a log line now and then elsewhere."""

import logging
import sys
import time
from typing import TextIO

from peer.messages import Progress
from shoal.units import show_size

log = logging.getLogger(__name__)
_EVERY_LINE, _EVERY_LOG = 0.2, 10.0
_WORTH_IT = 1.0
"""Seconds that a scan takes before anything is said of it."""


class ScanProgress:
    """Told of each `Progress`, on one thread; says little and not too often."""

    def __init__(self, out: TextIO = sys.stderr) -> None:
        self._out, self._terminal = out, out.isatty()
        self._began = self._said = time.monotonic()
        self._shown = False

    def update(self, progress: Progress) -> None:
        """Shows how far it is."""
        now = time.monotonic()
        text = f"scanning: {progress.files:,} of {progress.files_total:,} files, "
        text += f"{show_size(progress.bytes)} of {show_size(progress.bytes_total)}"
        if progress.done:
            if self._shown:
                self._end(f"scanned: {progress.files_total:,} files, {show_size(progress.bytes_total)}")
            self._began = now
            self._shown = False
        elif now - self._began > _WORTH_IT and now - self._said > (_EVERY_LINE if self._terminal else _EVERY_LOG):
            self._said, self._shown = now, True
            if self._terminal:
                self._out.write(f"\r\x1b[K{text}")
                self._out.flush()
            else:
                log.info("%s", text)

    def _end(self, text: str) -> None:
        if self._terminal:
            self._out.write("\r\x1b[K")
            self._out.flush()
        log.info("%s", text)
