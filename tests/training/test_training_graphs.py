"""Steps in stretches, as a GPU takes them: on a processor the same code runs step by step, against `Run.train_step`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from small_run import SIZES, some_images

from probekit import data
from probekit.data import ImageSet
from probekit.training import graphs
from probekit.training.directory import RunDirectory
from probekit.training.loop import Run
from probekit.training.settings import resolve


def some_run(folder: Path, image_set: ImageSet, floor: graphs.Floor | None = None, **changes: object) -> Run:
    known = {"data": "noise", "data_fingerprint": "-", "mask_ratio": 0.5, "patch_size": 4, "seed": 0, "images": 96}
    settings = resolve("tiny", SIZES, **(known | changes))
    return Run(settings, image_set, Accelerator(cpu=True), RunDirectory(folder), floor=floor)


@pytest.mark.parametrize(
    "changes", [{}, {"augment": False}, {"boundary": False, "mask_ratio": 0.75}, {"patch_size": 8}]
)
def test_stretches_take_the_steps_of_a_run(changes: dict[str, object], tmp_path: Path) -> None:
    one, many = (some_run(tmp_path, some_images(), **changes) for _ in range(2))
    losses = [float(one.train_step(images)) for images in one.stream.iterate(0, 12)]
    ends = graphs.stretches(0, 12, 5, {3, 6})
    assert ends == [3, 5, 6, 10, 12]
    found: list[float] = []
    steps = graphs.GraphedSteps([many], ends)
    for end in ends:
        steps.advance(many)
        assert many.step == end
        found += torch.cat([part for _, part in many.pending]).tolist()
        many.look_at_losses()
    steps.close()
    assert found == pytest.approx(losses, rel=1e-5)
    for mine, other in zip(one.model.parameters(), many.model.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of attention, mapped on a processor
@pytest.mark.parametrize("boundary", [True, False])
def test_stacked_runs_take_the_steps_of_each(boundary: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds and mask units differ; the second half goes on from saved states, alone."""
    cells: list[dict[str, Any]] = [{"seed": 0}, {"seed": 1}, {"seed": 1, "patch_size": 8}]
    alone = [some_run(tmp_path, some_images(), boundary=boundary, snapshots=(), **cell) for cell in cells]
    losses = [[float(run.train_step(images)) for images in run.stream.iterate(0, 12)] for run in alone]
    monkeypatch.setattr(graphs, "suits", lambda run: True)
    floor, folders = graphs.Floor(), [tmp_path / str(index) for index in range(3)]
    runs = [some_run(folder, some_images(), floor, boundary=boundary, snapshots=(), **cell)
            for folder, cell in zip(folders, cells, strict=True)]  # fmt: skip
    for folder, run in zip(folders, runs, strict=True):
        folder.mkdir()
        floor.join(run)
    for run in runs:
        floor.advance(run, 6)
        run.look_at_losses()
    assert len(set(map(id, floor.stacks.values()))) == 1
    for run in runs:
        assert run.step == 6
        run.save_state()
        floor.leave(run)
    found = []
    for folder, cell in zip(folders, cells, strict=True):
        run = some_run(folder, some_images(), boundary=boundary, snapshots=(), **cell)
        run.restore()
        assert run.step == 6
        run.floor.join(run)
        run.floor.advance(run, 6)
        found.append(torch.cat([part for _, part in run.pending]).tolist())
        run.floor.leave(run)
    for mine, expected in zip(found, losses, strict=True):
        assert mine == pytest.approx(expected[6:], rel=1e-4)


def test_images_that_are_generated_lie_on_the_device_as_they_are_streamed(tmp_path: Path) -> None:
    run = some_run(tmp_path, data.load("quadtree?height=3", "train"), augment=False)
    steps = graphs.GraphedSteps([run], [12])
    steps.fill([next(drawn) for drawn in steps.drawn])
    for step in range(2):
        torch.testing.assert_close(steps.images()[0], run.stream.batch(step), rtol=1e-5, atol=1e-5)
        steps.counter += 1
    assert not graphs.suits(run)  # a processor has no graphs
    assert graphs.fits(run.settings, run.stream)
    assert not graphs.fits(replace(run.settings, images=10**8), run.stream)
