"""Grids: one run for every combination of mask ratio, patch size and seed, in an order that keeps every prefix useful.

The directory of a cell is named by what varies, so the same command finds finished cells and half-finished ones. A
cell that another process works on is left to it: several processes may be given the same command and share the grid.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from probekit import data as image_sets
from probekit.data import ImageSet
from probekit.errors import TrainingError, did_you_mean
from probekit.training.directory import BusyError, RunDirectory
from probekit.training.run import prepared, train

CONDUCT = {"device", "threads", "workers", "save_every", "log_every", "tracker"}
"""Arguments of `train` that the weights do not depend on."""

AXES = ("seed", "mask_ratio", "patch_size")


@dataclass(frozen=True)
class Cell:
    """One combination of a grid."""

    mask_ratio: float
    patch_size: int
    seed: int = 0

    @property
    def name(self) -> str:
        """The cell's directory, e.g. `r0.75-p8-s0`."""
        return f"r{self.mask_ratio:.15g}-p{self.patch_size}-s{self.seed}"


def cells(
    mask_ratio: Iterable[float], patch_size: Iterable[int], seed: Iterable[int] = (0,), *, order: Sequence[str] = AXES
) -> list[Cell]:
    """Every combination, each list in its given order.

    Args:
        order: the axes from the slowest to the fastest; by default a whole grid of the first seed comes first.
    """
    values = {"mask_ratio": list(mask_ratio), "patch_size": list(patch_size), "seed": list(seed)}
    for axis in order:
        if axis not in values:
            raise TrainingError(f"A grid has no axis {axis!r}. {did_you_mean(axis, AXES)}")
    if sorted(order) != sorted(AXES):
        raise TrainingError(f"order={tuple(order)}: expected each of {', '.join(AXES)} once.")
    return [Cell(**dict(zip(order, point, strict=True))) for point in product(*(values[axis] for axis in order))]


def train_grid(
    data: str | ImageSet,
    grid: Iterable[Cell],
    *,
    output: str | os.PathLike[str],
    preset: str = "tiny",
    images: int | None = None,
    **options: Any,
) -> dict[str, Path]:
    """Train the cells that are not finished, in order.

    Args:
        data: as for `train`.
        grid: what `cells` gives, or any cells in the order in which they are wanted.
        output: the folder of the runs; a cell lives in `output/<cell.name>`.
        preset, images, options: as for `train`, the same for every cell.

    Returns:
        Cell name -> directory of the finished runs. Cells that another process is working on are not among them.

    Raises:
        TrainingError, MaskError: for any cell that cannot be trained, before the first one is.
    """
    image_set = image_sets.load(data, "train")
    wanted = list(dict.fromkeys(grid))
    if not wanted:
        raise TrainingError("The grid has no cell: give at least one mask ratio, patch size and seed.")
    settings = {key: value for key, value in options.items() if key not in CONDUCT}
    accelerator = Accelerator(cpu=options.get("device") == "cpu")
    for cell in wanted:
        directory = RunDirectory(Path(output) / cell.name)
        chosen = prepared(image_set, accelerator, preset, directory, **vars(cell), images=images, **settings)
        directory.verify(chosen.record())
    done = {}
    for cell in wanted:
        path = Path(output) / cell.name
        try:
            train(image_set, **vars(cell), output=path, preset=preset, images=images, **options)
        except BusyError:
            continue
        if RunDirectory(path).finished is not None:
            done[cell.name] = path
    return done
