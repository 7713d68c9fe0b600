"""Whether a model's weights are still those that its digest speaks of.

A digest reads every weight once; whoever changes an opened checkpoint (trains on, edits, puts another model in) would
be given the numbers of the old weights from the cache. So each measurement looks again, at a sample that costs
milliseconds: some values of every tensor, and torch's count of the changes made in place.
"""

from __future__ import annotations

import torch
import xxhash
from torch import Tensor, nn

SAMPLE = 1024
"""Values of a tensor that are looked at."""


def sample(model: nn.Module) -> str:
    """A digest of names, types, shapes and values spread over every tensor; the same on every device."""
    total = xxhash.xxh3_128()
    for name, tensor in _tensors(model):
        flat = tensor.flatten()
        some = flat[:: max(1, len(flat) // SAMPLE)].cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(some.view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def changes(model: nn.Module) -> tuple[int, ...]:
    """How often each tensor was changed in place, as far as torch counts it."""
    return tuple(0 if tensor.is_inference() else tensor._version for _, tensor in _tensors(model))


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [(name, tensor.detach()) for name, tensor in model.state_dict().items() if not tensor.is_meta]
