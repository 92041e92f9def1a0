"""The http port's app behind cheroot, in threads of the peer's process."""

import os
import threading

from cheroot import wsgi
from flask import Flask

from shoal.errors import UsageError
from shoal.units import show_address


class HttpPort:
    """A listener that answers with the app from `start` to `stop`."""

    def __init__(self, app: Flask, host: str, port: int) -> None:
        self._server = wsgi.Server((host, port), app, numthreads=8, max=32, timeout=30, shutdown_timeout=1)
        self._server.max_request_header_size = 16 << 10
        self._server.max_request_body_size = 1 << 20
        self._thread = threading.Thread(target=self._server.serve, name="http-port", daemon=True)

    def start(self) -> str:
        """Binds and serves; the URL.

        Raises:
            UsageError: the address cannot be bound.
        """
        try:
            self._server.prepare()
        except OSError as error:
            host, port = self._server.bind_addr[:2]
            why = os.strerror(error.errno) if error.errno else str(error).partition("]")[2].strip(" )") or str(error)
            raise UsageError(f"cannot listen at {show_address(str(host), int(port))}: {why}") from None
        self._thread.start()
        host, port = self._server.bind_addr[:2]
        return f"http://{show_address(str(host), int(port))}"

    def stop(self) -> None:
        """Stops listening; answers under way get a second."""
        self._server.stop()
        self._thread.join(2)
