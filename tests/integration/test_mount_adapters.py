"""Which adapter mounts, and what happens where the kernel's protocol is refused."""

import os
from pathlib import Path

import pytest

from peer.mount import kernel
from peer.mount.adapters import start_mount
from peer.mount.kernel import KernelMount
from peer.mount.libfuse import LibfuseMount
from shoal.errors import LocalError
from tests.support.mounted import is_mounted, network
from tests.support.patience import within

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="there is no /dev/fuse on this machine"),
]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that may not mount by itself."""

    def refuse(point: str) -> int:
        raise LocalError(f"{point} cannot be mounted: Operation not permitted")

    monkeypatch.setattr(kernel, "open_mounted", refuse)


@pytest.fixture
def point(tmp_path: Path) -> Path:
    (tmp_path / "mount").mkdir()
    return tmp_path / "mount"


def test_the_kernel_s_protocol_is_taken_where_it_can_be(tmp_path: Path, point: Path) -> None:
    with network(tmp_path) as net:
        mount = start_mount("auto", net.vfs, point)
        try:
            assert isinstance(mount, KernelMount) and mount.mode.startswith("kernel 7.")
        finally:
            mount.stop()


@pytest.mark.usefixtures("refused")
def test_libfuse_takes_over_where_it_is_refused_and_that_is_said_once(
    tmp_path: Path, point: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with network(tmp_path) as net:
        net.remote("file", b"data")
        mount = start_mount("auto", net.vfs, point, net.swarm.close)
        try:
            assert isinstance(mount, LibfuseMount)
            assert within(10, (point / "file").read_bytes) == b"data"
        finally:
            mount.stop()
    said = [record.getMessage() for record in caplog.records if "libfuse" in record.getMessage()]
    assert said == [f"{point} cannot be mounted: Operation not permitted; going on with libfuse"]
    assert not is_mounted(point)


@pytest.mark.usefixtures("refused")
def test_who_forces_the_kernel_s_protocol_is_told_why_not(tmp_path: Path, point: Path) -> None:
    with network(tmp_path) as net, pytest.raises(LocalError, match="Operation not permitted"):
        start_mount("kernel", net.vfs, point)
    assert not is_mounted(point)
