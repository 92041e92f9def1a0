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
    if name.isascii() and name.isprintable():
        size = len(name)
    else:
        _check_characters(name)
        size = len(name.encode())
    if not name or size > MAX_PATH_BYTES:
        raise BadName(f"a name must have 1 to {MAX_PATH_BYTES} bytes: {printable(name[:80])!s}")
    parts = name.split("/")
    if len(parts) > MAX_DEPTH:
        raise BadName(f"more than {MAX_DEPTH} directories deep: {printable(name[:80])}")
    for part in parts:
        if part in ("", ".", ".."):
            raise BadName(f"a part of the name is empty, '.' or '..': {printable(name)}")
        if len(part) * 4 > MAX_PART_BYTES and len(part.encode()) > MAX_PART_BYTES:
            raise BadName(f"a part of the name is over {MAX_PART_BYTES} bytes: {printable(name)}")
    if parts[0] == STATE_DIR:
        raise BadName(f"{STATE_DIR}/ belongs to the program: {printable(name)}")
    return SafePath(name)


def _check_characters(name: str) -> None:
    for char in name:
        category = unicodedata.category(char)
        if category in ("Cc", "Cs", "Zl", "Zp") or char in _BIDI:
            raise BadName(f"a control or direction character in the name: {printable(name)}")
    if not unicodedata.is_normalized("NFC", name):
        raise BadName(f"the name is not in Unicode's NFC form: {printable(name)}")


def safe_link(path: SafePath, target: str) -> str:
    """The target of a relative symlink at `path`, if it stays inside the tree.

    Raises:
        BadName: the target is empty, absolute or leads out of the share, or has
            characters that `safe_path` refuses.
    """
    if not target or target.startswith("/") or len(target.encode("utf-8", "replace")) > MAX_PATH_BYTES:
        raise BadName(f"a link that is not relative: {printable(path)}")
    _check_characters(target)
    # Lexical, and against the link's own directory. A link to a link is checked link by link: each one stays inside.
    here = path.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            if not here:
                raise BadName(f"a link that leads out of the share: {printable(path)}")
            here.pop()
        elif part not in ("", "."):
            here.append(part)
    if here and here[0] == STATE_DIR:
        raise BadName(f"a link into {STATE_DIR}/: {printable(path)}")
    return target


def safe_peer_name(name: str) -> str:
    """A peer's name for people: one path part of at most 64 characters.

    Raises:
        BadName: it could not be a single directory name.
    """
    if len(name) > 64 or "/" in name or "~" in name:
        raise BadName(f"a peer's name has at most 64 characters, no '/' and no '~': {printable(name[:80])}")
    return safe_path(name)


def printable(text: str) -> str:
    """The text with everything that could steer a terminal escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
