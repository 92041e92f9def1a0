"""Machines on a network: each a network namespace, all on one switch, each with a line of a given rate.

    with Lab() as lab:
        tracker = lab.tracker(place=lab.host("hub", 100 * MBIT))
        anna, ben = lab.host("anna", 100 * MBIT), lab.host("ben", 100 * MBIT)
        owner, reader = lab.peer("owner", place=anna), lab.peer("reader", place=ben)
        …
        assert anna.sent() > 1000

The programs see one another by the hosts' addresses and nobody else; files and mounts are this machine's. What a
namespace is held by is a mount in the run's directory: it goes when the block ends, and with all of a run that was
killed (`tests.support.sweep`). No interface or name of this machine is used, so any number of labs run side by side.

Needs root, and `ip` and `tc` of Debian's iproute2. Not thread-safe, but for `Host.entered`, `sent` and `received`.
"""

import ctypes
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.cluster import Cluster, Place

MBIT = 1_000_000
"""Bits a second."""
PAYLOAD = 0.956
"""What TCP's headers leave of a line."""
_BURST, _QUEUE = 64 << 10, 0.05
"""Bytes that a line sends at once after a pause; seconds that its queue holds. TCP as it is, Cubic and BBR, one
connection and several, fills such a line to 99 % of what its headers leave."""
_CLONE_NEWNET = 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)


class Host(Place):
    """A machine of the lab; made by `Lab.host`."""

    def __init__(self, name: str, address: str, namespace: Path) -> None:
        self.name, self.address, self._namespace = name, address, namespace
        self.prefix = _inside(namespace)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets that the calling thread makes in the block are of this host."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            inside = os.open(self._namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _enter(inside)
            finally:
                os.close(inside)
            try:
                yield
            finally:
                _enter(before)
        finally:
            os.close(before)

    def sent(self) -> int:
        """Bytes that its line took from it so far, headers included."""
        return self._counter(8)

    def received(self) -> int:
        """Bytes that its line brought it so far, headers included."""
        return self._counter(0)

    def _counter(self, field: int) -> int:
        with self.entered():
            lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
        (line,) = (line for line in lines if line.split(":")[0].strip() == "eth0")
        return int(line.partition(":")[2].split()[field])


class Lab(Cluster):
    """A cluster whose programs may run on hosts of their own; see the module."""

    def __init__(self) -> None:
        super().__init__()
        self._hosts = 0
        self._switch = self.home / "net" / "switch"
        self._switch.parent.mkdir()
        try:
            _make_namespace(self._switch)
            self._switched("ip link add br0 type bridge", "ip link set br0 up")
        except BaseException:
            self.close()
            raise

    def host(self, name: str, rate: int = 0) -> Host:
        """A host whose line carries so many bits a second each way, headers included; 0: as many as the machine can."""
        self._hosts += 1
        number, namespace = self._hosts, self._switch.with_name(f"{name}.host")
        address, port = f"10.77.{number >> 8}.{number & 255}", f"port{number}"
        _make_namespace(namespace)
        host = Host(name, address, namespace)
        self._switched(
            f"ip link add {port} type veth peer name eth0 netns {namespace}",
            f"ip link set dev {port} master br0 up",
        )
        _run(
            host.prefix,
            "ip link set lo up",
            f"ip address add {address}/16 dev eth0",
            "ip link set eth0 up",
        )
        if rate:
            line = f"root tbf rate {rate}bit burst {_BURST} latency {_QUEUE * 1000:.0f}ms"
            _run(host.prefix, f"tc qdisc add dev eth0 {line}")
            self._switched(f"tc qdisc add dev {port} {line}")
        return host

    def _switched(self, *commands: str) -> None:
        _run(_inside(self._switch), *commands)


def transfer(source: Host, target: Host, size: int) -> float:
    """Bytes a second of one TCP connection that does nothing else, from its first byte to its last."""
    with target.entered():
        listener = socket.create_server((target.address, 0))
    address = listener.getsockname()

    def send() -> None:
        with source.entered():
            sender = socket.create_connection(address, 5)
        with sender:
            sender.settimeout(20)
            sender.sendall(bytes(size))

    sending = threading.Thread(target=send)
    sending.start()
    with listener:
        receiver, _ = listener.accept()
    with receiver:
        receiver.settimeout(20)
        left = size - len(receiver.recv(1))
        began = time.monotonic()
        while left:
            left -= len(receiver.recv(1 << 20))
        took = time.monotonic() - began
    sending.join()
    return size / took


def missing() -> str:
    """Why there can be no lab here; "" if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not all(_which(program) for program in ("ip", "tc")):
        return "ip and tc are missing: apt-get install iproute2"
    return ""


def _which(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _inside(namespace: Path) -> list[str]:
    # Not `ip netns exec`: that would have a mount namespace of its own, and its FUSE mounts would not be seen here.
    return ["nsenter", f"--net={namespace}"]


def _make_namespace(path: Path) -> None:
    path.touch()
    _run((), f"unshare --net={path} true")


def _run(prefix: list[str] | tuple[()], *commands: str) -> None:
    for command in commands:
        program, *words = command.split(" ")
        ran = subprocess.run([*prefix, _which(program) or program, *words], capture_output=True, text=True, timeout=20)
        if ran.returncode:
            raise RuntimeError(f"{command}: {ran.stderr.strip()}")


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot enter the network namespace")
