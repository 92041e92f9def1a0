"""A tracker in memory that tests mutate: the rules without quotas, time or clever storage.

`FakeTracker` is the core; `serve` puts it behind HTTP on loopback. `requests` records what was asked.
"""

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from shoal.errors import Gone, Refused
from shoal.manifest import NOTHING_CID
from shoal.ownership import is_withdrawn, resolve
from shoal.wire import (
    PROOF,
    Announce,
    Changes,
    Digest,
    Entry,
    Holders,
    Item,
    Leave,
    Owner,
    PeerRow,
    Problem,
    Renewed,
    check_item,
    decode,
    encode,
    proves,
)

_ids = itertools.count(1)


def digest_of(items):
    digest = Digest()
    for item in items:
        digest.add(item)
    return str(digest)


class FakeLease:
    def __init__(self, message: Announce, url: str) -> None:
        self.epoch, self.sequence = message.epoch, -1
        self.row = PeerRow(message.id, message.name, url)
        self.hint = message.hint
        self.items: dict[tuple[str, str], Item] = {}
        self.parts: tuple[int, int, dict[tuple[str, str], Item]] | None = None


class FakeTracker:
    def __init__(self, page: int = 1000) -> None:
        self.page = page
        self.leases: dict[str, FakeLease] = {}
        self.settling = False
        self.refresh, self.ttl = 5.0, 15.0
        self.requests: list[str] = []
        self.lock = threading.Lock()
        self.restart()

    def restart(self) -> None:
        """Forgets everything."""
        self.catalogue = f"fake{next(_ids)}"
        self.leases.clear()
        self._log: dict[str, int] = {}  # key → number of its last change, in order
        self.number = 0

    @property
    def version(self) -> str:
        return f"{self.catalogue}.{self.number}"

    # Announcements

    def announce(self, message: Announce) -> Renewed:
        lease = self.leases.get(message.id)
        for item in message.put:
            check_item(item, message.id)
        if lease is not None and message.epoch < lease.epoch:
            raise Refused("a later start", 409)
        if message.part is not None:
            lease = self._part(lease, message)
        elif lease is None or lease.sequence < 0:
            raise Refused("unknown", 409, "all")
        elif message.base is not None:
            self._delta(lease, message)
        elif (message.sequence, message.digest) != (lease.sequence, digest_of(lease.items.values())):
            raise Refused("another list", 409, "all")
        lease.epoch, lease.hint = message.epoch, message.hint
        return Renewed(self.version, self.settling, self.refresh, self.ttl)

    def evict(self, id: str, cid: str) -> int:
        """Delists copies of a content; the list's number then. (Whether others have it is the test's affair.)"""
        lease = self.leases[id]
        for key in [key for key, item in lease.items.items() if item.cid == cid and item.kind == "copy"]:
            del lease.items[key]
            self._changed(key[0])
        lease.sequence += 1
        return lease.sequence

    def _delta(self, lease: FakeLease, message: Announce) -> None:
        if message.base != lease.sequence or message.sequence <= message.base:
            raise Refused("does not follow", 409, "all")
        items = dict(lease.items)
        for path, cid in message.drop:
            items.pop((path, cid), None)
        items.update({(item.path, item.cid): item for item in message.put})
        self._set(lease, message, items)

    def _part(self, lease: FakeLease | None, message: Announce) -> FakeLease:
        if lease is None:
            if message.part != 0:
                raise Refused("no part before", 409, "all")
            lease = self.leases[message.id] = FakeLease(message, f"http://127.0.0.1:{message.port or 1}")
            self._changed("peer " + message.id)
        if (message.epoch, message.sequence) < (lease.epoch, lease.sequence):
            raise Refused("a later list", 409)
        if message.part == 0:
            lease.parts = message.sequence, 0, {}
        if lease.parts is None or lease.parts[:2] != (message.sequence, message.part):
            lease.parts = None
            raise Refused("no part before", 409, "all")
        items = lease.parts[2]
        items.update({(item.path, item.cid): item for item in message.put})
        lease.parts = message.sequence, message.part + 1, items
        if message.last:
            lease.parts = None
            self._set(lease, message, items)
        return lease

    def _set(self, lease: FakeLease, message: Announce, items: dict[tuple[str, str], Item]) -> None:
        if message.digest not in ("", digest_of(items.values())):
            raise Refused("not that digest", 409, "all")
        old, lease.items = lease.items, items
        lease.sequence = message.sequence
        for path in {key[0] for key in old.keys() | items.keys() if old.get(key) != items.get(key)}:
            self._changed("path " + path)

    def leave(self, id: str) -> None:
        lease = self.leases.pop(id, None)
        if lease is not None:
            self._changed("peer " + id)
            for path in {path for path, _ in lease.items}:
                self._changed("path " + path)

    def put(self, id: str, *items: Item, name: str = "", drop: tuple[tuple[str, str], ...] = ()) -> None:
        """A peer holds these too from now on, and no longer what is in `drop`."""
        lease = self.leases.get(id)
        if lease is None:
            message = Announce(id, 1, 0, "", name or id[:4], 1, part=0, last=True)
            self.announce(message)
            lease = self.leases[id]
        message = Announce(
            id, lease.epoch, lease.sequence + 1, "", lease.row.name, 1, base=lease.sequence, put=[*items], drop=[*drop]
        )
        self.announce(message)

    def _changed(self, key: str) -> None:
        self.number += 1
        self._log.pop(key, None)
        self._log[key] = self.number

    # Reading

    def at(self, path: str) -> dict[str, list[Item]]:
        return {
            id: held
            for id, lease in sorted(self.leases.items())
            if (held := [item for key, item in lease.items.items() if key[0] == path])
        }

    def entries(self, path: str) -> list[Entry]:
        return [
            Entry(
                version.item.cid,
                version.item.size,
                version.mtime,
                version.item.sha1,
                version.item.x,
                version.item.link,
                tuple(Owner(id, self._name(id, path), rev) for id, rev in sorted(version.owners.items())),
                tuple(version.holders[:3]),
            )
            for version in resolve(self.at(path))
        ]

    def withdrawn(self, path: str) -> dict[str, int]:
        at = self.at(path)
        revs: dict[str, int] = {}
        if is_withdrawn(at):
            for held in at.values():
                for item in held:
                    if item.cid == NOTHING_CID:
                        for owner, rev in item.revs.items():
                            revs[owner] = max(rev, revs.get(owner, 0))
        return revs

    def _name(self, id: str, path: str) -> str:
        says = any(item.kind in ("own", "nothing") for item in self.at(path).get(id, ()))
        return self.leases[id].row.name if says else id[:8]

    def changes(self, since: str | None) -> Changes:
        number = 0
        if since:
            catalogue, _, text = since.partition(".")
            if catalogue != self.catalogue or int(text) > self.number:
                raise Gone("start over")
            number = int(text)
        keys = [(key, at) for key, at in self._log.items() if at > number]
        page, more = keys[: self.page], len(keys) > self.page
        peers, paths, withdrawn = [], [], {}
        for key, _ in page:
            kind, _, name = key.partition(" ")
            if kind == "peer":
                lease = self.leases.get(name)
                peers.append(lease.row if lease else PeerRow(name, name[:8], ""))
            else:
                paths.append((name, self.entries(name)))
                if revs := self.withdrawn(name):
                    withdrawn[name] = revs
        version = f"{self.catalogue}.{page[-1][1]}" if more else self.version
        return Changes(version, self.settling, more, peers, paths, withdrawn)

    def holders(self, cid: str) -> Holders:
        whole, partial = [], []
        for lease in self.leases.values():
            kinds = {item.kind for (_, held), item in lease.items.items() if held == cid}
            if kinds & {"own", "copy"}:
                whole.append(lease.row)
            elif kinds:
                partial.append(lease.row)
        return Holders(cid, whole, partial)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tracker: FakeTracker

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        with self.tracker.lock:
            self.tracker.requests.append(self.path)
            if parts.path == "/v1/changes":
                since = parse_qs(parts.query).get("since", [None])[0]
                try:
                    self._answer(200, encode(self.tracker.changes(since)))
                except Gone as error:
                    self._answer(410, encode(Problem(str(error))))
            elif parts.path.startswith("/v1/holders/"):
                self._answer(200, encode(self.tracker.holders(parts.path.rpartition("/")[2])))
            elif parts.path == "/healthz":
                self._answer(200, b'{"ok": true}')
            else:
                self._answer(404, encode(Problem("no such route")))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.tracker.lock:
            self.tracker.requests.append(self.path)
            id = json.loads(body)["id"]
            if not proves(self.headers.get(PROOF, ""), id):
                self._answer(403, encode(Problem("no proof")))
            elif self.path == "/v1/leave":
                decode(body, Leave)
                self.tracker.leave(id)
                self._answer(204, b"")
            else:
                try:
                    self._answer(200, encode(self.tracker.announce(decode(body, Announce))))
                except Refused as error:
                    self._answer(error.status, encode(Problem(str(error), error.need)))

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def serve(tracker: FakeTracker, port: int = 0) -> Iterator[str]:
    """The tracker behind HTTP while the block lasts; its URL. Connections are cut at the end."""
    live = set()

    class Handler(_Handler):
        def setup(self) -> None:
            super().setup()
            live.add(self.connection)

        def finish(self) -> None:
            live.discard(self.connection)
            super().finish()

    Handler.tracker = tracker
    server = _Server(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        for connection in list(live):
            try:
                connection.shutdown(2)
            except OSError:
                pass
        server.server_close()
