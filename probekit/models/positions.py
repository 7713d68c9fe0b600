"""Position embeddings: MAE's fixed two-dimensional sin-cos table, and resampling of any table to another grid.

Every table is resampled in two dimensions, the decoder's too: resampling the flattened sequence in one dimension, as
`transformers` does in its decoder, puts rows where columns belong. On the table's own grid the values are returned
untouched, whatever they are, so a checkpoint keeps exactly what it was trained with.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

TEMPERATURE = 10000.0


def _sin_cos(positions: Tensor, width: int) -> Tensor:
    """(n,) positions -> (n, width): sines of all frequencies, then cosines."""
    frequencies = TEMPERATURE ** (-torch.arange(width // 2, dtype=torch.float64) / (width // 2))
    angles = positions[:, None] * frequencies[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def sin_cos(grid: tuple[int, int], width: int, *, num_prefix_tokens: int = 1) -> Tensor:
    """MAE's position embedding, computed in float64.

    The first half of the width encodes the column ("the w half first"), the second half the row; prefix tokens are
    zero.

    Args:
        grid: (rows, columns) of patches.
        width: of the tokens; a multiple of 4.
        num_prefix_tokens: rows of zeros in front.

    Returns:
        float32 (1, num_prefix_tokens + rows * columns, width).
    """
    if width % 4:
        raise ValueError(f"A two-dimensional sin-cos embedding needs a width that is a multiple of 4, got {width}.")
    rows, columns = grid
    row, column = (_sin_cos(torch.arange(edge, dtype=torch.float64), width // 2) for edge in grid)
    table = torch.cat([column.repeat(rows, 1), row.repeat_interleave(columns, dim=0)], dim=1)
    return torch.cat([table.new_zeros(num_prefix_tokens, width), table]).to(torch.float32)[None]


def grid_of(table: Tensor, patches: int) -> tuple[int, int] | None:
    """The grid of a fixed sin-cos table, by trying every factorisation; None if the table is none of them.

    Tables whose first half encodes the row are recognised too: codes differ in the order of the halves.

    Args:
        table: (1, prefix + patches, width).
        patches: rows of the table that are patches, the last ones.

    Returns:
        (rows, columns).
    """
    width, values = table.shape[-1], table[0, -patches:].detach().float()
    if width % 4 or not values.isfinite().all():
        return None
    tolerance = 1e-4 if table.dtype == torch.float32 else 1e-2
    index = torch.arange(patches)
    first, second = values[:, 0], values[:, width // 2]  # the sine of frequency 1 of either half
    factors = [(rows, patches // rows) for rows in range(1, patches + 1) if patches % rows == 0]
    for swapped in (False, True):
        for rows, columns in factors:
            row, column = (index // columns).float().sin(), (index % columns).float().sin()
            one, other = (row, column) if swapped else (column, row)
            if torch.allclose(first, one, atol=tolerance) and torch.allclose(second, other, atol=tolerance):
                expected = sin_cos((rows, columns), width, num_prefix_tokens=0)[0]
                expected = expected.roll(width // 2, dims=1) if swapped else expected
                if torch.allclose(values, expected, atol=tolerance):
                    return rows, columns
    return None


def sinusoid(patches: int, width: int) -> Tensor:
    """The one-dimensional sinusoid of "Attention is all you need" over flattened patches: float32 (1, patches, width).

    Sines stand in even places and cosines in odd ones.
    """
    place = torch.arange(width, dtype=torch.float64)
    angles = torch.arange(patches, dtype=torch.float64)[:, None] / TEMPERATURE ** (2 * (place // 2) / width)
    return torch.where(place % 2 == 0, angles.sin(), angles.cos()).to(torch.float32)[None]


def resample(
    table: Tensor, old: tuple[int, int], new: tuple[int, int], *, num_prefix_tokens: int, antialias: bool
) -> Tensor:
    """Bring a table (1, prefix + old patches, width) to another grid: bicubic in two dimensions, prefix rows untouched.

    Args:
        antialias: False is what MAE, DINO and transformers do; True is what timm does.

    Returns:
        (1, prefix + new patches, width); the very same tensor if the grids are equal.
    """
    if old == new:
        return table
    prefix, patches = table[:, :num_prefix_tokens], table[:, num_prefix_tokens:]
    image = patches.reshape(1, *old, -1).permute(0, 3, 1, 2).float()
    image = F.interpolate(image, size=new, mode="bicubic", align_corners=False, antialias=antialias)
    patches = image.permute(0, 2, 3, 1).reshape(1, new[0] * new[1], -1).to(table.dtype)
    return torch.cat([prefix, patches], dim=1)
