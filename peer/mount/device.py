"""A mount, and the descriptor by which the kernel speaks to us about it.

Root mounts with `mount(2)`. A user has `fusermount3` do it, which sends the
descriptor over a socket.
"""

import ctypes
import os
import shutil
import socket
import subprocess

from peer.mount.mounting import TYPE
from shoal.errors import LocalError
from shoal.names import printable

_NOSUID, _NODEV, _NOATIME = 2, 4, 1024
_TOOL_TIMEOUT = 5.0
_libc = ctypes.CDLL(None, use_errno=True)


def open_mounted(point: str) -> int:
    """Mounts at a path without links; the descriptor. Whoever has it answers.

    Raises:
        LocalError: FUSE is missing, or refuses; says what to do.
    """
    if not os.path.exists("/dev/fuse"):
        raise LocalError("there is no /dev/fuse: load the kernel's fuse module, or run with --no-mount")
    return _mount(point) if os.geteuid() == 0 else _have_mounted(point)


def _mount(point: str) -> int:
    try:
        fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise LocalError(f"/dev/fuse cannot be used: {error.strerror}") from None
    # Not read-only: then the kernel would answer for us, and no watcher ever hear of what happened elsewhere.
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    flags = _NOSUID | _NODEV | _NOATIME
    if _libc.mount(b"shoal", os.fsencode(point), TYPE.encode(), flags, options.encode()):
        number = ctypes.get_errno()
        os.close(fd)
        raise LocalError(f"{printable(point)} cannot be mounted: {os.strerror(number)}")
    return fd


def _have_mounted(point: str) -> int:
    tool = shutil.which("fusermount3") or shutil.which("fusermount")
    if tool is None:
        raise LocalError("only root can mount without fusermount3: install it (Debian: apt install fuse3)")
    ours, theirs = socket.socketpair()
    options = "nosuid,nodev,noatime,fsname=shoal,subtype=shoal"
    with ours:
        with theirs:
            command = [tool, "-o", options, "--", point]
            environment = {**os.environ, "_FUSE_COMMFD": str(theirs.fileno())}
            process = subprocess.Popen(
                command, env=environment, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True
            )
        ours.settimeout(_TOOL_TIMEOUT)
        try:
            _, fds, _, _ = socket.recv_fds(ours, 1, 1)
        except TimeoutError:
            fds = []
        try:
            _, said = process.communicate(timeout=_TOOL_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            _, said = process.communicate()
    if not fds:
        raise LocalError(f"{printable(point)} cannot be mounted: {printable(said.strip()) or 'fusermount3 failed'}")
    os.set_inheritable(fds[0], False)
    return int(fds[0])
