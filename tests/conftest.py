"""What protects the machine from the tests: a sweep before, and a look at what is left after."""

import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from peer.config import Fuse
from tests.support import sweep
from tests.support.cluster import Cluster
from tests.support.patience import TooLate, until
from tests.support.swarm_ground import Ground


@pytest.fixture(scope="session", autouse=True)
def clean_machine() -> Iterator[None]:
    """Takes away what killed runs left; fails at the end if this one leaves a mount, a process or a thread."""
    sweep.sweep()
    before = set(threading.enumerate())
    yield

    def running() -> list[threading.Thread]:
        # Threads that Python did not start, such as libfuse's, leave a dummy behind once they logged something.
        ours = [thread for thread in threading.enumerate() if not isinstance(thread, threading._DummyThread)]
        return [thread for thread in ours if thread not in before and thread.is_alive()]

    try:
        until(lambda: not running() and not sweep.left_behind(), 5, "nothing is left", every=0.1)
    except TooLate:
        left = sweep.left_behind() + [f"thread: {thread.name}" for thread in running()]
        raise AssertionError(f"left behind: {left}") from None


@pytest.fixture(scope="module", params=["kernel", "libfuse"])
def fuse(request: pytest.FixtureRequest) -> Fuse:
    """Each of the adapters, in turn: what holds on one mount holds on the other."""
    adapter: Fuse = request.param
    return adapter


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A network of real programs for one test; the logs are shown when it fails."""
    with Cluster() as made:
        yield made
        if getattr(request.node, "failed", False):
            made.show_logs()


@pytest.fixture(scope="module")
def shared_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A network of real programs for the tests of one module; the logs are shown when one of them failed."""
    with Cluster() as made:
        yield made
        if getattr(request.node, "failed", False):
            made.show_logs()


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """A swarm over holders in memory."""
    made = Ground(tmp_path)
    yield made
    made.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Lets fixtures know that their test failed."""
    report = yield
    if report.when == "call":
        item.failed = report.failed  # type: ignore[attr-defined]
        module = item.getparent(pytest.Module)
        if report.failed and module is not None:
            module.failed = True  # type: ignore[attr-defined]
    return report
