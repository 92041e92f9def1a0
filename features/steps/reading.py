"""Steps about what a peer's folder shows, and what reading from it gives."""

import os
from typing import Any

from behave import step, then, when
from words import Outcome, attempt, holders, quoted

from tests.support.cluster import READ, SEEN
from tests.support.patience import until, within


@step('"{name}" sees {paths}')
def sees(context: Any, name: str, paths: str) -> None:
    context.seen = (name, quoted(paths))
    for path in quoted(paths):
        context.peers[name].wait_for(path)


@step('within {seconds:d} seconds "{name}" sees "{path}" with {size:Size}')
def sees_soon(context: Any, seconds: int, name: str, path: str, size: int) -> None:
    context.peers[name].wait_for(path, size, seconds)


@then('"{name}" does not see "{path}"')
def sees_not(context: Any, name: str, path: str) -> None:
    assert not context.peers[name].sees(path)


@step('within {seconds:d} seconds "{name}" no longer sees "{path}"')
def sees_no_longer(context: Any, seconds: int, name: str, path: str) -> None:
    context.peers[name].wait_gone(path, seconds)


@then('"{name}" saw "{path}" all the time')
def saw_all_the_time(context: Any, name: str, path: str) -> None:
    assert path not in context.watch.missed


@when('"{name}" looks for "{path}"')
def looks_for(context: Any, name: str, path: str) -> None:
    peer = context.peers[name]
    peer.wait_for(path)
    context.found = os.stat(peer.mount / path)


@then("it is there with {size:Size}")
def there_with(context: Any, size: int) -> None:
    assert context.found.st_size == size, context.found


@when('"{name}" lists every directory with sizes and times')
def lists_everything(context: Any, name: str) -> None:
    peer = context.peers[name]
    for path in context.contents:
        peer.wait_for(path)

    def walk() -> set[str]:
        files = (os.path.join(top, file) for top, _, names in os.walk(peer.mount) for file in names)
        return {os.path.relpath(file, peer.mount) for file in files if os.stat(file).st_mtime > 0}

    assert within(READ, walk) == set(context.contents)


@step('"{name}" can list its folder within {seconds:d} seconds')
def can_list(context: Any, name: str, seconds: int) -> None:
    assert context.peers[name].ls(seconds=seconds)


@when('"{name}" reads "{path}"')
def reads(context: Any, name: str, path: str) -> None:
    peer = context.peers[name]
    peer.wait_for(path)
    context.outcome = Outcome(path, peer.cat(path), None, 0.0)


@when('"{name}" tries to read "{path}"')
def tries(context: Any, name: str, path: str) -> None:
    peer = context.peers[name]
    peer.wait_for(path)
    context.outcome = attempt(path, lambda: peer.cat(path))


@when('"{name}" reads {size:Size} at the end of "{path}"')
def reads_end(context: Any, name: str, size: int, path: str) -> None:
    peer, offset = context.peers[name], len(context.contents[path]) - size
    peer.wait_for(path)
    context.outcome = attempt(path, lambda: peer.cat(path, offset, size), offset)


@then('it is what "{owner}" put there')
def is_right(context: Any, owner: str) -> None:
    outcome = context.outcome
    assert outcome.error is None, outcome.error
    assert outcome.data == context.contents[outcome.path][outcome.offset :], (
        f"{len(outcome.data)} bytes, not the right ones"
    )


@then("it fails within {seconds:d} seconds")
def fails(context: Any, seconds: int) -> None:
    outcome = context.outcome
    assert outcome.error is not None, f"it gave {len(outcome.data)} bytes"
    assert outcome.seconds < seconds, f"it took {outcome.seconds:.1f} s"


@then('it fails with "{words}" within {seconds:d} seconds')
def fails_with(context: Any, words: str, seconds: int) -> None:
    fails(context, seconds)
    assert context.outcome.error.strerror == words, context.outcome.error


@step('"{name}" can read "{path}" within {seconds:d} seconds')
def can_read(context: Any, name: str, path: str, seconds: int) -> None:
    peer = context.peers[name]
    peer.wait_for(path)

    def read() -> bool:
        assert peer.cat(path, seconds=seconds) == context.contents[path], "wrong bytes"
        return True

    until(read, seconds, f"{name} reads {path}", every=0.3)


@when('"{name}" has read the first {size:Size} of "{path}"')
def has_read_first(context: Any, name: str, size: int, path: str) -> None:
    peer = context.peers[name]
    peer.wait_for(path)
    context.path, context.file = path, within(READ, open, peer.mount / path, "rb", 0)
    context.stack.callback(context.file.close)
    context.begun = within(READ, context.file.read, size)


@then('"{name}" reads the rest as it should be within {seconds:d} seconds')
def reads_rest(context: Any, name: str, seconds: int) -> None:
    rest = within(seconds, context.file.readall)
    assert context.begun + rest == context.contents[context.path]


@step('"{name}" has downloaded nothing')
def downloaded_nothing(context: Any, name: str) -> None:
    assert context.peers[name].fetched() == 0, context.peers[name].fetched()


@step('"{name}" has downloaded at most {size:Size}')
def downloaded_at_most(context: Any, name: str, size: int) -> None:
    assert 0 < context.peers[name].fetched() <= size, context.peers[name].fetched()


@step('"{name}" keeps no "{path}"')
def keeps_not(context: Any, name: str, path: str) -> None:
    assert not (context.peers[name].local / path).exists()


@step('"{name}" keeps "{path}" and shares it on')
def keeps(context: Any, name: str, path: str) -> None:
    kept = context.peers[name].wait_kept(path)
    assert kept.read_bytes() == context.contents[path]
    until(lambda: name in holders(context, path), SEEN, f"the tracking server knows that {name} has {path}")


@step('"{name}" has refused corrupted pieces')
def refused(context: Any, name: str) -> None:
    assert context.peers[name].metric("shoal_rejected_pieces_total") > 0


@then('"{name}" cannot write "{path}" through the folder')
def cannot_write(context: Any, name: str, path: str) -> None:
    peer = context.peers[name]
    outcome = attempt(path, lambda: within(READ, open, peer.mount / path, "ab", 0).read())
    assert outcome.error is not None and outcome.error.strerror in ("Read-only file system", "Permission denied")
