"""The plan, the bench and the windows of a whole swarm in simulated time, with faults: `tests.support.simulated_swarm`.

A seed tells a case. One that fails is printed; `python -m tests.swarm_cases SEED` plays it alone and tells all of it.
"""

import pytest

from tests.swarm_cases import play

CASES = 10_000
CHUNK = 1_000


@pytest.mark.parametrize("first", range(0, CASES, CHUNK))
def test_whatever_holders_do(first: int) -> None:
    """Every read ends with right bytes or an error by its deadline; a piece is asked only of who is known to have it,
    and not while benched; requests stay within their bounds, and are for what somebody wants; at most one part in 20
    comes for nothing. With somebody who is right a read gives bytes, and whatever one other holder does, within 3 s;
    where all lie, or nobody is alive, the error comes soon.
    """
    failed = [(seed, why) for seed in range(first, first + CHUNK) if (why := play(seed))]
    assert not failed, f"{len(failed)} cases; python -m tests.swarm_cases {failed[0][0]}: {failed[0][1]}"
