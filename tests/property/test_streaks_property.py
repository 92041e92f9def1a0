"""Opens of any files in any order."""

from hypothesis import given, settings
from hypothesis import strategies as st

from peer.swarm.streaks import FIRST, SPARE
from shoal.manifest import KIB
from tests.support.small_reading import Reading, small

walks = st.lists(st.tuples(st.integers(0, 299), st.integers(1, 40), st.sampled_from([1, 1, 1, 2, -1])), max_size=30)
"""Stretches of files: the first, how many, and how far apart."""


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    sizes = draw(st.lists(st.integers(1, 256 * KIB), min_size=1, max_size=7))
    shuffled = draw(st.randoms(use_true_random=False))
    files = [
        small(f"d{number // 70}/{number:03}.{'ab'[number % 2]}", sizes[number % len(sizes)]) for number in range(300)
    ]
    listed = list(files)
    shuffled.shuffle(listed)
    return Reading(listed)


@settings(max_examples=60, deadline=None)
@given(readings(), walks)
def test_what_is_fetched_and_not_read_is_at_most_a_quarter_of_what_is_read_and_the_spare(
    reading: Reading, walks: list[tuple[int, int, int]]
) -> None:
    """At any moment: unread bytes fetched ahead ≤ `SPARE` + a quarter of the bytes read."""
    files = reading.orders["name"]
    for first, count, step in walks:
        for number in range(first, first + count * step, step):
            if 0 <= number < len(files):
                reading.open(files[number].path)
                assert reading.unread <= SPARE + reading.bytes_read // 4
    assert len(reading.fetched) == len(set(reading.fetched)), "nothing is fetched twice"


@settings(max_examples=60, deadline=None)
@given(readings(), walks)
def test_only_what_comes_next_in_one_of_the_orders_is_fetched(
    reading: Reading, walks: list[tuple[int, int, int]]
) -> None:
    """What is fetched comes, in some order, after `FIRST` files that were opened, and not far after the last."""
    files = reading.orders["name"]
    places = {name: {file.path: at for at, file in enumerate(order)} for name, order in reading.orders.items()}
    for first, count, step in walks:
        for number in range(first, first + count * step, step):
            if not 0 <= number < len(files):
                continue
            before = len(reading.fetched)
            reading.open(files[number].path)
            for path in reading.fetched[before:]:
                assert any(
                    sum(place[opened] < place[path] for opened in reading.read) >= FIRST
                    and any(0 < place[path] - place[opened] <= 300 for opened in reading.read)
                    for place in places.values()
                )
