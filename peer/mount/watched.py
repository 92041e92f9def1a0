"""Who watches: the inodes of a file system that anybody has an inotify watch on.

The kernel tells in /proc, in the description of each inotify descriptor: to
root of everybody's, to a user of his own, who alone can see his mount.
"""

import os
import re
from collections.abc import Iterator

_INOTIFY = "anon_inode:inotify"
_WATCH = re.compile(rb"^inotify wd:\S+ ino:([0-9a-f]+) sdev:([0-9a-f]+) ", re.MULTILINE)


def watched_inodes(device: int) -> set[int]:
    """The numbers of the inodes of a device (st_dev) that are watched just now."""
    number = b"%x" % (os.major(device) << 20 | os.minor(device))
    found: set[int] = set()
    for process in os.listdir("/proc"):
        if process.isdigit():
            for description in _descriptions(f"/proc/{process}"):
                found.update(int(inode, 16) for inode, of in _WATCH.findall(description) if of == number)
    return found


def _descriptions(process: str) -> Iterator[bytes]:
    """Those of a process's inotify descriptors; none of one that ended meanwhile, or is none of ours."""
    try:
        fds = os.listdir(f"{process}/fd")
    except OSError:
        return
    for fd in fds:
        try:
            if os.readlink(f"{process}/fd/{fd}") != _INOTIFY:
                continue
            with open(f"{process}/fdinfo/{fd}", "rb") as file:
                description = file.read()
        except OSError:  # closed meanwhile, as the one that listed them was
            continue
        yield description
