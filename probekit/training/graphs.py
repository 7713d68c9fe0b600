"""Steps on a CUDA device without the processor in between: images and masks lie there, and a step is one replay.

A step of a small model is some 300 short kernels; launching them one by one from Python costs more than running them.
Here a step (crop, forward, backward, AdamW) is captured once as a CUDA graph that reads what belongs to it from buffers
on the device, at a counter that it moves on itself. The processor draws the masks and crops of a whole stretch of steps
ahead, in a thread, and fills the buffers between stretches. Several runs can share a device, each on a stream of its
own (`train_grid(together=)`): they alternate their launches, so that their kernels overlap; the numbers of a run do not
depend on the others.

The numbers are those of `Run.train_step`: the same images, masks, loss and update rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import lru_cache, partial
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from probekit.data import ImageSet, TrainingStream
from probekit.data.augmentation import packed
from probekit.data.crops import CropTable, crop_table
from probekit.data.loading import ahead
from probekit.models import MaskedAutoencoder
from probekit.training import objective
from probekit.training.settings import Settings, draw_masks_of, interior

STRETCH = 256
"""Most steps between two visits of the processor."""

RESIDENT_LIMIT = 2**33
"""Images that take more bytes than this are not kept on the device; such runs are trained step by step."""

CHUNK = 4096
"""Images that are read or generated at a time."""

TURN = 2
"""Steps that a run launches before it is another's turn. A whole stretch at once would fill the device's queue, and the
kernels of the other streams would wait behind it: the steps of 8 tiny models alone reach 56,000 images/s
so, and 144,000 by turns."""

WARM_UP = 3
"""Steps before a graph is captured, so that libraries have set up what a graph cannot record."""


class Run(Protocol):
    """What is needed of a run (`probekit.training.loop.Run`)."""

    settings: Settings
    accelerator: Accelerator
    device: torch.device
    stream: TrainingStream
    model: MaskedAutoencoder
    objective: objective.MaskedLoss
    optimizer: torch.optim.AdamW
    hidden_patches: int
    step: int
    pending: list[tuple[int, Tensor]]

    def products(self) -> AbstractContextManager[None]: ...

    def autocast(self) -> AbstractContextManager[object]: ...


def new_stream(device: torch.device) -> torch.cuda.Stream:
    """A CUDA stream for one run: graphs cannot be captured on the default stream."""
    return torch.cuda.Stream(device)


def suits(run: Run) -> bool:
    """Whether a run's steps can be graphs: one CUDA device, one part per batch, images of one size that fit there."""
    settings, stream = run.settings, run.stream
    alone = run.accelerator.num_processes == 1 and settings.accumulate == 1
    plain = not settings.compile and settings.precision != "float16"
    return run.device.type == "cuda" and alone and plain and fits(settings, stream)


def fits(settings: Settings, stream: TrainingStream) -> bool:
    """Whether a stream's images can all lie on the device."""
    if not stream.packed or stream.image_set.channels != settings.channels:  # the device converts no channels
        return False
    first = stream.image_set[0].shape
    target = stream.preprocess.height, stream.preprocess.width
    if first[:2] != target and not stream.augment:
        return False
    if stream.augment and crop_table(first[:2], target, stream.preprocess.interpolation) is None:
        return False
    return shown(settings, stream) * int(np.prod(first)) <= RESIDENT_LIMIT


def shown(settings: Settings, stream: TrainingStream) -> int:
    """How many different images a whole run sees."""
    return settings.steps * settings.batch_size if stream.endless else len(stream.image_set)


@lru_cache(maxsize=1)
def resident(image_set: ImageSet, count: int, workers: int, device: torch.device) -> Tensor:
    """The first `count` images on the device: uint8 (count, channels, height, width). Runs on one set share them."""
    stored = None if image_set.in_memory or image_set.endless else packed(image_set)
    read = image_set.pixels if stored is None else stored.__getitem__
    chunks = [np.arange(start, min(count, start + CHUNK)) for start in range(0, count, CHUNK)]
    images = torch.cat([
        torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).contiguous()
        for pixels in ahead(read, chunks, workers=workers if image_set.endless else 0, prefetch=2)
    ])  # fmt: skip
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # other streams read them
    return images


class Stretch(NamedTuple):
    """What belongs to some successive steps, drawn by the processor."""

    images: Tensor
    """int64 (steps, batch): which resident images."""
    crops: Tensor | None
    """int64 (steps, batch, 2): rows of the crop table."""
    masks: Tensor
    """bool (steps, batch, patches)."""
    counted: Tensor | None
    """bool (steps, batch, patches): what the loss counts; None for every hidden patch."""
    rates: Tensor
    """float32 (steps,)."""


def draw(settings: Settings, stream: TrainingStream, table: CropTable | None, steps: range) -> Stretch:
    """Images, crops, masks and learning rates of some steps: a function of the settings."""
    positions = np.arange(steps.start * settings.batch_size, steps.stop * settings.batch_size, dtype=np.int64)
    crops = None
    if table is not None:
        crops = torch.from_numpy(table.numbers(*stream.crops(positions, table.source)))
        crops = crops.view(len(steps), settings.batch_size, 2)
    masks = draw_masks_of(settings, steps)
    counted = None if settings.boundary else interior(masks.flatten(0, 1), settings.grid).view(masks.shape)
    highest, warmup = settings.learning_rate, settings.warmup
    rates = [objective.learning_rate(step, settings.steps, highest, warmup) for step in steps]
    images = torch.from_numpy(stream.located(positions)).view(len(steps), settings.batch_size)
    return Stretch(images, crops, masks, counted, torch.tensor(rates))


class GraphedSteps:
    """The steps of one run, from where it stands, in the stretches that are asked for.

    On a device without graphs the same code runs as it is, which is how it is tested against `Run.train_step`.

    Args:
        run: whose model and optimizer are moved.
        stretches: the ends of the stretches to come, from the run's present step on.
    """

    def __init__(self, run: Run, stretches: list[int]) -> None:
        self.run, settings, stream, device = run, run.settings, run.stream, run.device
        image = stream.image_set[0].shape
        target = stream.preprocess.height, stream.preprocess.width
        interpolation = stream.preprocess.interpolation
        self.table = crop_table(image[:2], target, interpolation, device) if stream.augment else None
        count = shown(settings, stream)
        self.pixels = resident(stream.image_set, count, stream.workers, device)
        bounds = [run.step, *stretches]
        pieces = [range(start, stop) for start, stop in pairwise(bounds)]
        on_host = crop_table(image[:2], target, interpolation) if stream.augment else None
        self.drawn = ahead(partial(draw, settings, stream, on_host), pieces, workers=0, prefetch=2)
        self.buffers: Stretch | None = None
        self.order = torch.empty(0)
        self.losses = torch.zeros(max(map(len, pieces), default=1), device=device)
        self.counter = torch.zeros(1, dtype=torch.int64, device=device)
        self.rate = torch.zeros((), device=device)
        mean = torch.tensor(stream.preprocess.mean, device=device).view(1, -1, 1, 1)
        std = torch.tensor(stream.preprocess.std, device=device).view(1, -1, 1, 1)
        self.scale, self.shift = 1 / (255 * std), mean / std
        self.graph: torch.cuda.CUDAGraph | None = None

    def __enter__(self) -> GraphedSteps:
        return self

    def __exit__(self, *error: object) -> None:
        self.drawn.close()

    def advance(self) -> Iterator[None]:
        """Hand the next stretch to the device, a turn at a time; it may still be busy with it at the end."""
        run, stretch = self.run, next(self.drawn)
        steps = len(stretch.rates)
        self.fill(stretch)
        if self.graph is None and run.device.type == "cuda":
            self.capture()
        for number in range(steps):
            if number and number % TURN == 0:
                yield
            if self.graph is None:
                self.step()
            else:
                self.graph.replay()
        run.pending.append((run.step + 1, self.losses[:steps].clone()))
        run.step += steps

    def fill(self, stretch: Stretch) -> None:
        """Copy the inputs of a stretch into the buffers, which the first and longest stretch allocates."""
        device, steps = self.run.device, len(stretch.rates)
        if self.buffers is None:
            longest = len(self.losses)
            self.buffers = Stretch(*(
                None if part is None else torch.zeros((longest, *part.shape[1:]), dtype=part.dtype, device=device)
                for part in stretch
            ))  # type: ignore[arg-type]  # fmt: skip
            self.order = torch.zeros(self.buffers.masks.shape, dtype=torch.int64, device=device)
        for buffer, part in zip(self.buffers, stretch, strict=True):
            if buffer is not None and part is not None:
                source = part.pin_memory() if device.type == "cuda" else part
                buffer[:steps].copy_(source, non_blocking=True)
        # Visible patches first, then the hidden ones, each in raster order.
        self.order[:steps].copy_(self.buffers.masks[:steps].to(torch.uint8).argsort(dim=-1, stable=True))
        self.counter.zero_()

    def step(self) -> None:
        """One step at the counter; everything stays on the device."""
        run, settings, at, buffers = self.run, self.run.settings, self.counter, self.buffers
        assert buffers is not None
        for group in run.optimizer.param_groups:
            group["lr"] = self.rate if run.device.type == "cuda" else float(buffers.rates[at])
        self.rate.copy_(buffers.rates.index_select(0, at).squeeze(0))
        order = self.order.index_select(0, at).squeeze(0)
        visible, hidden = order[:, : -run.hidden_patches], order[:, -run.hidden_patches :]
        counted = None if buffers.counted is None else buffers.counted.index_select(0, at).squeeze(0)
        total = settings.batch_size * run.hidden_patches if counted is None else counted.sum().clamp(min=1)
        images = self.images()
        with run.products():
            with run.autocast():
                loss = run.objective.at(images, visible, hidden, counted, total)
            loss.backward()
        run.optimizer.step()
        run.optimizer.zero_grad(set_to_none=True)
        self.losses.index_copy_(0, at, loss.detach().view(1))
        self.counter += 1

    def images(self) -> Tensor:
        """The step's images, cropped and normalised."""
        assert self.buffers is not None
        chosen = self.buffers.images.index_select(0, self.counter).squeeze(0)
        pixels = self.pixels.index_select(0, chosen).to(torch.float32)
        if self.table is not None and self.buffers.crops is not None:
            pixels = self.table.crop(pixels, self.buffers.crops.index_select(0, self.counter).squeeze(0))
        return pixels * self.scale - self.shift

    def capture(self) -> None:
        """Record the step as a graph; the warm-up that this needs leaves weights and optimizer as they were."""
        run = self.run
        for group in run.optimizer.param_groups:
            group["capturable"] = True
        weights = [parameter.detach().clone() for _, parameter in objective.trained(run.model)]
        fresh = not run.optimizer.state
        moments = [] if fresh else [part.clone() for part in self.optimizer_tensors()]
        for _ in range(WARM_UP):
            self.step()
        with torch.no_grad():
            for (_, parameter), before in zip(objective.trained(run.model), weights, strict=True):
                parameter.copy_(before)
            for index, part in enumerate(self.optimizer_tensors()):
                part.zero_() if fresh else part.copy_(moments[index])
        self.counter.zero_()
        torch.cuda.current_stream().synchronize()
        self.graph = torch.cuda.CUDAGraph()
        self.graph.capture_begin(capture_error_mode="thread_local")
        try:
            self.step()
        finally:
            self.graph.capture_end()
        self.counter.zero_()

    def optimizer_tensors(self) -> list[Tensor]:
        """Moments and step counts, in the order of the parameters."""
        return [part for state in self.run.optimizer.state.values() for part in state.values()]


def stretches(start: int, steps: int, log_every: int, snapshots: set[int]) -> list[int]:
    """Ends of stretches: every `log_every` steps, at snapshots and at the end, none longer than `STRETCH`."""
    marks = sorted({*range(0, steps, log_every), *range(0, steps, STRETCH), *snapshots, steps})
    return [mark for mark in marks if mark > start]
