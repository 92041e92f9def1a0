"""A content whose manifest is known: where its pieces are, the plan for those that miss, and the lock over the plan."""

from dataclasses import dataclass
from threading import Condition

from peer.swarm.plan import Plan
from peer.swarm.receive import Receiver
from peer.swarm.store import Store


@dataclass(frozen=True, eq=False)
class Opened:
    """`changed` guards the plan, and is never held across network or disk; the store has its own locks."""

    changed: Condition
    store: Store
    plan: Plan
    receiver: Receiver
