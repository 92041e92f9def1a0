"""What the helper does through the mount, so that the kernel tells those who watch what happened elsewhere.

inotify reports what is done on this machine. So what another machine did is
done here once more, by a process of our own, whose requests are answered as if
something were written; nothing is. What it does is what a program would do who
writes such a file: so everybody hears what he would hear on any disk.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:  # the helper imports this, and is to stay small
    from peer.vfs import Sight

Kind = Literal["create", "mkdir", "symlink", "unlink", "rmdir", "modify", "touch"]
_MAKING: Mapping[str, Kind] = {"file": "create", "folder": "mkdir", "link": "symlink"}
_TAKING: Mapping[str, Kind] = {"file": "unlink", "folder": "rmdir", "link": "unlink"}
MAKES, TAKES = frozenset(_MAKING.values()), frozenset(_TAKING.values())


class Act(Struct, frozen=True, gc=False):
    """Something done at a shown path.

    "create", "mkdir" and "symlink" make it, "unlink" and "rmdir" take it away; "modify" opens a file, changes its
    time and closes it; "touch" changes times alone.
    """

    kind: Kind
    path: str


class Acts(Struct, frozen=True):
    """To the helper: acts, one after the other, in the mount at `point`, if that is the device `device` (st_dev)."""

    point: str
    device: int
    acts: list[Act]


class Acted(Struct, frozen=True):
    """From the helper: the next act is done; `why` says why not, "" if it is; "there" if it was made already."""

    why: str


def difference(before: "Mapping[str, Sight]", now: "Mapping[str, Sight]") -> list[Act]:
    """The acts that lead from what was seen to what is seen, by shown path."""
    acts: list[Act] = []
    for path in {**before, **now}:
        old, new = before.get(path), now.get(path)
        if old == new:
            continue
        if old is not None and new is not None and old.kind == new.kind:
            acts.append(Act("modify" if old.kind == "file" and old.content != new.content else "touch", path))
            continue
        if old is not None:
            acts.append(Act(_TAKING[old.kind], path))
        if new is not None:
            acts.append(Act(_MAKING[new.kind], path))
    return acts


def replaced(act: Act) -> tuple[Act, Act]:
    """The like of a change, by another file in the place of the first."""
    return Act("unlink", act.path), Act("create", act.path)


def in_order(acts: list[Act]) -> list[Act]:
    """First what goes, what is in a folder before the folder; then what comes, the folder first; then the rest."""
    taken = sorted((act for act in acts if act.kind in TAKES), key=lambda act: act.path, reverse=True)
    made = sorted((act for act in acts if act.kind in MAKES), key=lambda act: act.path)
    rest = sorted((act for act in acts if act.kind not in TAKES | MAKES), key=lambda act: act.path)
    return taken + made + rest
