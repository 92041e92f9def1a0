"""How far ahead of its reader a handle has a file fetched."""

from peer.swarm.window import AHEAD, BEGUN, EARLY, MIB, SLACK, Window
from tests.support.planning import SIZE


def test_a_window_grows_with_the_streak_up_to_its_limit() -> None:
    window = Window(1 << 30)
    reaches = []
    for offset in range(0, 128 * MIB, MIB):
        window.read(offset, MIB)
        reaches.append(window.ahead)
    assert reaches[0] == 2 * MIB
    assert reaches == sorted(reaches)
    assert reaches[-1] == AHEAD


def test_a_jump_closes_the_window_and_neighbours_do_not() -> None:
    window = Window(1 << 30)
    window.read(0, MIB)
    window.read(2 * MIB, MIB)  # the kernel's read-ahead came in another order
    window.read(MIB, MIB)
    assert (window.position, window.streak) == (3 * MIB, 2 * MIB)
    window.read(3 * MIB + SLACK + 1, 4096)
    assert window.ahead == 0
    window.read(window.position, 4096)
    assert window.ahead == 2 * 4096


def test_a_read_at_the_end_reaches_no_further() -> None:
    window = Window(SIZE)
    window.read(SIZE - 10, 4096)
    window.read(SIZE - 10, 4096)
    assert window.end == SIZE


def test_who_reads_from_the_start_reaches_further_in_a_swarm_soon() -> None:
    window = Window(1 << 30)
    window.read(0, BEGUN - 1)
    assert window.far == window.end, "perhaps it looks at the head only"
    window.read(BEGUN - 1, 1)
    assert (window.end, window.far) == (3 * MIB, EARLY)
    for offset in range(MIB, 8 * MIB, MIB):
        window.read(offset, MIB)
    assert window.far == window.end + 8 * window.streak
    window.read(512 * MIB, MIB)
    window.read(513 * MIB, MIB)
    assert window.far == window.end, "it did not begin at the start"
