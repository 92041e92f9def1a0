"""Who a peer is, and the lock on its share."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from peer import identity
from peer.identity import load_identity, lock, next_epoch
from peer.layout import Layout
from shoal.errors import UsageError


def made(path: Path) -> Layout:
    path.mkdir(exist_ok=True)
    layout = Layout(path)
    layout.make()
    return layout


def test_it_stays_the_same_and_only_its_user_can_read_it(tmp_path: Path) -> None:
    layout = made(tmp_path / "share")
    first = load_identity(layout)
    assert load_identity(layout) == first
    assert first.id != first.secret
    assert layout.identity.stat().st_mode & 0o777 == 0o600


def test_on_another_machine_it_is_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = made(tmp_path / "share")
    first = load_identity(layout)
    monkeypatch.setattr(identity, "machine_id", lambda: "another")
    second = load_identity(layout)
    assert second.id != first.id
    assert load_identity(layout) == second


def test_in_a_copied_directory_it_is_a_new_one(tmp_path: Path) -> None:
    layout = made(tmp_path / "share")
    first = load_identity(layout)
    shutil.copytree(layout.local, tmp_path / "copy")
    assert load_identity(Layout(tmp_path / "copy")).id != first.id
    os.rename(layout.local, tmp_path / "moved")
    assert load_identity(Layout(tmp_path / "moved")).id == first.id


def test_one_that_cannot_be_read_is_replaced(tmp_path: Path) -> None:
    layout = made(tmp_path / "share")
    layout.identity.write_bytes(b"\0nonsense")
    assert load_identity(layout).id == load_identity(layout).id


def test_a_second_peer_on_one_share_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    layout = made(tmp_path / "share")
    held = lock(layout)
    with pytest.raises(UsageError, match="another peer"):
        lock(layout)
    os.close(held)
    os.close(lock(layout))


def test_an_epoch_is_above_the_last_one_whatever_the_clock_says(tmp_path: Path) -> None:
    layout = made(tmp_path / "share")
    assert next_epoch(layout, 5000) == 5000
    assert next_epoch(layout, 1000) == 5001
    assert next_epoch(layout, 9000) == 9000
    (layout.state / "epoch").write_text("nonsense")
    assert next_epoch(layout, 2000) == 2000


def test_the_programs_own_directories_are_its_users_alone(tmp_path: Path) -> None:
    layout = made(tmp_path / "share")
    for path in (layout.state, layout.partial, layout.copies, layout.quarantine):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
