"""The analysis `coverage`: every interval of every probe is of a kind that was simulated."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from probekit import probes

sys.path.append(str(Path(__file__).parents[2] / "analyses" / "coverage"))

from cases import CASES, Case

VARIABLES = {variable.name: variable for name in probes.names() for variable in probes.find(name).variables}
SIMULATED = {name for case in CASES for name in case.covers.split()}
KINDS = {VARIABLES[name].interval for name in SIMULATED}


def test_cases_stand_for_variables_that_there_are() -> None:
    assert set(VARIABLES) >= SIMULATED
    assert None not in KINDS


@pytest.mark.parametrize("name", [name for name, one in VARIABLES.items() if one.interval is not None])
def test_every_interval_is_of_a_kind_that_was_simulated(name: str) -> None:
    assert name in SIMULATED or VARIABLES[name].interval in KINDS, (
        f"no case of analyses/coverage stands for intervals of {name} ({VARIABLES[name].interval}): add one"
    )


@pytest.mark.parametrize(
    "case", [one for one in CASES if one.share == 1], ids=lambda case: f"{case.words}-{case.images}"
)
def test_quick_cases_cover_in_fewer_simulations(case: Case) -> None:
    intervals, truth = case.simulate(np.random.default_rng(0), 300, case.images)
    low, high = np.moveaxis(intervals, -1, 0)
    assert (low <= high).all()
    assert np.mean((low <= truth) & (truth <= high)) >= 0.88
