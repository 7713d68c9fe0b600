"""The order of a patch's values: ours is (row, column, channel); other codes keep channels first."""

from __future__ import annotations

from torch import Tensor


def channels_last(tensor: Tensor, channels: int) -> Tensor:
    """Reorder the first axis from (channel, row, column) to (row, column, channel); as it is if it does not divide."""
    size = round((len(tensor) / channels) ** 0.5) if channels else 0
    if not size or len(tensor) != channels * size * size:
        return tensor
    split = tensor.reshape(channels, size, size, *tensor.shape[1:])
    return split.movedim(0, 2).reshape(tensor.shape)


def channels_first(tensor: Tensor, channels: int, axis: int) -> Tensor:
    """Reorder an axis from (row, column, channel) to (channel, row, column)."""
    moved = tensor.movedim(axis, 0)
    size = round((len(moved) / channels) ** 0.5) if channels else 0
    if not size or len(moved) != channels * size * size:
        return tensor
    split = moved.reshape(size, size, channels, *moved.shape[1:])
    return split.movedim(2, 0).reshape(moved.shape).movedim(0, axis)
