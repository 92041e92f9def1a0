"""Sets of a file's pieces, as whole numbers: bit n is piece n. Pure.

A set of a thousand pieces is an int of 128 bytes; what is in two of them, or in none, costs less than a microsecond.
On the wire a set is a bitmap: piece i is bit i of byte i // 8, the most significant bit first; the rest is zeros.
"""

from shoal.errors import DataError

_REVERSED = bytes(int(f"{n:08b}"[::-1], 2) for n in range(256))
_DIGITS = bytes(ord("1") if n == 1 else ord("0") for n in range(256))


def span(first: int, end: int) -> int:
    """The pieces first ≤ n < end."""
    return ((1 << (end - first)) - 1) << first if end > first else 0


def lowest(pieces: int) -> int:
    """The first piece of the set; -1 if there is none."""
    return (pieces & -pieces).bit_length() - 1


def highest(pieces: int) -> int:
    """The last piece of the set; -1 if there is none."""
    return pieces.bit_length() - 1


def stretch(pieces: int, first: int, most: int) -> int:
    """The end of the stretch of neighbours that begins at `first`, which is in the set; at most `most` pieces."""
    absent = ~(pieces >> first) & ((1 << most) - 1)
    return first + (lowest(absent) if absent else most)


def of_flags(flags: bytes | bytearray) -> int:
    """The set from a byte a piece, 1 for those that are in it."""
    return int(flags.translate(_DIGITS)[::-1] or b"0", 2)


def to_wire(pieces: int, count: int) -> bytes:
    """The bitmap of the first `count` pieces."""
    return pieces.to_bytes(-(-count // 8), "little").translate(_REVERSED)


def from_wire(body: bytes, count: int) -> int:
    """The set from a bitmap of `count` pieces.

    Raises:
        DataError: its length is not that of so many pieces.
    """
    if len(body) != -(-count // 8):
        raise DataError(f"a bitmap of {len(body)} bytes for {count} pieces")
    return int.from_bytes(body.translate(_REVERSED), "little") & ((1 << count) - 1)
