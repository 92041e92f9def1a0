"""The kernel's FUSE protocol: its messages' layouts and names, as `linux/fuse.h` has them (version 7.31 to 7.45).

A request is `IN_HEADER`, the fixed part of its opcode, and names that end with
a NUL. An answer is `OUT_HEADER` and a body; an error is the header alone, with
a negative errno. What the kernel is told unasked has 0 for `unique` and a code
for the error. Numbers are the machine's own, aligned by hand. Pure.
"""

from collections.abc import Iterator
from enum import IntEnum, IntFlag
from struct import Struct, pack
from typing import NamedTuple

KERNEL_VERSION = 7
OLDEST_MINOR, NEWEST_MINOR = 31, 45
"""Minor versions that are spoken; a newer kernel speaks the newest of these with us."""
ROOT = 1
"""The root's node id."""
PAGE = 4096
MAX_READ = 1 << 20
"""Bytes of the largest READ."""
BUFFER = 64 << 10
"""Bytes of a buffer that every request fits into, as none of them writes: names, and batches of FORGET."""
FOREVER = (1 << 31, 0)
"""Seconds and nanoseconds that the kernel may believe what it is told on change."""
NOT_AT_ALL = (0, 0)


class Op(IntEnum):
    """What a request asks for."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    OPEN = 14
    READ = 15
    STATFS = 17
    RELEASE = 18
    GETXATTR = 22
    LISTXATTR = 23
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    READDIRPLUS = 44


WRITES = frozenset((4, 6, 8, 9, 10, 11, 12, 13, 16, 21, 24, 35, 43, 45, 51))
"""Opcodes that would change something: SETATTR, SYMLINK, MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK, WRITE, SETXATTR,
REMOVEXATTR, CREATE, FALLOCATE, RENAME2, TMPFILE."""


class Init(IntFlag):
    """What both sides can do; from bit 32 on in `flags2`."""

    ASYNC_READ = 1 << 0
    BIG_WRITES = 1 << 5
    AUTO_INVAL_DATA = 1 << 12
    DO_READDIRPLUS = 1 << 13
    READDIRPLUS_AUTO = 1 << 14
    ASYNC_DIO = 1 << 15
    PARALLEL_DIROPS = 1 << 18
    ABORT_ERROR = 1 << 21
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23
    INIT_EXT = 1 << 30
    DIRECT_IO_ALLOW_MMAP = 1 << 36
    PASSTHROUGH = 1 << 37


class Open(IntFlag):
    """How an OPEN or OPENDIR is answered."""

    DIRECT_IO = 1 << 0
    KEEP_CACHE = 1 << 1
    CACHE_DIR = 1 << 3
    PASSTHROUGH = 1 << 7


class Notice(IntEnum):
    """What the kernel is told unasked."""

    INVAL_INODE = 2
    INVAL_ENTRY = 3


IN_HEADER = Struct("=IIQQIIIHH")
"""length, opcode, unique, node id, uid, gid, pid, length of extensions, padding."""
OUT_HEADER = Struct("=IiQ")
"""length, error (0 or a negative errno), unique."""
INIT_IN = Struct("=IIIII44x")
"""major, minor, max_readahead, flags, flags2. Older kernels send the first four only."""
INIT_IN_SHORT = Struct("=IIII")
INIT_OUT = Struct("=IIIIHHIIHHIIH22x")
"""major, minor, max_readahead, flags, max_background, congestion_threshold, max_write, time_gran, max_pages,
map_alignment, flags2, max_stack_depth, request_timeout."""
ATTR = Struct("=6Q10I")
"""ino, size, blocks, atime, mtime, ctime, their nanoseconds, mode, nlink, uid, gid, rdev, blksize, flags."""
ENTRY_OUT = Struct("=4QII")
"""node id, generation, seconds the entry and the attributes are valid for, their nanoseconds; then ATTR."""
ATTR_OUT = Struct("=QI4x")
"""seconds the attributes are valid for, nanoseconds; then ATTR."""
MKDIR_IN = Struct("=II")
"""mode, umask; the name follows."""
CREATE_IN = Struct("=IIII")
"""flags, mode, umask, open_flags; the name follows."""
OPEN_IN = Struct("=II")
"""flags, open_flags."""
OPEN_OUT = Struct("=QIi")
"""handle, `Open` flags, backing id."""
READ_IN = Struct("=QQIIQII")
"""handle, offset, size, read_flags, lock_owner, flags, padding; READDIR's and READDIRPLUS's too."""
RELEASE_IN = Struct("=QIIQ")
"""handle, flags, release_flags, lock_owner."""
FORGET_IN = Struct("=Q")
"""lookups."""
BATCH_FORGET_IN = Struct("=I4x")
"""how many FORGET_ONE follow."""
FORGET_ONE = Struct("=QQ")
"""node id, lookups."""
XATTR_IN = Struct("=I4x")
"""size of the asker's buffer; GETXATTR's name follows."""
XATTR_OUT = Struct("=I4x")
"""size of the value, when the asker has no buffer."""
INTERRUPT_IN = Struct("=Q")
"""unique of the request that need not be answered any more."""
ACCESS_IN = Struct("=I4x")
"""mask."""
STATFS_OUT = Struct("=5Q4I24x")
"""blocks, bfree, bavail, files, ffree, bsize, namelen, frsize, padding."""
DIRENT = Struct("=QQII")
"""ino, offset of the next, length of the name, type (the mode's upper bits); the name, padded to 8 bytes."""
INVAL_INODE_OUT = Struct("=Qqq")
"""node id, offset (-1: attributes alone), length (0: to the end)."""
INVAL_ENTRY_OUT = Struct("=QII")
"""parent's node id, length of the name, flags; the name, NUL."""
BACKING_MAP = Struct("=iIQ")
"""descriptor, flags, padding: the argument of the ioctl that opens a backing."""
IOCTL_BACKING_OPEN, IOCTL_BACKING_CLOSE = 0x4010E501, 0x4004E502


class Request(NamedTuple):
    """A request, taken apart. `body` is what follows the header; it does not outlive the buffer it was read into."""

    opcode: int
    unique: int
    node: int
    pid: int
    body: memoryview


class BadMessage(Exception):
    """The kernel never sends this: a message that is cut short, or whose names have no end."""


def parse(buffer: memoryview) -> Request:
    """Raises BadMessage."""
    if len(buffer) < IN_HEADER.size:
        raise BadMessage(f"{len(buffer)} bytes are no request")
    length, opcode, unique, node, _, _, pid, _, _ = IN_HEADER.unpack_from(buffer)
    if length != len(buffer):
        raise BadMessage(f"a request of {length} bytes came with {len(buffer)}")
    return Request(opcode, unique, node, pid, buffer[IN_HEADER.size :])


def fixed(layout: Struct, body: memoryview) -> tuple[int, ...]:
    """The fixed part of a request's body. Raises BadMessage."""
    if len(body) < layout.size:
        raise BadMessage(f"{len(body)} bytes where {layout.size} are needed")
    return layout.unpack_from(body)


def name(body: memoryview) -> bytes:
    """The name that a body is, or ends with. Raises BadMessage."""
    text, end, _ = bytes(body).partition(b"\0")
    if not end or not text:
        raise BadMessage("a name without an end")
    return text


def forgets(body: memoryview) -> Iterator[tuple[int, int]]:
    """(node id, lookups) of a BATCH_FORGET. Raises BadMessage."""
    (count,) = fixed(BATCH_FORGET_IN, body)
    pairs = body[BATCH_FORGET_IN.size :]
    if len(pairs) < count * FORGET_ONE.size:
        raise BadMessage(f"a batch of {count} that is cut short")
    yield from FORGET_ONE.iter_unpack(pairs[: count * FORGET_ONE.size])


def answer(unique: int, body: bytes = b"") -> bytes:
    """An answer with a body."""
    return OUT_HEADER.pack(OUT_HEADER.size + len(body), 0, unique) + body


def data_head(unique: int, length: int) -> bytes:
    """The head of an answer whose body, of so many bytes, is written with it."""
    return OUT_HEADER.pack(OUT_HEADER.size + length, 0, unique)


def failure(unique: int, errno: int) -> bytes:
    """An answer that says what went wrong: a positive errno."""
    return OUT_HEADER.pack(OUT_HEADER.size, -errno, unique)


def dirent(node: int, offset: int, mode: int, name: bytes) -> bytes:
    """An entry of a READDIR's answer; after an ENTRY_OUT and ATTR, one of READDIRPLUS's. `offset` is the next one's."""
    return DIRENT.pack(node, offset, len(name), (mode >> 12) & 15) + name + bytes(-len(name) % 8)


def inval_inode(node: int, offset: int) -> bytes:
    """From `offset` on nothing of the inode may be believed any more; with -1 its attributes alone."""
    return _notice(Notice.INVAL_INODE, INVAL_INODE_OUT.pack(node, offset, 0))


def inval_entry(parent: int, name: bytes) -> bytes:
    """What is at this name must be looked up anew."""
    return _notice(Notice.INVAL_ENTRY, INVAL_ENTRY_OUT.pack(parent, len(name), 0) + name + b"\0")


def backing_map(fd: int) -> bytearray:
    """The argument of `IOCTL_BACKING_OPEN`."""
    return bytearray(BACKING_MAP.pack(fd, 0, 0))


def backing_id(number: int) -> bytes:
    """The argument of `IOCTL_BACKING_CLOSE`."""
    return pack("=I", number)


def _notice(code: Notice, body: bytes) -> bytes:
    return OUT_HEADER.pack(OUT_HEADER.size + len(body), code, 0) + body
