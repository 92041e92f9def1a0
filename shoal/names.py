"""Names: the one place where an untrusted name becomes a path.

A path of the network is relative, `/`-separated, UTF-8 in NFC. `safe_path` is
the only maker of `SafePath`; whatever opens, creates or lists takes no other.
`printable` is the only way in which a name reaches a terminal or a log.
"""

import unicodedata
from typing import NewType

from shoal.errors import BadName

SafePath = NewType("SafePath", str)
"""A relative path that passed `safe_path`; "" (the root of a share) never does."""

MAX_PART_BYTES = 255
MAX_PATH_BYTES = 4096
MAX_DEPTH = 64
STATE_DIR = ".shoal"
"""The program's own directory at the root of a share and of a mount; never shared."""

# Characters that reorder what is shown: a name with them can look like another one.
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def safe_path(name: str) -> SafePath:
    """The name as a path, unchanged.

    Raises:
        BadName: it is empty, absolute, not NFC, too long or too deep; has an
            empty, `.` or `..` part; has a NUL, control, bidi or line separator
            character or a lone surrogate; or lies in `.shoal` at the root.
    """
    _check_text(name)
    parts = name.split("/")
    if len(parts) > MAX_DEPTH:
        raise BadName(f"more than {MAX_DEPTH} directories deep: {_short(name)}")
    for part in parts:
        if part in ("", ".", ".."):
            raise BadName(f"a part of the name is empty, '.' or '..': {_short(name)}")
        if len(part) * 4 > MAX_PART_BYTES and len(part.encode()) > MAX_PART_BYTES:
            raise BadName(f"a part of the name is over {MAX_PART_BYTES} bytes: {_short(name)}")
    if parts[0] == STATE_DIR:
        raise BadName(f"{STATE_DIR}/ belongs to the program: {_short(name)}")
    return SafePath(name)


def _check_text(name: str) -> None:
    """Length and characters, of a path or of a link's target; the length first, so that a long name costs nothing."""
    if not 0 < len(name) <= MAX_PATH_BYTES:
        raise BadName(f"a name must have 1 to {MAX_PATH_BYTES} bytes: {_short(name)}")
    if name.isascii() and name.isprintable():
        return
    for char in name:
        if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in _BIDI:
            raise BadName(f"a control or direction character in the name: {_short(name)}")
    if len(name.encode()) > MAX_PATH_BYTES:
        raise BadName(f"a name must have 1 to {MAX_PATH_BYTES} bytes: {_short(name)}")
    if not unicodedata.is_normalized("NFC", name):
        raise BadName(f"the name is not in Unicode's NFC form: {_short(name)}")


def safe_link(path: SafePath, target: str) -> str:
    """The target of a relative symlink at `path`, if it stays inside the tree.

    Raises:
        BadName: the target is empty, too long, absolute, leads out of the share or
            into `.shoal`, has a `..` after a name, or characters that `safe_path` refuses.
    """
    _check_text(target)
    if target.startswith("/"):
        raise BadName(f"a link that is not relative: {_short(path)}")
    # The link's own directory is a real one, so leading `..` are counted right. After a name they are not:
    # that name may be a link to higher up (`d -> .`, then `d/..` leads out). With `..` only at the front every
    # link stays inside, so a chain of them does.
    parts = [part for part in target.split("/") if part not in ("", ".")]
    ups = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    if ups > path.count("/") or ".." in parts[ups:]:
        raise BadName(f"a link that may lead out of the share: {_short(path)}")
    if STATE_DIR in parts:
        raise BadName(f"a link into {STATE_DIR}/: {_short(path)}")
    return target


def safe_peer_name(name: str) -> str:
    """A peer's name for people: one path part of at most 64 characters.

    Raises:
        BadName: it could not be a single directory name.
    """
    if len(name) > 64 or "/" in name or "~" in name:
        raise BadName(f"a peer's name has at most 64 characters, no '/' and no '~': {_short(name)}")
    return safe_path(name)


def _short(name: str) -> str:
    return printable(name[:80])


def printable(text: str) -> str:
    """The text with everything that could steer a terminal escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
