"""The course of a learning rate, and fits at several rates on the same batches."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch

from probekit.measures import descent


def test_a_rate_rises_over_a_tenth_and_falls_to_nothing() -> None:
    course = [descent.course(step, 100) for step in range(100)]
    assert course[0] == 0.1
    assert np.argmax(course) == 9
    assert max(course) == 1
    assert 0 < course[-1] < 0.001
    assert [descent.course(0, steps) for steps in (1, 2)] == [1, 1]
    assert doctest.testmod(descent).failed == 0
    assert descent.warm_cosine(9, highest=2.0, warmup=0.9, steps=9, lowest=0.5) == 0.5


def test_each_head_is_fitted_as_if_alone_and_batches_are_read_once() -> None:
    read: list[int] = []

    def batches(steps: int):
        for step in range(steps):
            read.append(step)
            yield torch.tensor([step % 3 - 1.0, 2.0])

    def fitted(rates: list[float]) -> list[torch.Tensor]:
        heads = [torch.zeros(2, requires_grad=True) for _ in rates]
        descent.fit_at_rates(
            [[one] for one in heads], rates, batches(20), lambda i, batch: ((heads[i] - batch) ** 2).sum(), steps=20
        )
        return heads

    together = fitted([0.01, 0.3])
    assert read == list(range(20))
    for one, rate in zip(together, (0.01, 0.3), strict=True):
        torch.testing.assert_close(one, fitted([rate])[0], rtol=0, atol=0)
    assert together[1][1].item() == pytest.approx(2, abs=0.6)
    assert together[0][1].item() < 0.3
