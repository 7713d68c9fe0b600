"""Detect whether a model's weights changed since its digest was computed.

A digest reads every weight, once. Weights may be changed after that, and the cached numbers would be those of the old
ones. So each measurement compares a sample, which takes milliseconds: some values of every tensor, and torch's count of
the changes made in place.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import xxhash
from torch import Tensor, nn

RUNS = 32
"""Of a large tensor, this many runs of this many values are sampled: a run stays on a page of a mapped file."""


class Look(NamedTuple):
    """What a model's weights were at some time."""

    sample: str
    """A digest of names, types, shapes and values spread over every tensor; the same on every device."""
    changes: tuple[int, ...]
    """How often each tensor was changed in place, as far as torch counts it."""


def look(model: nn.Module) -> Look:
    """Look at a model's weights, in milliseconds."""
    total, changes = xxhash.xxh3_128(), []
    for name, stored in model.state_dict().items():
        if stored.is_meta:
            continue
        tensor = stored.detach()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(_some(tensor.flatten()).cpu().contiguous().view(torch.uint8).numpy().tobytes())
        changes.append(0 if tensor.is_inference() else tensor._version)
    return Look(total.hexdigest(), tuple(changes))


def _some(flat: Tensor) -> Tensor:
    """All values of a small tensor; of a large one, runs from the first to the last value."""
    flat = flat.contiguous()  # one dimension stays a view when it is flattened
    if len(flat) <= RUNS**2:
        return flat
    runs = flat.as_strided((RUNS, RUNS), ((len(flat) - RUNS) // (RUNS - 1), 1))
    return torch.cat([runs.flatten(), flat[-RUNS:]])
