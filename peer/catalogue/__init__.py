"""What the network has, as this peer knows it.

    namespace  the shown names of one directory; pure, the same everywhere
    tree       entries by path, folders and shown files
    catalogue  the tracker's pages and one's own index, merged into the tree
    follower   pulls the delta feed; hints make it do so at once

May import `shoal` and `peer.share.rows`. The mount reads it, nothing here knows the mount.
"""
