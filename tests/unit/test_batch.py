"""How an answer with several contents is read: laid out as it was asked for, or one clear error."""

import struct
from collections.abc import Sequence

import pytest

from peer.swarm import batch
from peer.swarm.batch import MOST_FILES, NOT_GIVEN, PREFIX, cids_of, table_of
from shoal.errors import Misbehaved, Unreachable

CIDS = [f"{number:064x}" for number in range(3)]
FILES = [b"abcd", b"efg", b"hijkl"]
WANTED = [(cid, len(data)) for cid, data in zip(CIDS, FILES, strict=True)]


class Said:
    """A source that answers these bytes, some at a time, whatever is asked; and says that they are `size`."""

    def __init__(self, said: bytes, size: int | None = None, step: int = 1 << 20) -> None:
        self.name, self.asked, self.closed = "liar", "", False
        self.size = len(said) if size is None else size
        self.fields: dict[bytes, bytes] = {}
        self.given = 0
        self._said, self._step = said, step

    def get(
        self, target: str, first: int = 0, end: int | None = None, size: int | None = None, say: bytes = b""
    ) -> "Said":
        self.asked = target
        return self

    def readinto(self, view: memoryview) -> int:
        part = self._said[self.given : self.given + min(self._step, len(view))]
        if not part:
            raise Unreachable("it ended the connection too early")
        view[: len(part)] = part
        self.given += len(part)
        return len(part)

    def read(self) -> bytes:
        raise AssertionError("all at once may be too much")

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        pass

    def __enter__(self) -> "Said":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def table(*sizes: int) -> bytes:
    return struct.pack(f">{len(sizes)}I", *sizes)


def fetch(said: Said, wanted: Sequence[tuple[str, int]] = WANTED) -> list[tuple[int, bytes | None]]:
    return list(batch.fetch(said, wanted))


@pytest.mark.parametrize("step", [1, 2, 5, 13, 1000])
def test_what_is_given_is_read_however_it_comes(step: int) -> None:
    said = Said(table_of(FILES) + b"".join(FILES), step=step)
    assert fetch(said) == list(enumerate(FILES))
    assert said.asked == PREFIX + ",".join(CIDS)
    given = [FILES[0], None, FILES[2]]
    said = Said(table_of(given) + FILES[0] + FILES[2], step=step)
    assert fetch(said) == list(enumerate(given))
    assert fetch(Said(table_of([None] * 3), step=step)) == [(0, None), (1, None), (2, None)]
    assert said.closed


def test_each_is_told_before_the_next_one_has_come() -> None:
    said = Said(table_of(FILES) + FILES[0], 12 + 12, step=4)
    answers = batch.fetch(said, WANTED)
    assert next(answers) == (0, FILES[0])
    with pytest.raises(Unreachable):
        next(answers)
    assert said.closed


@pytest.mark.parametrize(
    "lie",
    [
        b"",
        b"abc",
        table(4, 3),
        table(4, 3, 5) + b"abcdefghijk",
        table(4, 3, 5) + b"abcdefghijklm",
        table(4, 3, 6) + b"abcdefghijkl",
        table(4, 3, 4) + b"abcdefghijk",
        table(5, 2, 5) + b"abcdefghijkl",
        table(0, 3, 5) + b"efghijkl",
        table(4, 3, 0) + b"abcdefg",
        table(4, 3, NOT_GIVEN) + b"abcdefghijkl",
        table(4, NOT_GIVEN, 5) + b"abcd",
        table(NOT_GIVEN, NOT_GIVEN, NOT_GIVEN) + b"a",
        table(NOT_GIVEN - 1, 3, 5) + b"abcdefghijkl",
        table(1 << 31, 1 << 31, 12) + b"abcdefghijkl",
        struct.pack("<3I", 4, 3, 5) + b"abcdefghijkl",
    ],
    ids=bytes.hex,
)
def test_a_table_that_lies_is_one_clear_error_and_nothing_is_taken(lie: bytes) -> None:
    said = Said(lie)
    answers = batch.fetch(said, WANTED)
    with pytest.raises(Misbehaved, match=r"liar (sends|says)"):
        next(answers)
    assert said.closed


@pytest.mark.parametrize("size", [12 + 12 + 1, 4 << 20, 1 << 50])
def test_a_body_over_the_bound_is_not_read_and_no_memory_is_taken_for_it(size: int) -> None:
    said = Said(table_of(FILES) + b"".join(FILES), size)
    with pytest.raises(Misbehaved, match=str(size)):
        fetch(said)
    assert said.given == 0 and said.closed


@pytest.mark.parametrize("end", [0, 5, 11, 12, 15, 16, 23])
def test_an_answer_that_ends_early_gives_what_came_whole_and_an_error(end: int) -> None:
    whole = table_of(FILES) + b"".join(FILES)
    got = []
    with pytest.raises(Unreachable):  # noqa: PT012
        for answer in batch.fetch(Said(whole[:end], len(whole), step=3), WANTED):
            got.append(answer)
    assert got == list(enumerate(FILES))[: len(got)]
    assert len(got) == (end >= 16) + (end >= 19)


def test_who_stops_reading_ends_the_connection() -> None:
    said = Said(table_of(FILES) + b"".join(FILES))
    answers = batch.fetch(said, WANTED)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert said.closed


def test_what_asks_is_read_as_it_is_written() -> None:
    most = [f"{number:064x}" for number in range(MOST_FILES)]
    assert cids_of(",".join(most)) == most
    assert cids_of(CIDS[0]) == CIDS[:1]
    for text in ("", ",", "a", CIDS[0] + ",", CIDS[0].upper() + "A", ",".join([*most, CIDS[0]]), "," * 10**6):
        assert cids_of(text) is None
