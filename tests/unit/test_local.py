"""Finding the one peer on this machine by the files that running peers leave."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from shoal import local
from shoal.errors import LocalError, UsageError
from shoal.local import PeerInfo, find, register, running, runtime_directory


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "shoal"


def info(pid: int = 1, name: str = "ada") -> PeerInfo:
    return PeerInfo(pid, f"http://127.0.0.1:{1000 + pid}", "http://127.0.0.1:2", f"/srv/{name}", None, name)


@pytest.fixture
def registered(request: pytest.FixtureRequest) -> Callable[[PeerInfo], Callable[[], None]]:
    def start(who: PeerInfo) -> Callable[[], None]:
        remove = register(who)
        request.addfinalizer(lambda: remove() if (runtime_directory() / f"{who.pid}.json").exists() else None)
        return remove

    return start


def test_a_running_peer_is_found_until_it_ends(runtime: Path) -> None:
    remove = register(info())
    assert find() == info()
    assert runtime.stat().st_mode & 0o777 == 0o700
    remove()
    assert list(runtime.iterdir()) == []
    with pytest.raises(LocalError, match="no peer"):
        find()


def test_several_peers_are_listed_on_one_line(registered: Callable[[PeerInfo], Callable[[], None]]) -> None:
    registered(info(1, "ada"))
    registered(info(2, "b\x1b[2Job"))
    with pytest.raises(UsageError) as several:
        find()
    said = str(several.value)
    assert "http://127.0.0.1:1001 (ada: /srv/ada)" in said and "http://127.0.0.1:1002" in said
    assert said.isprintable()


def test_a_killed_peer_is_not_found_and_its_file_is_removed(runtime: Path) -> None:
    code = f"import os, signal; from shoal.local import *; register({info(os.getpid())!r}); os.kill(os.getpid(), 9)"
    ended = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2])
    assert ended.returncode == -9
    # The pid in it is that of a living process: of this one. It is the lock that counts.
    assert [path.name for path in runtime.iterdir()] == [f"{os.getpid()}.json"]
    assert running() == []
    assert list(runtime.iterdir()) == []


def test_what_no_peer_wrote_is_no_peer(runtime: Path, registered: Callable[[PeerInfo], Callable[[], None]]) -> None:
    registered(info())
    (runtime / "7.json").write_text("{}")
    (runtime / "8.json").symlink_to("/etc/passwd")
    (runtime / "notes.txt").write_text("x")
    with pytest.raises(LocalError):
        find()
    (runtime / "8.json").unlink()
    assert find() == info()


@pytest.mark.parametrize("mode", [0o777, 0o750, 0o701])
def test_a_directory_that_others_may_enter_is_refused(runtime: Path, mode: int) -> None:
    runtime.mkdir()
    runtime.chmod(mode)
    with pytest.raises(LocalError, match="0700"):
        running()
    with pytest.raises(LocalError, match="0700"):
        register(info())


def test_a_directory_of_somebody_else_is_refused(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.mkdir(mode=0o700)
    monkeypatch.setattr(local.os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(LocalError, match="this user's"):
        running()


def test_a_link_in_its_place_is_refused(runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    runtime.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LocalError):
        register(info())
    with pytest.raises(LocalError):
        running()


@pytest.mark.parametrize("given", ["", "relative", "/does/not/exist"])
def test_where_there_is_no_runtime_directory(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", given)
    monkeypatch.setattr(local.os, "geteuid", lambda: 0)
    assert runtime_directory() == Path("/run/shoal")
    monkeypatch.setattr(local.os, "geteuid", lambda: 1234)
    assert runtime_directory() == Path("/tmp/shoal-1234")


def test_the_file_is_what_it_says(runtime: Path, registered: Callable[[PeerInfo], Callable[[], None]]) -> None:
    registered(info())
    (path,) = runtime.iterdir()
    assert path.name == "1.json"
    assert set(msgspec.json.decode(path.read_bytes())) == {"pid", "http", "data", "local", "mount", "name"}
