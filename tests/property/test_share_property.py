"""The share as a whole, under a user who does anything and a network that keeps anything."""

import os
import shutil
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peer.share.mark import get_mark
from shoal.manifest import DIR_CID
from tests.support.share_by_hand import ME, HandShare, download, listed_anew

NAMES = ("a", "b", "é", "e\u0301", "d", "d/a", "d/b", "d/d", "d/d/a", "d.x")
PATHS = ("a", "b", "é", "d", "d/a", "d/b", "d/d/a", "d.x", "n/m")
names = st.sampled_from(NAMES)
operations = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["write", "delete", "mkdir", "rmdir", "look", "link"]), names, st.just("")),
        st.tuples(st.just("move"), names, names),
        st.tuples(st.just("keep"), st.sampled_from(PATHS), st.sampled_from(["old", "new"])),
        st.tuples(st.sampled_from(["settle", "restart"]), st.just(""), st.just("")),
    ),
    max_size=25,
)


def user_does(local: Path, what: str, name: str, other: str, number: int) -> None:
    """What a user may try; what does not work is not done."""
    path = local / name
    doing: dict[str, Callable[[], object]] = {
        "write": lambda: path.write_bytes(b"user" + b"." * number),
        "delete": lambda: path.unlink(),
        "mkdir": lambda: path.mkdir(),
        "rmdir": lambda: shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.rmdir(),
        "link": lambda: path.symlink_to("a" if number % 2 else "../../out"),
        "move": lambda: path.rename(local / other),
    }
    try:
        doing[what]()
    except OSError:
        pass


def users_files(local: Path) -> dict[str, bytes]:
    """The user's own files: all that no keep wrote."""
    found = {}
    for where, directories, files in os.walk(local):
        if where == str(local):
            directories.remove(".shoal")
        for name in files:
            path = Path(where, name)
            if not path.is_symlink() and path.read_bytes().startswith(b"user"):
                found[str(path.relative_to(local))] = path.read_bytes()
    return found


def made_for_copies(share: HandShare, path: str, cid: str) -> bool:
    """Whether this is an empty directory that only the index with the marks knows not to be the user's."""
    if cid != DIR_CID:
        return False
    forms = [share.layout.local / unicodedata.normalize(form, path) for form in ("NFC", "NFD")]
    fd = os.open(next(form for form in forms if form.exists()), os.O_RDONLY)
    try:
        return get_mark(fd, ME, path, 0) is not None
    finally:
        os.close(fd)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations)
def test_the_index_is_what_a_new_one_would_be(steps: list[tuple[str, str, str]]) -> None:
    """After any operations of the user and any downloads, a settled index lists what an index made from scratch would,
    its digest is that of its rows, and no file of the user's was changed by the program."""
    with tempfile.TemporaryDirectory() as directory:
        local = Path(directory) / "local"
        local.mkdir()
        share = HandShare(local)
        try:
            for number, (what, name, other) in enumerate(steps):
                mine = users_files(local)
                if what == "keep":
                    mtime = 2 * 10**18 if other == "new" else 10**18
                    revs = {"b" * 64: number} if number % 3 else {"c" * 64: 1}
                    kept = share.copies.keep([download(name, b"kept" + b"+" * number, mtime, revs)])
                    assert kept[0].place in ("local", "inside")
                elif what == "settle":
                    share.settle()
                    share.check()
                elif what == "look":
                    share.looker.look(name)
                    share.drain()
                elif what == "restart":
                    share.__exit__()
                    share = HandShare(local)
                    share.recovery.run()
                else:
                    user_does(local, what, name, other, number)
                    continue
                assert users_files(local) == mine
            share.settle()
            share.settle()
            share.check()
            anew = listed_anew(local, Path(directory) / "again")
            assert share.listed() == {path: cid for path, cid in anew.items() if not made_for_copies(share, path, cid)}
        finally:
            share.__exit__()
