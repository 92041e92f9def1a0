"""Steps about peers: who is there, what each shares, and what befalls it."""

from typing import Any

from behave import given, step, then, when
from words import FAULTS, content, quoted

from shoal.units import parse_size
from tests.support.chaos import Detour
from tests.support.cluster import SEEN, Peer
from tests.support.patience import until
from tests.support.seed_peer import SeedPeer


def share(context: Any, name: str, path: str, data: bytes) -> None:
    """Puts a file into somebody's share, whether or not the peer runs yet."""
    file = context.cluster.home / name / "local" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    context.contents[path] = data


def start(context: Any, name: str, server: str = "", wait: bool = True) -> Peer:
    """Starts somebody's peer, of the scenario's tracker or of `server`."""
    peer = context.cluster.peer(name, server=server or context.server, wait=wait)
    context.peers[name] = peer
    return peer


def start_behind(context: Any, name: str, fault: str) -> None:
    """Starts somebody's peer, whose bytes others get over a bad line."""
    detour = context.stack.enter_context(Detour(context.server, FAULTS[fault]))
    start(context, name, detour.address)


@given("these peers and files")
def peers_and_files(context: Any) -> None:
    for row in context.table:
        if row["file"]:
            path, size = row["file"], parse_size(row["size"])
            share(context, row["peer"], path, content(path, size))
    names = dict.fromkeys(row["peer"] for row in context.table)
    for peer in [start(context, name, wait=False) for name in names]:
        peer.wait_ready()


@given('"{name}" shares "{path}" of {size:Size} over a line that {fault}')
def shares_over_line(context: Any, name: str, path: str, size: int, fault: str) -> None:
    share(context, name, path, content(path, size))
    start_behind(context, name, fault)


@given('"{name}", who speaks only the first protocol, shares "{path}" of {size:Size}')
def seed_shares(context: Any, name: str, path: str, size: int) -> None:
    context.contents[path] = content(path, size)
    context.others[name] = context.stack.enter_context(SeedPeer(context.server, {path: context.contents[path]}))


@given('what "{name}" sends for "{path}" is something else')
def seed_lies(context: Any, name: str, path: str) -> None:
    context.others[name].lies = {path: bytes(len(context.contents[path]))}


@step('"{name}" joins')
def joins(context: Any, name: str) -> None:
    start(context, name)


@step('"{name}" joins and shares the same "{path}"')
def joins_with(context: Any, name: str, path: str) -> None:
    share(context, name, path, context.contents[path])
    start(context, name)


@when('"{name}" adds "{path}" of {size:Size}')
def adds(context: Any, name: str, path: str, size: int) -> None:
    share(context, name, path, content(path, size))


@when('"{name}" changes "{path}" to {size:Size}')
def changes(context: Any, name: str, path: str, size: int) -> None:
    share(context, name, path, content(path, size))


@when('"{name}" removes "{path}"')
def removes(context: Any, name: str, path: str) -> None:
    (context.peers[name].local / path).unlink()


@when('"{name}" dies')
def dies(context: Any, name: str) -> None:
    context.peers[name].kill()


@when('"{name}" hangs')
def hangs(context: Any, name: str) -> None:
    context.peers[name].pause()


@when('"{name}" wakes up')
def wakes_up(context: Any, name: str) -> None:
    context.peers[name].resume()


@when('"{name}" comes back')
def comes_back(context: Any, name: str) -> None:
    context.peers[name].restart()


@when('"{name}" leaves')
def leaves(context: Any, name: str) -> None:
    code = context.peers[name].stop()
    assert code == 0, f"{name} ended with {code}"


@then('"{one}" and "{other}" are still running')
def still_running(context: Any, one: str, other: str) -> None:
    for name in (one, other):
        assert context.peers[name].running, f"{name} ended with {context.peers[name].code}"


@then('"{name}" finds {paths}')
def seed_finds(context: Any, name: str, paths: str) -> None:
    olaf = context.others[name]
    for path in quoted(paths):
        until(lambda path=path: path in olaf.listing() and olaf.find(path), SEEN, f"{name} finds {path}")


@then('"{name}" downloads "{path}" as "{owner}" put it there')
def seed_downloads(context: Any, name: str, path: str, owner: str) -> None:
    assert context.others[name].download(path) == context.contents[path]
