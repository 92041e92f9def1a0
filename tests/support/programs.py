"""Programs of others that some tests drive as they are."""

import os
import shutil
import subprocess
from functools import cache

import pytest


@cache
def _missing(program: str, package: str) -> str:
    """Why it cannot be used; "" if it can. Root has Debian's package installed."""
    if shutil.which(program) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        command = ["apt-get", "install", "-q", "-y", "--no-install-recommends", package]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for _ in range(2):
            if subprocess.run(command, capture_output=True, env=environment, timeout=300, check=False).returncode == 0:
                break
            subprocess.run(["apt-get", "update", "-q"], capture_output=True, timeout=300, check=False)
    return "" if shutil.which(program) else f"{program} is not installed (Debian: {package})"


def needs(program: str, package: str) -> None:
    """Skips the test if the program cannot be had."""
    if why := _missing(program, package):
        pytest.skip(why)
