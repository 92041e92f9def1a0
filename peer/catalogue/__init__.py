"""What the network has, as this peer knows it.

    namespace  the shown names of one directory; pure, the same everywhere
    version    one version of a path, kept small
    tree       versions by path, folders and shown files
    merge      a tracker's entries and one's own index, path by path; pure
    checks     what a tracker says, checked again; pure
    duties     what owners and copies must do because of what others did; pure
    difference what changed at once, and what was there before
    catalogue  all of it behind one lock: what others read
    own        one's own index handed to the catalogue, and its duties to the scanner
    trackers   which tracker is in use; shared with the announcer
    follower   pulls the delta feed; hints make it do so at once
    holders    whom to ask for a content

May import `shoal`, `peer.share.rows` and `peer.messages`. The mount reads it, nothing here knows the mount.
"""
