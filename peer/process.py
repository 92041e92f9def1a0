"""The peer's helper processes: started, tied to its life, started again when they die.

A helper is a Python module run with one end of a socket pair as its standard
input, over which `Channel` carries msgpack messages, each with its length in
4 bytes before it. It dies with the peer (PR_SET_PDEATHSIG, and the channel's
end), and leaves Ctrl-C to the peer.
"""

import ctypes
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

Out = TypeVar("Out")
In = TypeVar("In")
_LENGTH = struct.Struct("<I")
_PR_SET_PDEATHSIG = 1
_M_ARENA_MAX = -8
log = logging.getLogger(__name__)


def save_memory() -> None:
    """Has this process's threads share two heaps: the C library would give a dozen of them one each, half empty."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not every C library has it
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)


class Channel(Generic[Out, In]):
    """Typed messages over a stream socket. One thread receives; any thread sends."""

    def __init__(self, sock: socket.socket, incoming: object) -> None:
        self._sock = sock
        self._file = sock.makefile("rb")
        self._lock = threading.Lock()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[In] = msgspec.msgpack.Decoder(incoming)

    def send(self, message: Out) -> None:
        """Sends one message. Raises OSError when the other side is gone."""
        body = self._encoder.encode(message)
        with self._lock:
            self._sock.sendall(_LENGTH.pack(len(body)) + body)

    def receive(self) -> In | None:
        """The next message, or None when the other side is gone."""
        try:
            head = self._file.read(_LENGTH.size)
            if len(head) < _LENGTH.size:
                return None
            (length,) = _LENGTH.unpack(head)
            body = self._file.read(length)
        except (OSError, ValueError):  # ValueError: closed by our own side
            return None
        return self._decoder.decode(body) if len(body) == length else None

    def close(self) -> None:
        """Ends the channel; a `receive` under way on either side returns None."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was first
        self._file.close()
        self._sock.close()


def channel_to_peer(incoming: object) -> Channel[object, Any]:
    """A helper's end of its channel; call it once, first thing: ties the helper's life to the peer's."""
    save_memory()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # the peer died before the line above
        sys.exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return Channel(socket.socket(fileno=os.dup(0)), incoming)


class Helper(Generic[Out, In]):
    """A helper process that is started again when it dies.

    `receive` is called with each message it sends, on a thread of the helper's own;
    `started` after each start, on the same thread, before any message.
    """

    def __init__(
        self,
        module: str,
        args: Sequence[str],
        incoming: object,
        receive: Callable[[In], None],
        started: Callable[[], None] = lambda: None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._command = [sys.executable, "-m", module, *args]
        self._module, self._incoming, self._receive, self._started = module, incoming, receive, started
        self._pass_fds = pass_fds
        self._channel: Channel[Out, In] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"helper-{module}", daemon=True)

    @property
    def pid(self) -> int:
        """The process id of the current run, or 0."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Starts the process and the thread that listens to it."""
        self._thread.start()

    def send(self, message: Out) -> bool:
        """Sends a message; False if the helper is not there just now."""
        channel = self._channel
        if channel is None:
            return False
        try:
            channel.send(message)
        except OSError:
            return False
        return True

    def stop(self, timeout: float = 2.0) -> None:
        """Ends the process: by closing its channel, and after `timeout` seconds by force."""
        self._stopping.set()
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._thread.join(timeout)

    def _run(self) -> None:
        pause = 0.1
        while not self._stopping.is_set():
            began = time.monotonic()
            self._run_once()
            if self._stopping.is_set():
                return
            log.warning("%s ended; starting it again", self._module)
            pause = 0.1 if time.monotonic() - began > 30 else min(pause * 2, 5.0)
            self._stopping.wait(pause)

    def _run_once(self) -> None:
        ours, theirs = socket.socketpair()
        # The thread that forks is the one that PDEATHSIG watches; this one lives as long as the helper is wanted.
        with theirs:
            self._process = subprocess.Popen(self._command, stdin=theirs.fileno(), pass_fds=self._pass_fds)
        self._channel = Channel(ours, self._incoming)
        self._started()
        while (message := self._channel.receive()) is not None:
            self._receive(message)
        self._channel.close()
        self._channel = None
        if not self._stopping.is_set():
            self._process.kill()
        self._process.wait()
