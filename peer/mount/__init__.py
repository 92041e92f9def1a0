"""The vfs as a mounted file system: translation only, and the only FUSE code.

    errnos    the one table from errors to errno
    mounting  before and after: dead mounts cleaned, read-ahead set, unmounting that always ends
    binding   the FUSE library, chosen before it is imported, and its layouts
    versions  which version of a path the kernel may have in its caches; pure
    calls     each call of libfuse, translated for the vfs
    libfuse   the mount through libfuse3 and mfusepy (or fusepy, where only that is installed): begun and ended

May import `peer.vfs`, `shoal`. Imported by `peer.cli` only.
"""
