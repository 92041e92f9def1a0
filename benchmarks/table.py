"""Medians, ratios and bars, and what is printed of them."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from shoal.units import show_size


def show(value: float, unit: str) -> str:
    """A figure for people. Units: "B/s", "B", "s", "%", "×", "/s"."""
    match unit:
        case "B/s":
            return f"{value / 1e6:,.0f} MB/s"
        case "B":
            return show_size(value)
        case "s":
            return f"{value * 1e3:.2f} ms" if value < 0.1 else f"{value:.2f} s"
        case "%":
            return f"{value:.2f} %"
        case "×":
            return f"{value:.2f} ×"
        case _:
            return f"{value:,.0f}{unit}"


@dataclass(frozen=True)
class Line:
    """One line of the table: ours beside theirs, or ours beside a limit.

    `bar` bounds the ratio ours/theirs (or ours itself, when there is no `theirs`): at least, or with
    `at_most`, at most that. Without a bar the line only informs.
    """

    work: str
    unit: str
    ours: Sequence[float]
    other: str = ""
    theirs: Sequence[float] = ()
    bar: float | None = None
    at_most: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Median of ours by median of theirs."""
        return statistics.median(self.ours) / statistics.median(self.theirs) if self.theirs and self.ours else None

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None when there is none, or nothing to hold against it."""
        if self.bar is None or not self.ours or (self.other and not self.theirs):
            return None
        value = self.ratio if self.theirs else statistics.median(self.ours)
        assert value is not None
        return value <= self.bar if self.at_most else value >= self.bar

    def cells(self) -> list[str]:
        """work, ours, beside, theirs, ratio, bar, met."""
        ours = show(statistics.median(self.ours), self.unit) if self.ours else "–"
        theirs = show(statistics.median(self.theirs), self.unit) if self.theirs else "–" if self.other else ""
        bar = ""
        if self.bar is not None:
            limit = f"{self.bar:g} ×" if self.other else show(self.bar, self.unit)
            bar = ("≤ " if self.at_most else "≥ ") + limit
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        met = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[self.met]
        return [self.work, ours, self.other, theirs, ratio, bar, met]


def print_table(lines: Sequence[Line], title: str) -> None:
    """Prints the table, 140 columns wide where the output is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    table = Table(title=title, title_justify="left")
    for name in ("work", "ours", "beside", "theirs", "ratio", "bar", "met"):
        table.add_column(name, justify="right" if name in ("ours", "theirs", "ratio", "bar") else "left")
    for line in lines:
        table.add_row(*line.cells())
    console.print(table)
    for line in lines:
        if line.note:
            console.print(f"{line.work}: {line.note}", highlight=False)
