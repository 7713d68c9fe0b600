"""The steps of fine-tuning: labelled batches, soft targets, and now and then a look at `val`.

The weights with the best accuracy on `val` (of equal ones the lower loss, then the earlier) are kept in
the state, and are what is reported on `test`. Nothing is chosen on `test`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from probekit.data import ImageSet, Preprocess
from probekit.errors import TrainingError
from probekit.models import Checkpoint, MaskedAutoencoder
from probekit.training import objective, tuned
from probekit.training.classifier import create
from probekit.training.directory import RunDirectory
from probekit.training.mixing import LabelledStream, Mixing, torch_seeded
from probekit.training.stepping import Stepping
from probekit.training.tuning_settings import TuningSettings

EVALUATED = 256
"""Images at a time when `val` and `test` are looked at."""


class Tuning(Stepping):
    """One run of fine-tuning.

    Args:
        settings: what determines the weights.
        splits: "train", "val" and "test", disjoint, with the same classes; train is finite.
        accelerator: of accelerate; says which process this is.
        directory: where the run lives.
        start: the checkpoint that it begins with.
        workers: processes that decode images.
    """

    def __init__(
        self,
        settings: TuningSettings,
        splits: Mapping[str, ImageSet],
        accelerator: Accelerator,
        directory: RunDirectory,
        start: Checkpoint,
        *,
        workers: int = 0,
    ) -> None:
        self.settings, self.splits, self.start, self.workers = settings, splits, start, workers
        assert isinstance(start.model, MaskedAutoencoder)
        classes = len(splits["train"].classes)
        self.model = create(start.model, settings, classes).to(accelerator.device)
        self.digest = self.model.frozen_digest()
        groups = self.model.groups(settings.weight_decay, settings.layer_decay)
        super().__init__(settings, accelerator, directory, self.model, groups)
        self.loss = accelerator.prepare_model(self.model)
        self.preprocess: Preprocess = start.preprocess
        self.stream = LabelledStream(
            splits["train"],
            self.share,
            self.preprocess,
            seed=settings.seed,
            scale=settings.scale,
            flip=settings.flip,
            augment=settings.augment,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
            workers=workers,
            randaugment=settings.randaugment,
        )
        self.mixing = Mixing(settings, classes, self.device)
        self.checks = settings.checks()
        self.best: dict[str, Any] = {}
        """Step, accuracy and loss on val, and weights, of the best look so far."""

    def rate(self, step: int) -> float:
        """See `Stepping.rate`: the cosine ends at `min_lr`."""
        settings = self.settings
        lowest = settings.min_lr
        return objective.learning_rate(step, settings.steps, settings.learning_rate, settings.warmup, lowest)

    def losses(self, batch: tuple[Tensor, Tensor]) -> Callable[[slice], Tensor]:
        """See `Stepping.losses`: the cross-entropy with soft targets, as a share of the mean over the whole batch."""
        images, labels = batch
        rank = self.accelerator.process_index
        self.model.train()
        self.keep_frozen_still()

        def of(rows: slice) -> Tensor:
            drawn = (self.step, rank, rows.start)
            mixed, targets = self.mixing(images[rows], labels[rows], *drawn)
            with torch_seeded(self.device, "drop path", self.settings.seed, *drawn):
                logits = self.loss(mixed)
            return objective.soft_cross_entropy(logits, targets, self.settings.batch_size)

        return of

    def keep_frozen_still(self) -> None:
        """Put frozen modules in evaluation mode, without dropout."""
        if self.settings.last_blocks >= 0:
            encoder = self.model.model.encoder
            encoder.eval()
            for block in list(encoder.blocks)[len(encoder.blocks) - self.settings.last_blocks :]:
                block.train()

    def stretches(self, log_every: int) -> Iterator[bool]:
        """See `Stepping.stretches`: one step after the other."""
        steps = self.settings.steps
        with contextlib.closing(self.stream.iterate(self.step, steps)) as batches:
            for images in batches:
                labels = self.stream.labels(self.step).to(self.device)
                self.train_step((images.to(self.device, non_blocking=True), labels))
                yield True

    def visit(self) -> None:
        """Look at `val` where it is time."""
        if self.step not in self.checks or not self.accelerator.is_main_process:
            return
        hits, loss = self.outcomes("val")
        accuracy = float(hits.mean())
        self.directory.log({"step": self.step, "val_accuracy": accuracy, "val_loss": loss})
        if not self.best or (accuracy, -loss) > (self.best["accuracy"], -self.best["loss"]):
            weights = {name: tensor.cpu().clone() for name, tensor in self.model.state_dict().items()}
            self.best = {"step": self.step, "accuracy": accuracy, "loss": loss, "weights": weights}

    def outcomes(self, split: str) -> tuple[np.ndarray, float]:
        """Whether each image of a split is classified rightly, bool (n,); and the mean cross-entropy."""
        hits, total = [], 0.0
        images = self.splits[split]
        batches = images.batches(EVALUATED, self.preprocess, device=str(self.device), workers=self.workers)
        self.model.eval()
        with torch.inference_mode(), self.products(), self.autocast():
            for batch in batches:
                logits = self.model(batch["image"]).float()
                hits.append((logits.argmax(dim=1) == batch["label"]).cpu().numpy())
                total += float(nn.functional.cross_entropy(logits, batch["label"], reduction="sum"))
        return np.concatenate(hits), total / len(images)

    def extra_state(self) -> dict[str, Any]:
        """The best weights so far."""
        return {"best": self.best}

    def restore_extra(self, state: dict[str, Any]) -> None:
        """See `extra_state`."""
        self.best = state["best"]

    def finish(self) -> None:
        """Report the best weights on `test`; write encoder, head and results."""
        if not self.accelerator.is_main_process:
            return
        self.model.load_state_dict(self.best["weights"])
        if self.model.frozen_digest() != self.digest:
            raise TrainingError(
                f"{self.directory.path}: weights that were to stay frozen have changed. This is a fault of probekit."
            )
        hits, _ = self.outcomes("test")
        found = tuned.Tuned(self.settings, self.splits, self.start, self.model, self.digest, self.best, hits)
        self.directory.place(lambda folder: tuned.write(found, folder, self.directory.path.name))
