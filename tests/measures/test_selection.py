"""Choices at an end of what was tried."""

from __future__ import annotations

import doctest

import numpy as np

from probekit.measures import selection
from probekit.measures.classify import linear_probe


def test_choices_at_an_end_are_told() -> None:
    assert doctest.testmod(selection).failed == 0
    assert selection.described([1e-3, 1e-2], (1e-3, 1e-2, 1e-1))["at_edge"].startswith("1 of 2 fits chose the lowest")
    assert selection.described([1e-2], (1e-3, 1e-2, 1e-1)) == {"learning_rates": [1e-2], "at_edge": "none"}
    assert selection.described([], (1e-3, 1e-2)) == {"learning_rates": "none", "at_edge": "none"}


def test_a_linear_probe_knows_that_the_best_penalty_may_lie_beyond() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    rows = rng.standard_normal((60, 3)) + 3 * labels[:, None]
    fitted = [
        linear_probe(rows, labels, rows, labels, rows, classes=2, strengths=grid) for grid in ([1.0], [1e-6, 1.0])
    ]
    assert [one.at_edge for one in fitted] == [False, True]
