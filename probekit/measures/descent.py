"""What is fitted by gradient descent shares: the course of the learning rate, and a fit at several rates at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import TypeVar

import torch
from torch import Tensor

DECAY = 1e-3
"""Weight decay of heads on frozen tokens."""

WARMUP = 0.1
"""Share of a head's steps over which its rate rises."""

Batch = TypeVar("Batch")


def warm_cosine(step: float, *, highest: float, warmup: float, steps: float, lowest: float = 0.0) -> float:
    """Learning rate at a step, from 0: linear from 0 over `warmup` steps, then half a cosine to `lowest`.

    Steps may be any unit of time, such as epochs.

    >>> [warm_cosine(step, highest=2.0, warmup=10, steps=90) for step in (0, 5, 10, 50, 90)]
    [0.0, 1.0, 2.0, 1.0, 0.0]
    """
    if step < warmup:
        return highest * step / warmup
    falling = 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1e-9, steps - warmup)))
    return lowest + (highest - lowest) * falling


def course(step: int, steps: int) -> float:
    """Learning rate of a head over its base: above 0 from the first step on, at 1 after a tenth, then falling to 0."""
    warm = max(1, round(WARMUP * steps))
    return warm_cosine(step + 1 if step < warm else step, highest=1.0, warmup=warm, steps=max(steps, warm + 1))


def fit_at_rates(
    parameters: Sequence[Sequence[Tensor]],
    rates: Sequence[float],
    batches: Iterable[Batch],
    loss: Callable[[int, Batch], Tensor],
    *,
    steps: int,
) -> None:
    """Fit one head at each learning rate, in place, by AdamW, all on the same batches: each is read once.

    Args:
        parameters: of each head.
        rates: of each head; times `course`.
        batches: that many as there are `steps`.
        loss: number of a head and a batch -> the loss to minimise.
        steps: of the course.
    """
    optimisers = [
        torch.optim.AdamW(one, lr=rate, weight_decay=DECAY) for one, rate in zip(parameters, rates, strict=True)
    ]
    numbers = count()
    for batch in batches:  # `enumerate` would hold a batch while the next one is read
        step = next(numbers)
        for place, (optimiser, rate) in enumerate(zip(optimisers, rates, strict=True)):
            optimiser.param_groups[0]["lr"] = rate * course(step, steps)
            optimiser.zero_grad(set_to_none=True)
            loss(place, batch).backward()
            optimiser.step()
        del batch
