"""Grids: one run for every combination of mask ratio, patch size and seed, in an order that keeps every prefix useful.

The directory of a cell is named by what varies, so the same command finds finished cells and half-finished ones. A
cell that another process works on is left to it and looked at again at the end: several processes may be given the same
command and share the grid. On a GPU several cells of one process can be trained side by side.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from probekit import data as image_sets
from probekit import progress
from probekit.data import ImageSet
from probekit.errors import TrainingError, did_you_mean
from probekit.training import graphs, starting
from probekit.training.conducting import Conduct, check_conduct, using_threads
from probekit.training.directory import BusyError, RunDirectory
from probekit.training.run import prepared, training
from probekit.training.settings import Settings
from probekit.training.signals import interruptible
from probekit.training.starting import Start
from probekit.training.values import as_declared

AXES = ("seed", "mask_ratio", "patch_size")


@dataclass(frozen=True)
class Cell:
    """One combination of a grid.

    Args:
        mask_ratio: share of mask units to hide, in (0, 1).
        patch_size: side of the mask unit in pixels.
        seed: of weights, order, augmentation and masks.

    Example:
        >>> Cell(0.75, 8).name
        'r0.75-p8-s0'
    """

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
        mask_ratio: shares of mask units to hide.
        patch_size: sides of the mask unit in pixels.
        seed: seeds of weights, order, augmentation and masks.
        order: the axes from the slowest to the fastest; by default a whole grid of the first seed comes first.

    Returns:
        The cells, for `train_grid`.

    Raises:
        TrainingError: an unknown axis in `order`, or one that is missing there.

    Example:
        >>> [cell.name for cell in cells([0.5, 0.75], [4], seed=[0])]
        ['r0.5-p4-s0', 'r0.75-p4-s0']
    """
    values: dict[str, list[Any]] = {"mask_ratio": list(mask_ratio), "patch_size": list(patch_size), "seed": list(seed)}
    for axis in order:
        if axis not in values:
            raise TrainingError(f"A grid has no axis {axis!r}. {did_you_mean(axis, AXES)}")
    if sorted(order) != sorted(AXES):
        raise TrainingError(f"order={tuple(order)}: expected each of {', '.join(AXES)} once.")
    points: Iterable[tuple[Any, ...]] = product(*[values[axis] for axis in order])
    return [Cell(**dict(zip(order, point, strict=True))) for point in points]


def train_grid(
    data: str | ImageSet,
    grid: Iterable[Cell],
    *,
    output: str | os.PathLike[str],
    preset: str = "tiny",
    images: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    workers: int = 0,
    save_every: float = 60.0,
    log_every: int = 20,
    tracker: str | None = None,
    together: int = 1,
    init: Any = None,
    **settings: Any,
) -> dict[str, Path]:
    """Train the cells that are not finished, in order.

    Args:
        data: as for `train`.
        grid: what `cells` gives, or any cells in the order in which they are wanted.
        output: the folder of the runs; a cell lives in `output/<cell.name>`.
        preset, images, device, threads, workers, save_every, log_every, tracker, init, settings: as for `train`, the
            same for every cell.
        together: cells that are trained at the same time on one GPU, each on a stream of its own; worth it for models
            that are too small to fill the device. What a cell computes does not depend on the others.

    Returns:
        Cell name -> directory of the finished runs, in the order of the grid.

    Raises:
        TrainingError, MaskError: for any cell that cannot be trained, before the first one is.
        BusyError: cells that another process is working on, still so when all others are finished; it names them.

    Example:
        >>> from probekit.training import cells, train_grid
        >>> train_grid("quadtree", cells([0.5, 0.75], [4, 8]), output="runs", images=100_000)  # doctest: +SKIP
    """
    check_conduct(output, device, threads, workers, save_every, log_every, tracker)
    if as_declared("together", together, int) < 1 or (together > 1 and tracker is not None):
        raise TrainingError(f"together={together}, tracker={tracker!r}: expected at least 1, and 1 with a tracker.")
    image_set = image_sets.load(data, "train")
    wanted = list(dict.fromkeys(grid))
    if not wanted:
        raise TrainingError("The grid has no cell: give at least one mask ratio, patch size and seed.")
    start = starting.opened(init)
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no", log_with=tracker, project_dir=str(output))
    planned: dict[str, Settings] = {}
    for cell in wanted:
        directory = RunDirectory(Path(output) / cell.name)
        chosen = prepared(image_set, accelerator, preset, directory, start, **vars(cell), images=images, **settings)
        directory.verify(chosen.record())
        planned[cell.name] = chosen
    conduct = Conduct(workers=workers, save_every=save_every, log_every=log_every, tracker=tracker)
    total = sum(chosen.steps * chosen.batch_size for chosen in planned.values())
    with using_threads(threads), interruptible() as stop, progress.bar("grid: training", total) as bar:
        conduct = replace(conduct, stop=stop, advance=bar)
        jobs = Jobs(image_set, accelerator, Path(output), planned, conduct, start)
        busy = jobs.run(list(planned), together)
        busy = jobs.run(busy, together) if busy else []
    graphs.resident.cache_clear()
    if busy:
        raise BusyError(
            f"Another process is training {', '.join(busy)} in {output}; everything else is finished. Give the same "
            "command again when it is done, or has ended."
        )
    return {name: Path(output) / name for name in planned}


class Jobs:
    """The cells of a grid as jobs that take turns, stretch by stretch."""

    def __init__(
        self,
        image_set: ImageSet,
        accelerator: Accelerator,
        output: Path,
        planned: dict[str, Settings],
        conduct: Conduct,
        start: Start | None = None,
    ) -> None:
        self.image_set, self.accelerator, self.output = image_set, accelerator, output
        self.planned, self.conduct, self.begun = planned, conduct, start

    def run(self, names: list[str], together: int) -> list[str]:
        """Train these cells, so many at a time; returns those that another process is working on."""
        waiting = names[::-1]
        busy: list[str] = []
        interrupts: list[KeyboardInterrupt] = []
        active: list[tuple[str, Generator[None, None, None], Any]] = []
        try:
            while waiting or active:
                while waiting and len(active) < together and not interrupts:
                    active.append(self.start(waiting.pop()))
                for job in list(active):
                    name, steps, stream = job
                    try:
                        with torch.cuda.stream(stream) if stream is not None else nullcontext():
                            next(steps)
                        continue
                    except StopIteration:
                        pass
                    except BusyError:
                        busy.append(name)
                    except KeyboardInterrupt as interrupt:  # the others save their states, too
                        interrupts.append(interrupt)
                    active.remove(job)
                if interrupts and not active:
                    raise interrupts[0]
        finally:
            for _, steps, _ in active:
                steps.close()
        return busy

    def start(self, name: str) -> tuple[str, Generator[None, None, None], Any]:
        """A cell, its steps to come, and its stream."""
        directory = RunDirectory(self.output / name)
        steps = training(self.image_set, self.accelerator, self.planned[name], directory, self.conduct, self.begun)
        device = self.accelerator.device
        return name, steps, graphs.new_stream(device) if device.type == "cuda" else None
