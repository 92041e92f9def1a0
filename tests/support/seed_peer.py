"""A peer of the first protocol, written from its description alone: it knows nothing of Shoal's code.

It refreshes `POST /refresh` with {"PEER": "host:port", "files": {name: sha1}} every few seconds, serves its
files at `GET /NAME`, asks `GET /` for {name: {"sha1", "peers"}}, downloads from the first peer whose bytes
match the SHA-1, and shares on what it got.

Threading: a server thread and a refresh thread; `files` is replaced whole, never changed.
"""

import hashlib
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class SeedPeer:
    """A peer of the first protocol in this process."""

    def __init__(self, tracker: str, files: dict[str, bytes], refresh: float = 1.0) -> None:
        self.files = dict(files)
        self.lies: dict[str, bytes] = {}
        """What it sends in place of the right bytes."""
        self._tracker = f"http://{tracker}"
        peer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = urllib.parse.unquote(self.path.lstrip("/"))
                body = peer.lies.get(name, peer.files.get(name))
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._stopping = threading.Event()
        self._refresh = refresh
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.05,), name="seed-server"),
            threading.Thread(target=self._refresh_on, name="seed-refresh"),
        ]
        for thread in self._threads:
            thread.start()

    def listing(self) -> Any:
        """`GET /`: {name: {"sha1", "peers"}}."""
        with _direct.open(f"{self._tracker}/", timeout=5) as answer:
            return json.load(answer)

    def find(self, name: str) -> Any:
        """`GET /?q=NAME`: {"sha1", "peers"}, or {}."""
        with _direct.open(f"{self._tracker}/?" + urllib.parse.urlencode({"q": name}), timeout=5) as answer:
            return json.load(answer)

    def download(self, name: str) -> bytes | None:
        """The file from the first peer that has it uncorrupted; None when nobody does."""
        found = self.find(name)
        for address in found.get("peers", []):
            try:
                with _direct.open(f"http://{address}/{urllib.parse.quote(name)}", timeout=5) as answer:
                    body = answer.read()
            except OSError:
                continue
            if hashlib.sha1(body).hexdigest() == found["sha1"]:
                self.files = {**self.files, name: body}
                return bytes(body)
        return None

    def refresh(self) -> int:
        """Tells the tracker what it has; the HTTP status."""
        files = {name: hashlib.sha1(body).hexdigest() for name, body in self.files.items()}
        body = json.dumps({"PEER": self.address, "files": files}).encode()
        request = urllib.request.Request(
            f"{self._tracker}/refresh", body, {"Content-Type": "application/json"}, method="POST"
        )
        with _direct.open(request, timeout=5) as answer:
            return int(answer.status)

    def _refresh_on(self) -> None:
        while True:
            try:
                self.refresh()
            except OSError:
                pass  # "continue to run and periodically try to reconnect"
            if self._stopping.wait(self._refresh):
                return

    def close(self) -> None:
        """Stops serving and refreshing."""
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join(6)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()
