"""Copies given up at a tracker, in any order, by anybody."""

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.wire import Evict
from tests.support.announcer import NOW_NS, Announcer, cid_of
from tracker.catalogue import Catalogue
from tracker.leases import Lease, Leases, Where
from tracker.quotas import Limits
from tracker.settling import Settling

TEXTS = ["one", "two"]
PATHS = ["a", "b"]
PEERS = 4
KINDS = st.sampled_from(["own", "copy", "copy", "copy", "partial"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("evict"), st.integers(0, PEERS - 1), st.sampled_from(TEXTS)),
        st.tuples(st.just("evict"), st.integers(0, PEERS - 1), st.sampled_from(TEXTS)),
        st.tuples(st.just("has"), st.integers(0, PEERS - 1), st.sampled_from(PATHS), st.sampled_from(TEXTS), KINDS),
        st.tuples(st.just("ends"), st.integers(0, PEERS - 1)),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_who_is_told_yes_is_never_the_last(steps: list[tuple]) -> None:
    """Whoever is told yes has no copy listed any more, what its user put there excepted; somebody else who lives has
    all of it; who is told no keeps what it had; and the list and number that the peer works out itself are agreed to.
    """
    living: dict[str, Lease] = {}
    leases = Leases(living, Catalogue("c0ffee"), Limits(), Settling(0.0, 15.0))
    peers = [Announcer(f"peer{n}", 7000 + n) for n in range(PEERS)]
    where = Where("10.0.0.1", "10.0.0.1", "http://10.0.0.1:1")
    for step in steps:
        peer = peers[step[1]]
        if step[0] == "ends":
            lease = living.pop(peer.id, None)
            if lease is not None:
                leases.ended(lease)
            continue
        if peer.id not in living:
            for message in peer.whole():
                assert leases.announce(message, where, 0.0, NOW_NS).status == 200
        if step[0] == "has":
            _, _, path, text, kind = step
            item = peer.own(path, text, rev=1) if kind == "own" else peer.copy(path, text, {cid_of("gone"): 1}, kind)
            own = [key for key, old in peer.items.items() if key[0] == path and "own" == old.kind == kind]
            assert leases.announce(peer.delta([item], own), where, 0.0, NOW_NS).status == 200
            continue
        cid = cid_of(step[2])
        mine = [key for key, item in peer.items.items() if item.cid == cid and item.kind == "copy"]
        others = [
            other.id for other in peers
            if other is not peer and other.id in living
            and any(item.cid == cid and item.kind in ("own", "copy") for item in other.items.values())
        ]  # fmt: skip
        owns = any(item.cid == cid and item.kind == "own" for item in peer.items.values())
        told = leases.evict(Evict(peer.id, cid))
        assert told is not None
        assert told.ok == (bool(others) and not owns)
        if told.ok:
            peer.delta([], mine)
            assert told.sequence == peer.sequence
        assert leases.announce(peer.renewal(), where, 0.0, NOW_NS).status == 200
