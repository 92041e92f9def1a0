"""Peers of one content, in simulated time: each has a real plan, bench and windows, and no thread or socket.

    clock     what happens when
    lines     lines and the flows of bytes on them, shared equally
    serving   the giving side of a peer: what it has, says and gives, and what it does wrong
    fetching  how the plan is driven, and how news go round (as `peer.swarm.fetching`)
    reading   reads that wait, looked after (as `peer.swarm.download`)
    world     what they share, and who is told of what they do
    program   who reads, in order or at random places
    crowd     one source and many readers, as a benchmark wants it
    rules     what must be true at every request and at every read's end
    case      a whole swarm, with faults, drawn from a seed

All chance comes from one `random.Random`, so that a seed tells a case. Times are in seconds, sizes in bytes.
"""
