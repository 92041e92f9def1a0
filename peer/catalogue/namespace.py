"""The shown names of one directory: pure, and the same everywhere for the same catalogue.

    the newest version of a path has its name (ties: the lowest cid);
    each other version stands beside it as `stem~PEER.ext`;
    a path that is a folder for one and a file for another is the folder, and the file stands beside it likewise;
    a name so made that is taken gets `-` and four hex digits of the owner's id, and more digits while that is taken.

Nothing is hidden and nothing merged, except that an empty directory is the
folder of its name. Names that differ in case are different names.
"""

import hashlib
import os.path
from collections.abc import Callable, Collection, Iterator, Mapping

from shoal.names import MAX_PART_BYTES, SafePath
from shoal.wire import Entry

Version = tuple[SafePath, Entry]
"""One version of a path: what is to be shown."""

_LONG_EXTENSION, _LONG_PEER = 32, 64
"""Bytes that extension and peer keep where the whole name is too long."""


def shown_names(
    versions: Mapping[str, Collection[Version]],
    is_folder: Callable[[str], bool],
    name_of: Callable[[str], str],
    is_taken: Callable[[str], bool] = lambda name: False,
) -> dict[str, Version | None]:
    """What is shown of these names of a directory: for each shown name the version, or None for a folder.

    `versions` has the versions of each name: files, links and empty directories. `is_folder` says whether a name
    is a folder for somebody, `name_of` the name of a living peer by id ("": not alive). `is_taken` tells of the
    directory's other names, which are shown as they are and may be left out of `versions`.
    """
    shown: dict[str, Version | None] = {}
    beside: list[tuple[str, Version]] = []
    for name, held in versions.items():
        files = sorted((version for version in held if not version[1].is_dir), key=_rank)
        if is_folder(name) or len(files) < len(held):
            shown[name] = None
        elif files:
            shown[name] = files.pop(0)
        beside += [(name, version) for version in files]
    for name, version in sorted(beside, key=lambda pair: (pair[0], _rank(pair[1]))):
        for made in _made_names(name, version, name_of):
            if made not in shown and not is_folder(made) and not is_taken(made):
                shown[made] = version
                break
    return shown


def newest(versions: Collection[Entry]) -> list[Entry]:
    """The versions of one path in the order of their claim to its name."""
    return sorted(versions, key=lambda entry: (-entry.mtime, entry.cid, entry.sha1))


def _rank(version: Version) -> tuple[int, str, str]:
    entry = version[1]
    return -entry.mtime, entry.cid, entry.sha1


def _made_names(name: str, version: Version, name_of: Callable[[str], str]) -> Iterator[str]:
    """The names that a version which has not got its path's may have, in the order of preference; endless."""
    path, entry = version
    id, peer = _who(entry, name_of)
    yield _beside(name, peer, "")
    # After the id, digits that no two versions share.
    digits = id + hashlib.sha256(f"{path}\n{entry.cid}\n{entry.sha1}".encode()).hexdigest()
    for length in range(4, len(digits) + 1):
        yield _beside(name, peer, f"-{digits[:length]}")
    number = 2
    while True:  # somebody made files with all the names above
        yield _beside(name, peer, f"-{digits[:4]}-{number}")
        number += 1


def _who(entry: Entry, name_of: Callable[[str], str]) -> tuple[str, str]:
    """(id, name) of the peer that tells this version from others."""
    for id in (*sorted(owner.id for owner in entry.owners), *sorted(entry.holders)):
        if peer := name_of(id):
            return id, peer
    for owner in sorted(entry.owners, key=lambda owner: owner.id):
        return owner.id, owner.name or owner.id[:8]
    id = min(entry.holders, default="")
    return id, id[:8] or "unknown"


def _beside(name: str, peer: str, suffix: str) -> str:
    """`stem~PEER-SUFFIX.ext`, its parts cut where it would be over 255 bytes."""
    stem, extension = os.path.splitext(name)
    made = f"{stem}~{peer}{suffix}{extension}"
    if len(made.encode()) <= MAX_PART_BYTES:
        return made
    tail = f"~{_cut(peer, _LONG_PEER)}{suffix}{_cut(extension, _LONG_EXTENSION)}"
    return _cut(stem, MAX_PART_BYTES - len(tail.encode())) + tail


def _cut(text: str, most: int) -> str:
    """The longest beginning of the text that has at most so many bytes of UTF-8."""
    return text.encode()[:most].decode(errors="ignore")
