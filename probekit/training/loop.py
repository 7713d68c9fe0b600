"""Pretraining: masks, the masked loss, graphs where the device has them, and snapshots."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from accelerate import Accelerator
from torch import Tensor

from probekit.data import ImageSet, Preprocess, TrainingStream
from probekit.training import graphs, objective
from probekit.training.building import compile_blocks, create_model, fused_attention
from probekit.training.cards import save_checkpoint
from probekit.training.directory import RunDirectory
from probekit.training.settings import Settings, draw_masks, hidden_patches, interior, on_device
from probekit.training.starting import Start
from probekit.training.stepping import Stepping


class Run(Stepping):
    """One run of pretraining.

    Args:
        settings: what determines the weights.
        image_set: a train split.
        accelerator: of accelerate; says which process this is.
        directory: where the run lives.
        workers: processes that decode images.
        start: the weights that the run begins with; None = fresh ones.
    """

    def __init__(
        self,
        settings: Settings,
        image_set: ImageSet,
        accelerator: Accelerator,
        directory: RunDirectory,
        *,
        workers: int = 0,
        start: Start | None = None,
    ) -> None:
        self.settings = settings = on_device(settings, accelerator.device)
        self.image_set, self.start = image_set, start
        self.model = create_model(settings, start).to(accelerator.device).train()
        groups = objective.parameter_groups(self.model, settings.weight_decay)
        super().__init__(settings, accelerator, directory, self.model, groups)
        if settings.compile:
            compile_blocks(self.model)
        self.objective = objective.MaskedLoss(self.model)
        self.loss = accelerator.prepare_model(self.objective)
        self.stream = TrainingStream(
            image_set,
            self.share,
            preprocess(settings),
            seed=settings.seed,
            augment=settings.augment,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
            workers=workers,
        )
        self.hidden_patches = hidden_patches(settings)
        self.snapshots = settings.snapshot_steps()

    def losses(self, images: Tensor) -> Callable[[slice], Tensor]:
        """See `Stepping.losses`: the masks of the step are drawn for the whole batch."""
        hidden, counted, total = self.masks()

        def of(rows: slice) -> Tensor:
            found: Tensor = self.loss(images[rows], hidden[rows], None if counted is None else counted[rows], total)
            return found

        return of

    def masks(self) -> tuple[Tensor, Tensor | None, int]:
        """This process's rows of the step's masks, the patches that count, and how many count in the whole batch."""
        hidden, _ = draw_masks(self.settings, self.settings.batch_size, self.step)
        counted = None if self.settings.boundary else interior(hidden, self.settings.grid)
        total = max(1, int((hidden if counted is None else counted).sum()))
        first = self.accelerator.process_index * self.share
        rows = slice(first, first + self.share)
        return hidden[rows].to(self.device), None if counted is None else counted[rows].to(self.device), total

    def stretches(self, log_every: int) -> Iterator[bool]:
        """Take the remaining steps: as CUDA graphs, many between two visits, where possible; else one by one."""
        steps = self.settings.steps
        if graphs.suits(self):
            ends = graphs.stretches(self.step, steps, log_every, set(self.snapshots))
            with graphs.GraphedSteps(self, ends) as graphed:
                for _ in ends:
                    for _ in graphed.advance():
                        yield False
                    yield True
            return
        with contextlib.closing(self.stream.iterate(self.step, steps)) as batches:
            for images in batches:
                self.train_step(images.to(self.device, non_blocking=True))
                yield True

    def visit(self) -> None:
        """Snapshots."""
        if self.step in self.snapshots:
            self.write(f"snapshots/{self.snapshots[self.step]:g}")

    def finish(self) -> None:
        """The checkpoint."""
        self.write()

    def write(self, name: str | None = None) -> None:
        """Write the checkpoint as it is now: into a subfolder, or into the run's directory itself."""
        if self.accelerator.is_main_process:
            seen = self.step * self.settings.batch_size
            known_as = self.directory.path.name + ("" if name is None else f"@{name.split('/')[-1]}")
            with fused_attention(self.model):  # what readers of the checkpoint compute with
                facts = self.model, self.settings, self.image_set, seen, self.start
                self.directory.place(lambda to: save_checkpoint(to, known_as, *facts), name)


def preprocess(settings: Settings) -> Preprocess:
    """What images go through before the model."""
    return Preprocess(*settings.image_size, settings.mean, settings.std)
