"""Steps in stretches, as a GPU takes them: on a processor the same code runs step by step, against `Run.train_step`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

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


def some_run(folder: Path, image_set: ImageSet, **changes: object) -> Run:
    known = {"data": "noise", "data_fingerprint": "-", "mask_ratio": 0.5, "patch_size": 4, "seed": 0, "images": 96}
    settings = resolve("tiny", SIZES, **(known | changes))
    return Run(settings, image_set, Accelerator(cpu=True), RunDirectory(folder))


@pytest.mark.parametrize(
    "changes", [{}, {"augment": False}, {"boundary": False, "mask_ratio": 0.75}, {"patch_size": 8}]
)
def test_stretches_take_the_steps_of_a_run(changes: dict[str, object], tmp_path: Path) -> None:
    one, many = (some_run(tmp_path, some_images(), **changes) for _ in range(2))
    losses = [float(one.train_step(images)) for images in one.stream.iterate(0, 12)]
    ends = graphs.stretches(0, 12, 5, {3, 6})
    assert ends == [3, 5, 6, 10, 12]
    found: list[float] = []
    with graphs.GraphedSteps(many, ends) as steps:
        for end in ends:
            for _ in steps.advance():
                assert many.step < end
            assert many.step == end
            found += torch.cat([part for _, part in many.pending]).tolist()
            many.look_at_losses()
    assert found == pytest.approx(losses, rel=1e-5)
    for mine, other in zip(one.model.parameters(), many.model.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_images_that_are_generated_lie_on_the_device_as_they_are_streamed(tmp_path: Path) -> None:
    run = some_run(tmp_path, data.load("quadtree?height=3", "train"), augment=False)
    steps = graphs.GraphedSteps(run, [12])
    steps.fill(next(steps.drawn))
    for step in range(2):
        torch.testing.assert_close(steps.images(), run.stream.batch(step), rtol=1e-5, atol=1e-5)
        steps.counter += 1
    assert not graphs.suits(run)  # a processor has no graphs
    assert graphs.fits(run.settings, run.stream)
    assert not graphs.fits(replace(run.settings, images=10**8), run.stream)
