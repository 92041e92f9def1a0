"""Plans for tests: a file of 64 MiB in 256 pieces, its holders and its readers."""

from peer.swarm.plan import KIB, Plan, Run
from peer.swarm.window import MIB, Window

PIECE = 256 * KIB
SIZE = 64 * MIB
COUNT = SIZE // PIECE


def new_plan(*holders: str, not_before: dict[str, float] | None = None, here: int = 0) -> Plan:
    """A plan with these holders, who have all of it; some may be asked from a moment on only."""
    plan = Plan(SIZE, PIECE, here, lambda id: (not_before or {}).get(id, 0.0))
    for holder in holders:
        plan.hold(holder, None)
    return plan


def at_rate(plan: Plan, holder: str, rate: int) -> None:
    """The holder is known to give so many bytes a second, until 1.0."""
    pace = plan.holdings[holder].pace
    pace.begin(0.0)
    pace.came(rate, 1.0)
    pace.end(1.0)


def fast(plan: Plan, *holders: str) -> Plan:
    """The same plan; these are known to be fast."""
    for holder in holders:
        at_rate(plan, holder, 100 * MIB)
    return plan


def reading(plan: Plan, *reads: tuple[int, int]) -> Window:
    """The window of a handle that read so: (offset, size)."""
    window = Window(SIZE)
    plan.windows.append(window)
    for offset, size in reads:
        window.read(offset, size)
    return window


def all_runs(plan: Plan, now: float = 1.0) -> list[Run]:
    """All that is asked for now."""
    runs = []
    while (run := plan.next(now)) is not None:
        runs.append(run)
    return runs
