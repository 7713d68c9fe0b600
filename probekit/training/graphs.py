"""Steps on a CUDA device without the processor in between: images and masks lie there, and a step is one replay.

A step of a small model is some 300 short kernels; launching them one by one from Python costs more than running them.
Here a step (crop, forward, backward, AdamW) is captured once as a CUDA graph that reads what belongs to it from
buffers on the device, at a counter that it moves on itself. The processor draws the masks and crops of a whole stretch
of steps ahead, in a thread, and fills the buffers between stretches. Runs of equal shapes can be stacked
(`train_grid(together=)`): their parameters lie in one tensor per name, and each kernel serves all of them.

The numbers are those of `Run.train_step`: the same images, masks, loss and update rule.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from probekit.data import ImageSet, TrainingStream
from probekit.data.augmentation import packed
from probekit.data.crops import CropTable, crop_table
from probekit.data.loading import ahead
from probekit.models import MaskedAutoencoder
from probekit.training import objective
from probekit.training.settings import Settings, draw_masks_of, hidden_patches, interior

STRETCH = 256
"""Most steps between two visits of the processor."""

RESIDENT_LIMIT = 2**33
"""Images that take more bytes than this are not kept on the device; such runs are trained step by step."""

CHUNK = 4096
"""Images that are read or generated at a time."""

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
    optimizer: torch.optim.Optimizer
    hidden_patches: int
    stacked: int
    step: int
    pending: list[tuple[int, Tensor]]

    def products(self) -> AbstractContextManager[None]: ...

    def autocast(self) -> AbstractContextManager[object]: ...


def suits(run: Run) -> bool:
    """Whether a run's steps can be graphs: one CUDA device, one part per batch, images of one size that fit there."""
    settings, stream = run.settings, run.stream
    alone = run.accelerator.num_processes == 1 and settings.accumulate == 1
    plain = not settings.compile and settings.precision != "float16"
    return run.device.type == "cuda" and alone and plain and fits(settings, stream)


def fits(settings: Settings, stream: TrainingStream) -> bool:
    """Whether a stream's images can all lie on the device."""
    if not stream.packed or stream.image_set.channels != stream.preprocess.channels:
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
    """Learning rates, float32 (steps,)."""


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


class Floor:
    """Where runs meet that take their steps at the same time: those of equal shapes and steps are stacked."""

    def __init__(self) -> None:
        self.waiting: list[Run] = []
        self.stacks: dict[int, GraphedSteps] = {}
        self.streams: dict[int, torch.cuda.Stream] = {}

    def on_stream(self, settings: Settings, device: torch.device) -> AbstractContextManager[Any]:
        """Where all of a run happens: on a GPU, one stream for each number of hidden patches, never the default one."""
        if device.type != "cuda":
            return nullcontext()
        hidden = hidden_patches(settings)
        if hidden not in self.streams:
            self.streams[hidden] = torch.cuda.Stream(device)
        return torch.cuda.stream(self.streams[hidden])

    def join(self, run: Run) -> None:
        """A run is ready to take its steps; whoever joins before the first of them does is stacked with it."""
        self.waiting.append(run)

    def advance(self, run: Run, log_every: int) -> None:
        """Take the next stretch of a run's steps, unless it was taken already with those of another one."""
        if id(run) not in self.stacks:
            mates = [other for other in self.waiting if shape(other) == shape(run)]
            self.waiting = [other for other in self.waiting if shape(other) != shape(run)]
            settings = run.settings
            ends = stretches(run.step, settings.steps, log_every, set(settings.snapshot_steps()))
            self.stacks |= dict.fromkeys(map(id, mates), GraphedSteps(mates, ends))
        self.stacks[id(run)].advance(run)

    def leave(self, run: Run) -> None:
        """The run is over."""
        stack = self.stacks.pop(id(run), None)
        if stack is not None and stack not in self.stacks.values():
            stack.close()


def shape(run: Run) -> dict[str, object]:
    """What stacked runs must have in common: everything but the seed and which patches are hidden."""
    record = run.settings.record() | {"hidden": run.hidden_patches, "step": run.step}
    return {name: value for name, value in record.items() if name not in ("seed", "mask_ratio", "patch_size")}


class At(nn.Module):
    """`MaskedLoss.at` as a module's forward, which is what `functional_call` calls."""

    def __init__(self, objective: objective.MaskedLoss) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, *given: Any) -> Tensor:
        return self.objective.at(*given)


class GraphedSteps:
    """The steps of one run, or of several stacked ones, from where they stand, in the stretches that are asked for.

    The parameters of stacked runs lie in one tensor per name with the runs in front, of which each model's are views;
    their forward is mapped over them. On a device without graphs the same code runs as it is, which is how it is tested
    against `Run.train_step`.

    Args:
        runs: whose models and optimizers are moved; all of one `shape`.
        ends: of the stretches to come, from the runs' present step on.
    """

    def __init__(self, runs: list[Run], ends: list[int]) -> None:
        self.runs, first = runs, runs[0]
        self.settings, self.device, self.hidden = first.settings, first.device, first.hidden_patches
        settings, stream, device = first.settings, first.stream, first.device
        image = stream.image_set[0].shape[:2]
        sizes = image, (stream.preprocess.height, stream.preprocess.width), stream.preprocess.interpolation
        self.table = crop_table(*sizes, device) if stream.augment else None
        self.pixels = resident(stream.image_set, shown(settings, stream), stream.workers, device)
        pieces = [range(start, stop) for start, stop in pairwise([first.step, *ends])]
        on_host = crop_table(*sizes) if stream.augment else None
        self.drawn = [
            ahead(partial(draw, run.settings, run.stream, on_host), pieces, workers=0, prefetch=2) for run in runs
        ]
        self.taken, self.asked = 0, dict.fromkeys(map(id, runs), 0)
        self.buffers: Stretch | None = None
        self.order = torch.empty(0)
        self.losses = torch.zeros(max(map(len, pieces), default=1), len(runs), device=device)
        self.counter = torch.zeros(1, dtype=torch.int64, device=device)
        self.rate = torch.zeros((), device=device)
        mean = torch.tensor(stream.preprocess.mean, device=device).view(1, -1, 1, 1)
        std = torch.tensor(stream.preprocess.std, device=device).view(1, -1, 1, 1)
        self.scale, self.shift = 1 / (255 * std), mean / std
        self.graph: torch.cuda.CUDAGraph | None = None
        self.at = At(first.objective).eval()
        self.parameters, self.optimizer = stacked(runs)
        for group in self.optimizer.param_groups:
            group["lr"], group["capturable"] = self.rate, device.type == "cuda"

    def close(self) -> None:
        """End the threads that draw ahead."""
        for drawn in self.drawn:
            drawn.close()  # type: ignore[attr-defined]

    def advance(self, run: Run) -> None:
        """Hand the next stretch to the device, which may still be busy with it on return."""
        self.asked[id(run)] += 1
        if self.asked[id(run)] > self.taken:
            self.taken += 1
            self.take()

    def take(self) -> None:
        """The next stretch of all runs."""
        several = [next(drawn) for drawn in self.drawn]
        steps = len(several[0].rates)
        self.fill(several)
        if self.graph is None and self.device.type == "cuda":
            self.capture()
        for _ in range(steps):
            if self.graph is None:
                self.step()
            else:
                self.graph.replay()
        for index, run in enumerate(self.runs):
            run.stacked = len(self.runs)
            run.pending.append((run.step + 1, self.losses[:steps, index].clone()))
            run.step += steps

    def fill(self, several: list[Stretch]) -> None:
        """Put what belongs to a stretch into the buffers, made at the first one, the longest that there is."""
        steps = len(several[0].rates)
        parts = [None if part[0] is None else torch.stack(part, dim=1) for part in zip(*several, strict=True)]
        if self.buffers is None:
            self.buffers = Stretch(*(
                None if part is None
                else torch.zeros(len(self.losses), *part.shape[1:], dtype=part.dtype, device=self.device)
                for part in parts
            ))  # type: ignore[arg-type]  # fmt: skip
            self.order = torch.zeros(self.buffers.masks.shape, dtype=torch.int64, device=self.device)
        for buffer, part in zip(self.buffers, parts, strict=True):
            if buffer is not None and part is not None:
                source = part.pin_memory() if self.device.type == "cuda" else part
                buffer[:steps].copy_(source, non_blocking=True)
        # Visible patches first, then the hidden ones, each in raster order.
        self.order[:steps].copy_(self.buffers.masks[:steps].to(torch.uint8).argsort(dim=-1, stable=True))
        self.counter.zero_()

    def now(self, buffer: Tensor) -> Tensor:
        """What belongs to the step at the counter."""
        return buffer.index_select(0, self.counter).squeeze(0)

    def step(self) -> None:
        """One step at the counter; everything stays on the device."""
        run, buffers = self.runs[0], self.buffers
        assert buffers is not None
        self.rate.copy_(self.now(buffers.rates)[0])
        visible, hidden = self.now(self.order).split([self.order.shape[-1] - self.hidden, self.hidden], dim=-1)
        counted = None if buffers.counted is None else self.now(buffers.counted)
        everything = torch.full((len(self.runs),), self.settings.batch_size * self.hidden, device=self.device)
        total = everything if counted is None else counted.sum(dim=(1, 2)).clamp(min=1)
        images = self.images()
        with run.products():
            with run.autocast():
                losses = self.loss(images, visible, hidden, counted, total)
            losses.sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.losses.index_copy_(0, self.counter, losses.detach()[None])
        self.counter += 1

    def loss(self, *given: Tensor | None) -> Tensor:
        """(runs,), from arguments of `MaskedLoss.at` with the runs in front."""
        if len(self.runs) == 1:
            loss: Tensor = self.at(*(None if part is None else part[0] for part in given))
            return loss[None]

        def of_one(parameters: dict[str, Tensor], *part: Tensor | None) -> Tensor:
            return torch.func.functional_call(self.at, parameters, part)  # type: ignore[no-any-return]

        dims = tuple(None if part is None else 0 for part in given)
        return torch.func.vmap(of_one, in_dims=(0, *dims))(self.parameters, *given)

    def images(self) -> Tensor:
        """The step's images, cropped and normalised: (runs, batch, channels, height, width)."""
        assert self.buffers is not None
        chosen = self.now(self.buffers.images)
        pixels = self.pixels.index_select(0, chosen.flatten()).to(torch.float32)
        if self.table is not None and self.buffers.crops is not None:
            pixels = self.table.crop(pixels, self.now(self.buffers.crops).flatten(0, 1))
        return (pixels * self.scale - self.shift).unflatten(0, chosen.shape)

    def capture(self) -> None:
        """Record the step as a graph; the warm-up that this needs leaves weights and optimizer as they were."""
        moved = [part for group in self.optimizer.param_groups for part in group["params"]]
        moved += [part for state in self.optimizer.state.values() for part in state.values()]
        before = [part.detach().clone() for part in moved]
        for _ in range(WARM_UP):
            self.step()
        with torch.no_grad():
            for part, value in zip(moved, before, strict=True):
                part.copy_(value)
        self.counter.zero_()
        torch.cuda.current_stream().synchronize()
        self.graph = torch.cuda.CUDAGraph()
        self.graph.capture_begin(capture_error_mode="thread_local")
        try:
            self.step()
        finally:
            self.graph.capture_end()
        self.counter.zero_()


def stacked(runs: list[Run]) -> tuple[dict[str, Tensor], torch.optim.Optimizer]:
    """The parameters of runs as one tensor per name, the runs in front, and one optimizer for them.

    Models and optimizers of the runs become views of these. A single run keeps what it has.
    """
    for run in runs:
        for group in run.optimizer.param_groups:
            for parameter in group["params"]:
                if parameter not in run.optimizer.state:
                    zeros = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
                    run.optimizer.state[parameter] = {"step": torch.zeros((), device=parameter.device)} | zeros
    if len(runs) == 1:
        return {}, runs[0].optimizer
    whole: dict[int, Tensor] = {}  # parameters of the first run -> the stacked ones
    groups, states = [], {}
    for together in zip(*(run.optimizer.param_groups for run in runs), strict=True):
        several = list(zip(*(group["params"] for group in together), strict=True))
        parameters = [torch.stack([one.detach() for one in ones]).requires_grad_() for ones in several]
        groups.append({**together[0], "params": parameters})
        for ones, parameter in zip(several, parameters, strict=True):
            of_each = [run.optimizer.state[one] for run, one in zip(runs, ones, strict=True)]
            moments = {name: torch.stack([state[name] for state in of_each]) for name in ("exp_avg", "exp_avg_sq")}
            states[parameter] = {"step": of_each[0]["step"].clone(), **moments}
            whole[id(ones[0])] = parameter
            for index, (one, state) in enumerate(zip(ones, of_each, strict=True)):
                one.data = parameter.data[index]
                state |= {"step": states[parameter]["step"]} | {name: moments[name][index] for name in moments}
    optimizer = type(runs[0].optimizer)(groups, fused=True)  # type: ignore[call-arg]
    optimizer.state.update(states)
    names = {f"objective.model.{name}": one for name, one in objective.trained(runs[0].model)}
    return {name: whole[id(one)] for name, one in names.items()}, optimizer


def stretches(start: int, steps: int, log_every: int, snapshots: set[int]) -> list[int]:
    """Ends of stretches: every `log_every` steps, at snapshots and at the end, none longer than `STRETCH`."""
    marks = sorted({*range(0, steps, log_every), *range(0, steps, STRETCH), *snapshots, steps})
    return [mark for mark in marks if mark > start]
