"""What the `shoal` command prints, and the answers that it is made from."""

import json
from collections.abc import Container, Iterator
from typing import Any, TypeVar

import click
import msgspec
from rich.cells import cell_len

from shoal.errors import Misbehaved
from shoal.names import printable
from shoal.units import show_size

T = TypeVar("T")


def typed(answer: dict[str, Any], kind: type[T]) -> T:
    """The answer as that type. Raises Misbehaved."""
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as error:
        raise Misbehaved(f"the peer's answer is not understood: {error}") from None


def print_json(value: object) -> None:
    """ASCII only, so that no name steers a terminal, and still the same JSON."""
    click.echo(json.dumps(value, indent=2))


def print_columns(rows: list[tuple[str, ...]]) -> None:
    """Lines with their cells under each other; the first line is the head. Never cut, never wrapped."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
    for number, row in enumerate(shown):
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        line = "  ".join(padded).rstrip()
        if line:
            click.echo(click.style(line, bold=True) if number == 0 else line)


def lines(value: object, name: str = "", sizes: Container[str] = ()) -> Iterator[tuple[str, str]]:
    """Any JSON as lines of (name, value), names of what is inside joined by dots.

    Numbers are sizes whose name says "bytes", and those whose whole name is one of `sizes`; a limit of 0 is none.
    """
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from lines(inner, f"{name}.{key}" if name else str(key), sizes)
    elif isinstance(value, list) and any(isinstance(inner, (dict, list)) for inner in value):
        for number, inner in enumerate(value):
            yield from lines(inner, f"{name}.{number}", sizes)
    elif isinstance(value, list):
        yield name, ", ".join(map(_word, value)) or "-"
    elif isinstance(value, int) and ("bytes" in name or name in sizes):
        yield name, show_size(value) if value or "limit" not in name else "none"
    else:
        yield name, _word(value)


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value in (None, "", {}) else str(value)
