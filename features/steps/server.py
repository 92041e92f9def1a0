"""Steps about the tracking server."""

from typing import Any

from behave import given, step, then, when
from words import Watch, holders, quoted

from tests.support.cluster import SEEN
from tests.support.patience import until

OPTIONS = ("--ttl", "5", "--refresh", "1")
"""A third of the usual times, so that the features need not wait for long leases to end."""


def listed(context: Any) -> set[str]:
    """The paths that the tracking server lists."""
    return {file["path"] for file in context.tracker.get("/v1/files")["files"]}


@given("a tracking server")
def tracking_server(context: Any) -> None:
    context.tracker = context.cluster.tracker(*OPTIONS)
    context.server = context.tracker.address


@given("the place of a tracking server that is not there yet")
def no_server_yet(context: Any) -> None:
    tracking_server(context)
    context.tracker.kill()


@when("the tracking server dies")
def server_dies(context: Any) -> None:
    name, paths = context.seen
    context.watch = Watch(context.peers[name], paths)
    context.stack.callback(context.watch.close)
    context.tracker.kill()


@when("the tracking server hangs")
def server_hangs(context: Any) -> None:
    context.tracker.pause()


@when("the tracking server comes back")
def server_comes_back(context: Any) -> None:
    context.tracker.restart()


@when("the tracking server has settled")
def has_settled(context: Any) -> None:
    until(lambda: not context.tracker.get("/v1/files?limit=1")["settling"], SEEN, "the tracking server has settled")


@step("the tracking server lists {paths}")
def lists(context: Any, paths: str) -> None:
    lists_soon(context, SEEN, paths)


@step('the tracking server knows that "{name}" has "{path}"')
def knows(context: Any, name: str, path: str) -> None:
    until(lambda: name in holders(context, path), SEEN, f"the tracking server knows that {name} has {path}")


@step("within {seconds:d} seconds the tracking server lists {paths}")
def lists_soon(context: Any, seconds: float, paths: str) -> None:
    until(lambda: set(quoted(paths)) <= listed(context), seconds, f"the tracking server lists {paths}")


@step('within {seconds:d} seconds the tracking server no longer lists "{path}"')
def lists_no_longer(context: Any, seconds: int, path: str) -> None:
    until(lambda: path not in listed(context), seconds, f"the tracking server lists no {path}", every=0.1)


@then('the tracking server finds "{path}" by the word "{word}"')
def finds(context: Any, path: str, word: str) -> None:
    found = [file["path"] for file in context.tracker.get(f"/v1/files?q={word}")["files"]]
    assert found == [path], found
