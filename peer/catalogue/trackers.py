"""The trackers a peer knows, and the one in use: shared by the announcer and the follower.

One is in use at a time. When it fails, the next one is; when an earlier one of
the list answers again, that one is, so that peers which lost a tracker at
different times meet again at the same one. A loss is logged once, and so is a
return.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Any

from shoal.errors import RemoteError
from shoal.http import Client

log = logging.getLogger(__name__)
_PROBE = 1.0
"""Seconds that an earlier tracker has to say that it is back."""


class Trackers:
    """Which tracker to ask. `urls` are `http://host:port`, in the order of preference.

    Threading: any thread may call anything; a lock guards which one is in use.
    """

    def __init__(self, urls: Sequence[str], client: Client) -> None:
        assert urls, "a peer knows at least one tracker"
        self.urls, self.client = tuple(urls), client
        self._at = 0
        self._silent = 0
        self._lost = False
        self._known = False
        self._lock = threading.Lock()

    @property
    def current(self) -> str:
        """The URL of the one in use."""
        return self.urls[self._at]

    @property
    def connected(self) -> bool:
        """Whether the one in use answered when it was last asked."""
        return self._known and not self._silent

    def answered(self, url: str) -> None:
        """This tracker did its part."""
        with self._lock:
            if url != self.urls[self._at]:
                return
            lost, self._lost = self._lost, False
            self._silent, self._known = 0, True
        if lost:
            log.info("a tracker answers again: %s", url)

    def failed(self, url: str, error: RemoteError) -> bool:
        """This tracker did not, so the next one is used; whether that one was not tried since the last success."""
        with self._lock:
            if url != self.urls[self._at]:
                return True  # another thread found out first
            self._at = (self._at + 1) % len(self.urls)
            self._silent += 1
            more = self._silent < len(self.urls)
            lost, self._lost = self._lost, True
        if not lost:
            log.warning("the tracker is lost: %s; %s", error, "trying the next" if more else "going on without it")
        return more

    def prefer(self) -> None:
        """Goes back to an earlier tracker of the list if it answers."""
        with self._lock:
            earlier = self.urls[: self._at] if not self._lost else ()
        for number, url in enumerate(earlier):
            try:
                self.client.get(f"{url}/healthz", dict[str, Any], total=_PROBE)
            except RemoteError:
                continue
            with self._lock:
                self._at = number
            log.info("going back to the tracker %s", url)
            return
