"""Which patches are hidden: the one place where masks are drawn, for training, evaluation and theory alike.

A mask is drawn from p(m; ratio, patch size, strategy). The patch size is the *mask unit*, the smallest square that is
hidden as a whole, in pixels; the ViT's own patch may be smaller, and a unit is then a block of u x u ViT patches on a
grid that starts at the image's corner. Every row of a batch hides the same number of patches, so that visible tokens
stack into one tensor. The generator is an argument and never optional: masks drawn inside a model's forward from the
global generator are why two checkpoints usually cannot be given the same masks.

Masks are drawn on the CPU, so that one seed means one mask on every device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch

from probekit.checks import whole
from probekit.errors import MaskError, did_you_mean
from probekit.masking.strategies import STRATEGIES, Grid, lowest

__all__ = [
    "STRATEGIES", "Grid", "boundary", "common_unit", "expand", "hidden_units", "real_ratio", "sample_hidden",
    "sample_hidden_each", "sample_hidden_pixels", "unit_grid",
]  # fmt: skip


def hidden_units(units: int, mask_ratio: float) -> int:
    """How many of `units` a ratio hides: units - floor(units (1 - ratio)), at least 1 and at most units - 1.

    Args:
        units: mask units of an image.
        mask_ratio: share to hide, in (0, 1).

    Returns:
        The number of hidden units.

    Raises:
        MaskError: the ratio is not strictly between 0 and 1, or there are fewer than two units.

    Example:
        >>> hidden_units(16, 0.75), hidden_units(4, 0.9)
        (12, 3)
    """
    if not isinstance(mask_ratio, Real) or not 0.0 < mask_ratio < 1.0:
        raise MaskError(
            f"mask_ratio={mask_ratio!r}: expected a number between 0 and 1, both excluded (0.75 hides three quarters). "
            "To see an image without masking, pass hidden=None to the model."
        )
    if units < 2:
        raise MaskError(
            f"A grid of {units} unit(s) cannot be split into hidden and visible ones. Use a smaller patch_size."
        )
    # The small term keeps floating point out of the count: 10 * (1 - 0.7) is a hair above 3 or below.
    return min(max(units - math.floor(units * (1.0 - mask_ratio) + 1e-9), 1), units - 1)


def real_ratio(units: int, mask_ratio: float) -> float:
    """The share of `units` that `mask_ratio` really hides; it differs where the ratio does not divide the units.

    Args:
        units, mask_ratio: as in `hidden_units`.

    Returns:
        Hidden units over units.

    Raises:
        MaskError: as in `hidden_units`.

    Example:
        >>> real_ratio(4, 0.9)
        0.75
    """
    return hidden_units(units, mask_ratio) / units


def unit_grid(grid: Grid, *, patch_size: int, vit_patch_size: int) -> Grid:
    """Rows and columns of mask units on a grid of ViT patches.

    Args:
        grid: (rows, columns) of ViT patches.
        patch_size: side of the mask unit in pixels.
        vit_patch_size: side of a ViT patch in pixels.

    Returns:
        (rows, columns) of mask units.

    Raises:
        MaskError: the unit is no whole number of ViT patches, or does not tile the grid.

    Example:
        >>> unit_grid((14, 14), patch_size=32, vit_patch_size=16)
        (7, 7)
    """
    rows, columns = _rows_and_columns(grid)
    patch_size = whole("patch_size", patch_size, error=MaskError)
    vit_patch_size = whole("vit_patch_size", vit_patch_size, error=MaskError)
    if rows < 1 or columns < 1:
        raise MaskError(f"grid={grid}: expected at least one row and one column of ViT patches.")
    if vit_patch_size < 1:
        raise MaskError(f"vit_patch_size={vit_patch_size}: expected the side of a ViT patch in pixels, 1 or more.")
    if patch_size < 1 or patch_size % vit_patch_size:
        raise MaskError(
            f"patch_size={patch_size} (the mask unit) is no whole multiple of vit_patch_size={vit_patch_size}. "
            f"Units that fit this grid: {_fitting(grid, vit_patch_size)} pixels."
        )
    side = patch_size // vit_patch_size
    if rows % side or columns % side:
        raise MaskError(
            f"A mask unit of {patch_size} pixels ({side} x {side} ViT patches) does not tile a grid of {rows} x "
            f"{columns} ViT patches. Units that fit: {_fitting(grid, vit_patch_size)} pixels."
        )
    return rows // side, columns // side


def _rows_and_columns(grid: Any) -> Grid:
    if not isinstance(grid, Sequence) or len(grid) != 2:
        raise MaskError(f"grid={grid!r}: expected two numbers, the rows and columns of ViT patches.")
    return (
        whole("rows of the grid", grid[0], error=MaskError),
        whole("columns of the grid", grid[1], error=MaskError),
    )


def _fitting(grid: Grid, vit_patch_size: int) -> str:
    both = math.gcd(*grid)
    sides = [side for side in range(1, both + 1) if both % side == 0 and math.prod(grid) > side * side]
    return ", ".join(str(side * vit_patch_size) for side in sides) or "none"


def sample_hidden(
    n: int,
    grid: Grid,
    *,
    mask_ratio: float,
    patch_size: int,
    vit_patch_size: int,
    strategy: str = "random",
    generator: torch.Generator,
) -> tuple[torch.Tensor, float]:
    """Draw `n` masks.

    Args:
        n: masks to draw.
        grid: (rows, columns) of ViT patches.
        mask_ratio: share of the units to hide, in (0, 1).
        patch_size: side of the mask unit in pixels, a multiple of `vit_patch_size`.
        vit_patch_size: side of a ViT patch in pixels.
        strategy: "random" (units independent of each other), "block" (rectangles, as in BEiT), or "structure" (whole
            subtrees of the quadtree over the units).
        generator: a CPU generator; the same state gives the same masks.

    Returns:
        hidden: bool (n, rows * columns), raster order, True = hidden, the same count in every row.
        ratio: the real ratio, hidden units / units.

    Raises:
        MaskError: an impossible ratio, units that do not fit the grid, an unknown strategy, or no CPU generator.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> hidden, ratio = sample_hidden(
        ...     5, (8, 8), mask_ratio=0.75, patch_size=4, vit_patch_size=4, generator=generator
        ... )
        >>> hidden.shape, hidden.sum(dim=1).tolist(), ratio
        (torch.Size([5, 64]), [48, 48, 48, 48, 48], 0.75)
    """
    grid = _rows_and_columns(grid)
    units = unit_grid(grid, patch_size=patch_size, vit_patch_size=vit_patch_size)
    total = units[0] * units[1]
    count = hidden_units(total, mask_ratio)
    if strategy not in STRATEGIES:
        raise MaskError(f"strategy={strategy!r} is no masking strategy. {did_you_mean(str(strategy), STRATEGIES)}")
    if whole("n", n, error=MaskError) < 0:
        raise MaskError(f"n={n}: expected the number of masks to draw, 0 or more.")
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        raise MaskError(
            f"generator={generator!r}: expected a torch.Generator on the CPU, such as torch.Generator().manual_seed(0)."
        )
    return expand(STRATEGIES[strategy](n, units, count, generator), units, grid), count / total


def sample_hidden_each(
    n: int,
    grid: Grid,
    *,
    mask_ratio: float,
    patch_size: int,
    vit_patch_size: int,
    strategy: str = "random",
    generators: Sequence[torch.Generator],
) -> torch.Tensor:
    """`n` masks from each of several generators, equal to calling `sample_hidden` for each, and faster.

    Args:
        generators: CPU generators, one for each group of masks. All others are as in `sample_hidden`.

    Returns:
        bool (len(generators), n, rows * columns).

    Raises:
        MaskError: as in `sample_hidden`.

    Example:
        >>> generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
        >>> sample_hidden_each(3, (8, 8), mask_ratio=0.5, patch_size=4, vit_patch_size=4, generators=generators).shape
        torch.Size([2, 3, 64])
    """
    given: dict[str, Any] = {"mask_ratio": mask_ratio, "patch_size": patch_size, "vit_patch_size": vit_patch_size}
    if strategy != "random":
        drawn = [sample_hidden(n, grid, **given, strategy=strategy, generator=one)[0] for one in generators]
        return torch.stack(drawn)
    units = unit_grid(grid, patch_size=patch_size, vit_patch_size=vit_patch_size)
    scores = torch.stack([torch.rand(n, units[0] * units[1], generator=generator) for generator in generators])
    hidden = lowest(scores.flatten(0, 1), hidden_units(scores.shape[-1], mask_ratio))
    return expand(hidden, units, grid).view(len(generators), n, -1)


def expand(hidden: torch.Tensor, from_grid: Grid, to_grid: Grid) -> torch.Tensor:
    """The same masks on a finer grid over the same image: each cell becomes a block of cells.

    Args:
        hidden: bool (n, rows * columns of `from_grid`), raster order.
        from_grid: (rows, columns) the masks are on.
        to_grid: (rows, columns) wanted; whole multiples of `from_grid`. (height, width) of the image gives pixels.

    Returns:
        bool (n, rows * columns of `to_grid`), raster order.

    Raises:
        MaskError: the masks are not on `from_grid`, or `to_grid` is no refinement of it.

    Example:
        >>> expand(torch.tensor([[True, False]]), (1, 2), (2, 4)).view(2, 4).int().tolist()
        [[1, 1, 0, 0], [1, 1, 0, 0]]
    """
    if hidden.ndim != 2 or hidden.shape[1] != from_grid[0] * from_grid[1]:
        raise MaskError(
            f"hidden has shape {tuple(hidden.shape)}; expected (n, {from_grid[0] * from_grid[1]}) for a grid of "
            f"{from_grid[0]} x {from_grid[1]}."
        )
    if to_grid[0] % from_grid[0] or to_grid[1] % from_grid[1]:
        raise MaskError(
            f"A mask on {from_grid[0]} x {from_grid[1]} cells cannot be put on a grid of {to_grid[0]} x {to_grid[1]}: "
            "the rows and columns must be whole multiples. Draw the mask on a grid that fits both (see `common_unit`)."
        )
    down, right = to_grid[0] // from_grid[0], to_grid[1] // from_grid[1]
    cells = hidden.view(-1, from_grid[0], 1, from_grid[1], 1).expand(-1, -1, down, -1, right)
    return cells.reshape(hidden.shape[0], to_grid[0] * to_grid[1])


def common_unit(vit_patch_sizes: Sequence[int], size: Grid, *, at_least: int = 1) -> int:
    """The smallest mask unit in pixels, no smaller than `at_least`, that fits all these ViT patches and the image.

    Args:
        vit_patch_sizes: ViT patch sides in pixels of the checkpoints to compare.
        size: (height, width) of the image in pixels.
        at_least: lower bound on the unit in pixels.

    Returns:
        The side of the unit in pixels.

    Raises:
        MaskError: no unit fits.

    Example:
        >>> common_unit([14, 16], (224, 224))
        112
    """
    step = math.lcm(*vit_patch_sizes)
    both = math.gcd(*size)
    for unit in range(step, both + 1, step):
        if unit >= at_least and both % unit == 0 and size[0] * size[1] > unit * unit:
            return unit
    raise MaskError(
        f"No mask unit of {at_least} pixels or more fits ViT patches of {sorted(set(vit_patch_sizes))} pixels and an "
        f"image of {size[0]} x {size[1]} at once: it must be a multiple of {step} that divides {both}. Compare at "
        "another image size."
    )


def sample_hidden_pixels(
    n: int, size: Grid, *, mask_ratio: float, unit: int, strategy: str = "random", generator: torch.Generator
) -> tuple[torch.Tensor, Grid, float]:
    """Draw masks on a grid of pixels, for checkpoints whose ViT patches differ: each sees the same hidden pixels.

    Args:
        n: masks to draw.
        size: (height, width) of the image in pixels.
        mask_ratio: share of the units to hide, in (0, 1).
        unit: side of the mask unit in pixels, from `common_unit`.
        strategy: as in `sample_hidden`.
        generator: a CPU generator.

    Returns:
        hidden: bool (n, rows * columns) on the unit grid; put it on a model's grid, or on pixels, with `expand`.
        grid: (rows, columns) of the unit grid.
        ratio: the real ratio.

    Raises:
        MaskError: the unit does not tile the image; else as in `sample_hidden`.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> hidden, grid, ratio = sample_hidden_pixels(2, (32, 64), mask_ratio=0.5, unit=8, generator=generator)
        >>> hidden.shape, grid, ratio
        (torch.Size([2, 32]), (4, 8), 0.5)
    """
    if size[0] % unit or size[1] % unit:
        raise MaskError(
            f"A mask unit of {unit} pixels does not tile an image of {size[0]} x {size[1]}. "
            f"Units that fit: {_fitting(size, 1)}."
        )
    grid = size[0] // unit, size[1] // unit
    hidden, ratio = sample_hidden(
        n, grid, mask_ratio=mask_ratio, patch_size=unit, vit_patch_size=unit, strategy=strategy, generator=generator
    )
    return hidden, grid, ratio


def boundary(hidden: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Hidden patches that touch a visible one along an edge: what the paper's §3.6 leaves out of the loss.

    Args:
        hidden: bool (n, rows * columns), raster order.
        grid: (rows, columns).

    Returns:
        bool (n, rows * columns).

    Example:
        >>> boundary(torch.tensor([[False, True, True]]), (1, 3)).tolist()
        [[False, True, False]]
    """
    visible = ~hidden.view(-1, *grid)
    near = torch.zeros_like(visible)
    near[:, 1:] |= visible[:, :-1]
    near[:, :-1] |= visible[:, 1:]
    near[:, :, 1:] |= visible[:, :, :-1]
    near[:, :, :-1] |= visible[:, :, 1:]
    return (near & ~visible).view(hidden.shape)
