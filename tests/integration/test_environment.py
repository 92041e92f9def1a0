"""`source environment`: in bash and zsh, from any directory, twice, and when it fails."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHELLS = [shell for shell in ("bash", "zsh") if shutil.which(shell)]
pytestmark = pytest.mark.parametrize("shell", SHELLS)


def source(shell: str, script: str, cwd: str = "/", **environ: str) -> list[str]:
    """The lines that a shell without start files prints."""
    flags = ["--norc", "--noprofile"] if shell == "bash" else ["-f"]
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environ}
    done = subprocess.run([shell, *flags, "-c", script], cwd=cwd, env=env, capture_output=True, text=True, timeout=100)
    return done.stdout.splitlines()


def test_everything_is_in_reach_from_any_directory(shell: str) -> None:
    names = ("tracker.py", "peer.py", "shoal", "behave", "lettuce", "python")
    found = source(shell, f"source {ROOT}/environment; for n in {' '.join(names)}; do command -v $n; done; pwd")
    assert [Path(line).name for line in found[:-1]] == list(names)
    assert all(line.startswith(str(ROOT)) for line in found[:-1]) and found[-1] == "/"


def test_it_leaves_the_shell_as_it_was(shell: str) -> None:
    script = f"before=$-; source {ROOT}/environment; echo $?; [ $- = $before ] && echo same; false; echo alive"
    assert source(shell, script) == ["0", "same", "alive"]


def test_a_strict_shell_takes_it_too(shell: str) -> None:
    assert source(shell, f"set -eu; cd {ROOT}/docs; source ../environment; echo alive") == ["alive"]


def test_a_second_time_changes_nothing(shell: str) -> None:
    script = f'source {ROOT}/environment; first=$PATH; source {ROOT}/environment; [ "$PATH" = "$first" ] && echo same'
    assert source(shell, script) == ["same"]


def test_through_a_link_to_the_checkout(shell: str, tmp_path: Path) -> None:
    (tmp_path / "my shoal").symlink_to(ROOT)
    assert source(shell, "source 'my shoal/environment'; command -v shoal", str(tmp_path)) == [
        f"{ROOT}/.venv/bin/shoal"
    ]


def test_when_it_fails_it_says_so_and_the_shell_goes_on(shell: str, tmp_path: Path) -> None:
    checkout, programs = tmp_path / "checkout", tmp_path / "bin"
    (checkout / "bin").mkdir(parents=True)
    programs.mkdir()
    for name in ("environment", "bin/install", "requirements.txt", "requirements-test.txt", "constraints.txt"):
        shutil.copy(ROOT / name, checkout / name)
    (programs / "python3").write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\ncase "$2" in *version*) exit 1;; esac\n'
    )
    (programs / "python3").chmod(0o755)
    lines = source(
        shell, f"source {checkout}/environment 2>&1; echo $?; echo alive", PATH=f"{programs}:{os.environ['PATH']}"
    )
    assert lines[-3:] == ["shoal: python3 must be Python 3.11 or newer; here it is: Python 3.9.2", "1", "alive"]
    assert not (checkout / ".venv").exists()
