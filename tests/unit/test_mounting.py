"""What is mounted where, and whether two directories contain each other, from tables of mounts."""

from pathlib import Path

import pytest

from peer.mount.mounting import MountRow, check_apart, check_mountpoint, mount_rows, overlap
from shoal.errors import UsageError

TABLE = b"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
31 22 0:45 / /mnt/with\\040space\\134 ro,nosuid shared:2 master:1 - fuse.shoal shoal ro,user_id=0
32 22 8:1 /srv/share /elsewhere/bound rw - ext4 /dev/sda1 rw
33 22 0:46 / /elsewhere/bound/over rw - tmpfs tmpfs rw
"""


def test_a_table_is_read() -> None:
    rows = mount_rows(TABLE)
    assert rows[1] == MountRow("0:45", "/", "/mnt/with space\\", "fuse.shoal")
    assert [row.type for row in rows] == ["ext4", "fuse.shoal", "ext4", "tmpfs"]
    assert mount_rows(b"") == []


@pytest.mark.parametrize(
    ("a", "b", "contain"),
    [
        ("/srv/share", "/srv/share", True),
        ("/srv/share", "/srv/share/inner", True),
        ("/srv/share/inner", "/srv/share", True),
        ("/srv/share", "/srv/shared", False),
        ("/srv/share", "/srv/other", False),
        ("/srv/share", "/elsewhere/bound", True),
        ("/srv/share/inner", "/elsewhere/bound", True),
        ("/srv/share/inner", "/elsewhere/bound/inner/deep", True),
        ("/srv/share/inner", "/elsewhere/bound/other", False),
        ("/srv", "/elsewhere/bound", True),
        ("/srv/share", "/elsewhere/bound/over", False),
        ("/elsewhere/bound", "/elsewhere/bound/over", True),  # on another device, and in it all the same
        ("/srv/share", "/", True),
    ],
)
def test_one_contains_the_other(a: str, b: str, contain: bool) -> None:
    assert overlap(Path(a), Path(b), mount_rows(TABLE)) == contain
    assert overlap(Path(b), Path(a), mount_rows(TABLE)) == contain


def test_a_place_that_is_refused_is_named_so_that_it_steers_nothing(tmp_path: Path) -> None:
    place = tmp_path / "a\x1b[2J"
    with pytest.raises(UsageError, match=r"a\\x1b\[2J") as refused:
        check_apart(place, place / "mount")
    assert str(refused.value).isprintable()
    with pytest.raises(UsageError, match=r"a\\x1b\[2J") as refused:
        check_mountpoint(place)
    assert str(refused.value).isprintable()
