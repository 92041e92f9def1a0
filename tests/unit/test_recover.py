"""A crash at every single step of keeping and taking away, and what the next start makes of it."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import peer.share.durable as durable
import peer.share.moves as moves_module
from peer.share.durable import Durable, Proved
from peer.share.rows import Row
from shoal.manifest import manifest_of
from tests.support.share_by_hand import ME, OTHER, HandShare, download

NEW, OLD = 2 * 10**18, 10**18


class Crash(BaseException):
    """The process ends here."""


@contextmanager
def crash_at(step: int, share: HandShare) -> Iterator[list[int]]:
    """The process ends before the `step`-th change of disk or index; yields the count of those made."""
    made = [0]

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **named: object) -> object:
            if made[0] == step:
                raise Crash
            made[0] += 1
            return real(*args, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("rename_noreplace", "rename_exchange"):
            patch.setattr(moves_module, name, counted(getattr(moves_module, name)))
        for name in ("rename", "unlink", "rmdir", "mkdir"):
            patch.setattr(os, name, counted(getattr(os, name)))
        patch.setattr(share.index, "apply", counted(share.index.apply))
        yield made


def each_crash(
    tmp_path: Path, prepare: Callable[[HandShare], None], act: Callable[[HandShare], None]
) -> Iterator[Path]:
    """Plays `act` again and again, each time with the crash one step later, and starts again; yields LOCAL after it."""
    for step in range(100):
        local = tmp_path / str(step)
        local.mkdir()
        with HandShare(local) as share:
            prepare(share)
            with crash_at(step, share):
                try:
                    act(share)
                    ended = True
                except Crash:
                    ended = False
        with HandShare(local) as again:
            again.recovery.run()
            again.check()
            assert not again.index.moving()
            again.settle()
            again.check()
            yield local
        if ended:
            assert step > 2
            return
    raise AssertionError("the act never ends")


def contents(local: Path) -> dict[str, bytes]:
    return {
        p.relative_to(local).as_posix(): p.read_bytes()
        for p in local.rglob("*")
        if p.is_file() and ".shoal" not in p.parts
    }


def rows(local: Path) -> list[Row]:
    with HandShare(local) as share:
        return share.rows()


def leftovers(local: Path) -> list[str]:
    state = local / ".shoal"
    return [p.name for where in ("partial", "copies", "quarantine") for p in (state / where).iterdir()]


def put_partial(share: HandShare, data: bytes) -> None:
    cid = manifest_of(data).cid
    for suffix, body in ((".data", data), (".bits", b"b"), (".manifest", b"m")):
        (share.layout.partial / (cid + suffix)).write_bytes(body)


def test_keeping_a_new_file(tmp_path: Path) -> None:
    data = b"large" * 1000
    for local in each_crash(
        tmp_path,
        lambda share: put_partial(share, data),
        lambda share: share.copies.keep([download("d/p", data, OLD, inline=False)]) and None,
    ):
        there = contents(local).get("d/p") == data
        assert there or f"{manifest_of(data).cid}.data" in leftovers(local), "no whole download is lost"
        assert [r.kind for r in rows(local)] == (["copy"] if there else [])


def test_keeping_over_a_superseded_copy(tmp_path: Path) -> None:
    for local in each_crash(
        tmp_path,
        lambda share: share.keep("p", b"old", OLD, {OTHER: 1}) and None,
        lambda share: share.keep("p", b"new", NEW, {OTHER: 2}) and None,
    ):
        assert contents(local)["p"] in (b"old", b"new")
        listed = [r.cid for r in rows(local) if r.place == "local"]
        assert listed == [manifest_of(contents(local)["p"]).cid]
        assert leftovers(local) == []


def test_keeping_over_another_owners_copy(tmp_path: Path) -> None:
    for local in each_crash(
        tmp_path,
        lambda share: share.keep("p", b"old", OLD, {"c" * 64: 1}) and None,
        lambda share: share.keep("p", b"new", NEW, {OTHER: 2}) and None,
    ):
        cids = {r.cid for r in rows(local)}
        assert manifest_of(b"old").cid in cids, "the copy that gave way is not lost"
        assert len([r for r in rows(local) if r.place == "local"]) == 1


def test_keeping_over_a_copy_that_the_user_replaces_meanwhile(tmp_path: Path) -> None:
    """The worst: the crash comes while the user's file is aside."""

    def act(share: HandShare) -> None:
        real = moves_module.rename_exchange

        def meddle(*args: int | str) -> None:
            path = share.layout.local / "p"
            if path.read_bytes() == b"old":
                path.write_bytes(b"mine")
            real(*args)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(moves_module, "rename_exchange", meddle)
            share.keep("p", b"new", NEW, {OTHER: 2})

    for local in each_crash(tmp_path, lambda share: share.keep("p", b"old", OLD, {OTHER: 1}) and None, act):
        if contents(local)["p"] in (b"old", b"new"):  # the crash came before the user did
            continue
        assert contents(local)["p"] == b"mine"
        assert [r.kind for r in rows(local) if r.place == "local"] == ["own"]


def test_taking_a_copy_away(tmp_path: Path) -> None:
    cid = manifest_of(b"copy").cid
    for local in each_crash(
        tmp_path,
        lambda share: share.keep("d/p", b"copy", OLD) and None,
        lambda share: share.copies.take_away("d/p", cid),
    ):
        assert [r.path for r in rows(local) if r.kind == "copy"] == list(contents(local))
        assert leftovers(local) == []


def test_taking_away_a_copy_that_the_user_replaces_meanwhile(tmp_path: Path) -> None:
    cid = manifest_of(b"copy").cid

    def act(share: HandShare) -> None:
        real = moves_module.rename_noreplace

        def meddle(*args: int | str) -> None:
            path = share.layout.local / "p"
            if path.exists() and path.read_bytes() == b"copy":
                path.write_bytes(b"mine")
            real(*args)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(moves_module, "rename_noreplace", meddle)
            share.copies.take_away("p", cid)

    for local in each_crash(tmp_path, lambda share: share.keep("p", b"copy", OLD) and None, act):
        assert contents(local)["p"] in (b"mine", b"copy") and leftovers(local) == []


def test_a_copy_inside_that_is_gone_or_changed_loses_its_row(tmp_path: Path) -> None:
    with HandShare(tmp_path) as share:
        for path in ("p", "q"):
            (tmp_path / path).write_text("mine" + path)
            share.keep(path, path.encode())
        (share.layout.copies / manifest_of(b"p").cid).unlink()
        (share.layout.copies / manifest_of(b"q").cid).write_bytes(b"other")
    with HandShare(tmp_path) as again:
        again.recovery.run()
        assert [r for r in again.rows() if r.kind == "copy"] == []


def test_what_no_row_knows_is_removed_unless_it_may_be_a_users(tmp_path: Path) -> None:
    with HandShare(tmp_path) as share:
        (share.layout.partial / "x.keep").write_text("half")
        (share.layout.copies / ("e" * 64)).write_text("stale")
        (share.layout.copies / ("e" * 64 + ".aside")).write_text("whose?")
        (share.layout.copies / "odd").mkdir()
        share.recovery.run()
        assert sorted(leftovers(tmp_path)) == ["e" * 64 + ".aside", "odd"]
        assert (share.layout.quarantine / ("e" * 64 + ".aside")).exists()


# Another boot.


def proved(share: HandShare, boot: str, patch: pytest.MonkeyPatch) -> tuple[Durable, list[Proved]]:
    patch.setattr(durable, "boot_id", lambda: boot)
    results: list[Proved] = []
    made = Durable(share.root, share.index, ME, results.append)
    made.recover()
    return made, results


def test_after_a_power_cut_copies_are_announced_only_when_hashed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HandShare(tmp_path) as share:
        proved(share, "boot 1", monkeypatch)[0]._sync()
        share.keep("safe", b"safe")
        Durable(share.root, share.index, ME, lambda p: None)._sync()
        share.keep("whole", b"whole")
        share.keep("torn", b"torn!")
        with (tmp_path / "torn").open("r+b") as file:
            file.write(b"\0\0\0\0\0")
        os.utime(tmp_path / "torn", ns=(10**18, 10**18))
    with HandShare(tmp_path) as again:
        again.recovery.run()
        made, results = proved(again, "boot 2", monkeypatch)
        assert set(again.listed()) == {"safe"} and made.unproved
        again.settle()
        assert set(again.listed()) == {"safe"}, "what is not proved is not looked at either"
        monkeypatch.setattr("peer.share.hashing.GRAIN", 0.0)
        prove = threading.Thread(target=made._run_prove)  # it lowers its thread's priority
        prove.start()
        prove.join(20)
        assert len(results) == 2
        assert again.index.noted("boot") == "boot 1", "killed now, the next start proves them again"
        for result in results:
            made.take(result)
        again.settle()
        assert set(again.listed()) == {"safe", "whole"}
        assert again.index.noted("boot") == "boot 2"
        assert again.index.at("whole")[0].kind == "copy"
    with HandShare(tmp_path) as third:
        made, results = proved(third, "boot 2", monkeypatch)
        assert not made.unproved


def test_in_the_same_boot_nothing_is_hashed_again(tmp_path: Path) -> None:
    with HandShare(tmp_path) as share:
        Durable(share.root, share.index, ME, lambda p: None).recover()
        share.keep("p", b"copy")
        made = Durable(share.root, share.index, ME, lambda p: None)
        made.recover()
        assert not made.unproved and set(share.listed()) == {"p"}
