"""A peer without share and mount, in this process: an index in memory, the announcer, the follower, the catalogue."""

import threading
from typing import Self

from peer.announcer import Announcer, Card
from peer.catalogue.catalogue import Catalogue
from peer.catalogue.follower import Follower
from peer.catalogue.own import OwnShare
from peer.catalogue.trackers import Trackers
from peer.share.rows import Row
from shoal.http import Client
from shoal.wire import peer_id
from tests.support.index_fake import FakeIndex


class SafeIndex(FakeIndex):
    """One that two threads may use."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.RLock()

    def put(self, row: Row) -> None:
        with self.lock:
            super().put(row)

    def state(self):
        with self.lock:
            return super().state()

    def changes(self, after, limit):
        with self.lock:
            return super().changes(after, limit)

    def at(self, path):
        with self.lock:
            return super().at(path)


class PeerCore:
    """`duties` is what the scanner would have been told."""

    def __init__(self, secret: str, *urls: str, name: str = "me") -> None:
        self.index = SafeIndex()
        self.client = Client()
        self.trackers = Trackers(urls, self.client)
        self.id = peer_id(secret)
        self.catalogue = Catalogue(self.id, name)
        self.settled = threading.Event()
        self.duties: list[object] = []
        self.own = OwnShare(self.catalogue, self.index, self.duties.append)
        self.catalogue.changed_by(lambda changed: self.own.look(changed.paths))
        self.follower = Follower(self.catalogue, self.trackers, self.client, self.has_settled)
        card = Card(self.id, secret, name, 7000, hint=self.follower.hint_port)
        self.announcer = Announcer(card, self.index, self.trackers, self.client, self.follower.heard)

    def __enter__(self) -> Self:
        self.announcer.start()
        self.follower.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.announcer.stop()
        self.follower.stop()
        self.client.close()

    def has_settled(self) -> None:
        self.own.look_at_all()
        self.settled.set()

    def put(self, *rows: Row) -> None:
        for row in rows:
            self.index.put(row)
        self.own.update()
        self.announcer.changed()

    def sees(self, path: str) -> bool:
        return self.catalogue.find(path) is not None
