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
    requests  each of them translated for the vfs, and answered
    directories  those that are open, listed
    files     those that are open, read; what waits is parked
    answers   what the kernel is told of a node
    notices   what the kernel is told to forget
    backing   files that are here, which the kernel reads itself
    watched   who watches: the inodes with an inotify watch
    acts      what is done once more here, so that watchers hear what other machines did; pure
    watchers  finds out what watchers are to hear, and has the helper do it
    actor     the helper: a process of its own, which does it through the mount
    stage     answers the helper's requests
    kernel    the mount by the kernel's protocol: begun and ended

May import `peer.vfs`, `peer.process`, `shoal`, and the types that pass through the vfs: `peer.swarm.pending`,
`peer.catalogue.difference`, `peer.catalogue.tree`. Imported by `peer.cli` only.
"""
