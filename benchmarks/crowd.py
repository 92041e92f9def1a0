"""A peer that only announces: as many files as one likes, without their bytes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from shoal.http import Client
from shoal.wire import PROOF, Renewed
from tests.support.announcer import Announcer
from tests.support.cluster import Tracker


@contextmanager
def crowd(tracker: Tracker, count: int) -> Iterator[None]:
    """`crowd/00/000.bin` and so on are listed, and renewed, for as long as the block lasts."""
    announcer, client, over = Announcer("crowd"), Client(), threading.Event()
    url, headers = f"{tracker.url.rstrip('/')}/v1/announce", {PROOF: announcer.secret}

    def say(message: object) -> Renewed:
        return client.post(url, message, Renewed, headers)

    def renew() -> None:
        while not over.wait(1.0):
            say(announcer.renewal())

    paths = [f"crowd/{number // 1000:02d}/{number % 1000:03d}.bin" for number in range(count)]
    items = [announcer.own(path, path) for path in paths]
    for message in announcer.whole(*items):
        say(message)
    renewing = threading.Thread(target=renew, name="crowd")
    renewing.start()
    try:
        yield
    finally:
        over.set()
        renewing.join()
        client.close()
