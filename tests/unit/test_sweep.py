"""The harness takes away what dead runs left, leaves living runs alone, and never waits for ever."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.support import sweep
from tests.support.patience import TooLate, until, within


def sleeper(directory: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, sweep.MARK: directory}
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=env)


def test_a_dead_runs_processes_and_directory_go() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    directory = Path(tempfile.mkdtemp(prefix=f"shoal-run-{gone.pid}-"))
    with sleeper(str(directory)) as process:
        until(lambda: process.pid in sweep.processes(), 5, "it shows its mark")
        assert str(directory) in sweep.sweep()
        assert process.wait(5) == -9
    assert not directory.exists()


def test_a_living_runs_stay_until_it_takes_them_away() -> None:
    directory = sweep.make_directory()
    with sleeper(str(directory)) as process:
        until(lambda: process.pid in sweep.processes(), 5, "it shows its mark")
        assert str(directory) not in sweep.sweep()
        assert sweep.left_behind() == [f"running: {process.pid} in {directory}"]
        sweep.take_away(str(directory))
        assert process.wait(5) == -9
    assert not directory.exists() and not sweep.left_behind()


def test_waiting_ends() -> None:
    with pytest.raises(TooLate, match="the moon"):
        until(lambda: False, 0.05, "the moon")
    with pytest.raises(TooLate, match="sleep"):
        within(0.05, time.sleep, 0.5)
    with pytest.raises(ValueError, match="no number"):
        within(5, _fail)
    assert within(5, int, "7") == 7


def _fail() -> None:
    raise ValueError("no number")
