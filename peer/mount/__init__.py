"""The vfs as a mounted file system: translation only, and the only FUSE code.

    adapters  which of the two mounts
    errnos    the one table from errors to errno
    mounting  before and after: dead mounts cleaned, read-ahead set, unmounting that always ends
    binding   the FUSE library, chosen before it is imported, and its layouts
    versions  which version of a path the kernel may have in its caches; pure
    calls     each call of libfuse, translated for the vfs
    libfuse   the mount through libfuse3 and mfusepy (or fusepy, where only that is installed): begun and ended

    protocol  the kernel's own messages, as its header has them; pure
    table     the kernel's nodes: which number stands for which version of which path; pure
    device    the mount, and the descriptor by which the kernel speaks
    session   requests read, one after the other, until the end
    requests  each of them translated for the vfs, and answered; what waits is parked
    notices   what the kernel is told to forget
    backing   files that are here, which the kernel reads itself
    kernel    the mount by the kernel's protocol: begun and ended

May import `peer.vfs`, `shoal`. Imported by `peer.cli` only.
"""
