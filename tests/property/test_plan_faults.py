"""The plan, the bench and the windows of a whole swarm in simulated time, with faults: `tests.support.simulated_swarm`.

A seed tells a case. One that fails is printed; `python -m tests.swarm_cases SEED` plays it alone and tells all of it.
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.swarm_cases import CHUNK, failures, play

CASES = 10_000
FOUND = (24658, 29090, 43295, 53685, 59087, 63708, 76700, 79856, 153059, 207053)
"""Cases that failed once, of a million."""


def test_whatever_holders_do() -> None:
    """Every read ends with right bytes or an error by its deadline; a piece is asked only of who is known to have it,
    and not while benched; requests stay within their bounds, and are for what somebody wants; at most one part in 20
    comes for nothing. With somebody who is right a read gives bytes, and whatever one other holder does, within 3 s;
    where all lie, or nobody is alive, the error comes soon.
    """
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        failed = [seed for seeds in pool.map(failures, range(0, CASES, CHUNK)) for seed in seeds]
    assert not failed, f"{len(failed)} cases; python -m tests.swarm_cases {failed[0]}: {play(failed[0])}"


@pytest.mark.parametrize("seed", FOUND)
def test_what_went_wrong_once_does_not_again(seed: int) -> None:
    assert not play(seed)
