import random
from types import SimpleNamespace
from typing import Any, cast

from peer.swarm.neighbours import MOST, Neighbours
from shoal.wire import PeerRow


def new_neighbours(*seeds: str) -> Neighbours:
    def find(id: str) -> PeerRow | None:
        return None if id == "unlisted" else PeerRow(id, id, f"http://{id}", seed=id in seeds)

    others = SimpleNamespace(me="me", find=find)
    return Neighbours(cast(Any, SimpleNamespace(others=others)), random.Random(1))


def known(neighbours: Neighbours) -> set[str]:
    return {row.id for row in neighbours.rows()}


def test_only_other_peers_that_the_tracker_lists_become_neighbours() -> None:
    neighbours = new_neighbours("seed")
    assert [row.id for row in neighbours.met(["ann", "me", "unlisted", "seed", "ann"])] == ["ann"]
    assert neighbours.met(["ann"]) == []
    assert known(neighbours) == {"ann"}


def test_of_a_crowd_any_are_known_and_not_the_first() -> None:
    neighbours = new_neighbours()
    ids = [f"p{n}" for n in range(10 * MOST)]
    for at in range(0, len(ids), 16):
        new = {row.id for row in neighbours.met(ids[at : at + 16])}
        assert new <= set(ids[at : at + 16])
        assert len(known(neighbours)) <= MOST
    assert len(known(neighbours)) == MOST
    for tenth in range(10):
        there = known(neighbours) & set(ids[tenth * MOST : (tenth + 1) * MOST])
        assert 2 <= len(there) <= 25, f"{len(there)} of the {tenth}th hundred"
    before = known(neighbours)
    assert not neighbours.met(ids), "who was not taken is not tried again and again"
    assert known(neighbours) == before


def test_who_was_forgotten_makes_room_and_may_come_back() -> None:
    neighbours = new_neighbours()
    ids = [f"p{n}" for n in range(MOST)]
    neighbours.met(ids)
    neighbours.forget("p7")
    assert [row.id for row in neighbours.met(["p7"])] == ["p7"]
