"""Each of the forces that stand at the top of `streaks`."""

import random

from peer.swarm.streaks import FIRST, MOST_SPARE, REACH, SPARE, WINDOW, Budget
from shoal.manifest import KIB, MIB
from tests.support.small_reading import Reading, small

FOLDER = [f"d/{number:03}.txt" for number in range(500)]


def folder(size: int = 10_000) -> Reading:
    return Reading([small(path, size) for path in FOLDER])


def test_two_files_in_order_are_no_streak_and_the_third_is() -> None:
    reading = folder()
    for path in FOLDER[: FIRST - 1]:
        reading.open(path)
        assert reading.fetched == []
    reading.open(FOLDER[FIRST - 1])
    assert reading.fetched == FOLDER[FIRST : 3 * FIRST], "twice as many as were read"


def test_who_reads_a_folder_finds_nearly_all_of_it_fetched_and_nothing_else_is() -> None:
    reading = folder()
    for number, path in enumerate(FOLDER):
        reading.open(path)
        assert len(reading.fetched) <= number + 1 + min(2 * (number + 1), WINDOW)
    assert reading.hits == len(FOLDER) - FIRST
    assert sorted(reading.fetched) == FOLDER[FIRST:]


def test_few_requests_are_made() -> None:
    reading, requests, before = folder(), 0, 0
    for path in FOLDER:
        reading.open(path)
        requests += len(reading.fetched) > before
        before = len(reading.fetched)
    assert requests < 16


def test_the_order_in_which_the_folder_is_listed_is_seen_too() -> None:
    listed = random.Random(1).sample(FOLDER, len(FOLDER))
    reading = Reading([small(path) for path in listed])
    for path in listed:
        reading.open(path)
    assert reading.hits == len(FOLDER) - FIRST


def test_the_next_folders_are_gone_on_to_carefully_at_first() -> None:
    paths = [f"d/{folder:02}/{number:03}" for folder in range(9) for number in range(100)]
    reading = Reading([small(path) for path in paths])
    for path in paths[:90]:
        reading.open(path)
    assert reading.fetched[-1] == paths[99 + REACH], "eight files of the next folder, where nobody was yet"
    for path in paths[90:]:
        reading.open(path)
    assert reading.hits == len(paths) - FIRST


def test_folders_of_few_files_are_one_way() -> None:
    paths = [f"d/{folder:03}/{number}" for folder in range(100) for number in range(2)]
    reading = Reading([small(path) for path in paths])
    for path in paths:
        reading.open(path)
    assert reading.hits == len(paths) - FIRST


def test_reading_at_random_fetches_hardly_anything() -> None:
    reading = folder()
    for path in random.Random(2).sample(FOLDER, 100):
        reading.open(path)
    assert reading.unread <= 0.1 * reading.bytes_read


def test_who_reads_every_second_file_gets_nothing() -> None:
    reading = folder()
    for path in FOLDER[::2]:
        reading.open(path)
    assert reading.fetched == []


def test_now_and_then_one_left_out_does_no_harm() -> None:
    reading = folder()
    wanted = [path for number, path in enumerate(FOLDER) if number % 10]
    for path in wanted:
        reading.open(path)
    assert reading.hits > 0.9 * len(wanted)
    assert len(reading.fetched) <= len(FOLDER)


def test_several_processes_that_share_a_folder_out_are_one_reader() -> None:
    reading, chance = folder(), random.Random(3)
    order = [path for _, path in sorted((number + chance.random() * 4, path) for number, path in enumerate(FOLDER))]
    for path in order:
        reading.open(path)
    assert reading.hits > 0.9 * len(FOLDER)


def test_only_the_kind_that_is_read_is_fetched_until_several_are() -> None:
    kinds = ["c", "h", "o", "py", "txt"]
    paths = [f"d/{number:03}.{kinds[number % 5]}" for number in range(500)]
    reading = Reading([small(path) for path in paths])
    headers = [path for path in paths if path.endswith(".h")]
    for path in headers:
        reading.open(path)
    assert reading.hits == len(headers) - FIRST
    assert all(path.endswith(".h") for path in reading.fetched)
    reading = Reading([small(path) for path in paths])
    for path in paths:
        reading.open(path)
    assert reading.hits > 0.9 * len(paths)


def test_files_without_a_kind_and_with_one_each_are_fetched() -> None:
    for paths in ([f"o/{number:04x}" for number in range(100)], [f"split.{number:03}" for number in range(100)]):
        reading = Reading([small(path) for path in paths])
        for path in paths:
            reading.open(path)
        assert reading.hits > 0.9 * len(paths)


def test_readers_in_one_folder_and_in_others_have_their_own() -> None:
    folders = [[f"{name}/{number:03}" for number in range(60)] for name in "abc"]
    reading = Reading([small(path) for paths in folders for path in paths])
    ways = [folders[0], folders[1], folders[2][:30], folders[2][30:]]
    for turn in range(60):
        for way in ways:
            if turn < len(way):
                reading.open(way[turn])
    assert reading.hits >= 180 - FIRST * len(ways)


def test_large_files_are_fetched_as_far_as_the_budget_goes() -> None:
    reading = folder(250 * KIB)
    for path in FOLDER[:50]:
        reading.open(path)
        assert reading.unread <= 4 * MIB
    assert reading.hits == 50 - FIRST


def test_the_end_of_everything_is_the_end() -> None:
    reading = Reading([small(path) for path in FOLDER[:5]])
    for path in FOLDER[:5]:
        reading.open(path)
    assert reading.fetched == FOLDER[3:5]
    assert reading.streaks.to_list() is None


def test_credit_does_not_pile_up() -> None:
    budget = Budget()
    assert not budget.fetch(SPARE + 1)
    assert budget.fetch(SPARE)
    assert not budget.fetch(1)
    budget.read(1000)
    assert budget.fetch(250)
    assert not budget.fetch(1)
    for _ in range(1000):
        budget.read(MIB)
    assert budget.left == MOST_SPARE
