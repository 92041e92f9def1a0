"""What a peer keeps of others' files: how much, what goes first, what stays.

    shelf     what is kept, and in which order it may go; pure
    room      that with the disk: lets bytes in, has others taken away
    copies    the copies in the index, counted
    reads     what was read last, over a restart

The swarm and the vfs may import `room`; it knows neither.
"""
