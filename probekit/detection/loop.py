"""The steps of a run of detection: batches, torchvision's losses, and the trained detector at the end.

Everything random is a function of (seed, step), torchvision's sampling of regions included, so a state holds no
generator.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor, nn

from probekit.detection.detector import Detector
from probekit.detection.examples import Example, Stream
from probekit.detection.settings import DetectorSettings
from probekit.errors import TrainingError
from probekit.files import written_whole
from probekit.training.directory import KEPT, RunDirectory
from probekit.training.mixing import torch_seeded
from probekit.training.stepping import Stepping

LOSSES = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask")
"""torchvision's names of what is minimised; all count alike."""

WEIGHTS = "detector.safetensors"


class Run(Stepping):
    """One run; it resumes from the last state in its directory.

    Args:
        settings: what determines the weights.
        detector: as it begins.
        stream: of this process's training batches.
        accelerator, directory: where it runs, and where it lives.
        workers: processes that decode images.
    """

    def __init__(
        self,
        settings: DetectorSettings,
        detector: Detector,
        stream: Stream,
        accelerator: Accelerator,
        directory: RunDirectory,
        *,
        workers: int = 0,
    ) -> None:
        self.settings, self.stream, self.workers = settings, stream, workers
        self.detector = detector.to(accelerator.device).train()
        self.frozen = detector.encoder_digest()
        super().__init__(settings, accelerator, directory, self.detector, detector.groups(settings))
        self.loss = accelerator.prepare_model(self.detector)

    def losses(self, batch: list[Example]) -> Callable[[slice], Tensor]:
        """See `Stepping.losses`. Each loss is a mean over a micro-batch's own regions, as torchvision takes it."""
        parts = self.settings.accumulate

        def of(rows: slice) -> Tensor:
            images = [one.image.to(self.device) for one in batch[rows]]
            targets = [{key: value.to(self.device) for key, value in one.target.items()} for one in batch[rows]]
            facts = self.settings.seed, self.step, self.stream.rank, rows.start
            with torch_seeded(self.device, "detection step", *facts):
                found = self.loss(images, targets)
            total: Tensor = torch.stack([found[name].float() for name in LOSSES]).sum()
            return total / (parts * self.stream.world)

        return of

    def gradients(self, batch: list[Example]) -> Tensor:
        """See `Stepping.gradients`; what is too long is clipped."""
        loss = super().gradients(batch)
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.detector.parameters(), self.settings.clip)
        return loss

    def stretches(self, log_every: int) -> Iterator[bool]:
        """Take the steps that are left, one by one."""
        with contextlib.closing(self.stream.iterate(self.step, self.settings.steps, self.workers)) as batches:
            for batch in batches:
                self.train_step(batch)
                yield True

    def visit(self) -> None:
        """Nothing is due between steps: no weights are chosen, the last ones count."""

    def finish(self) -> None:
        """The detector's weights; a TrainingError if a weight moved that was to stay."""
        if self.frozen != self.detector.encoder_digest():
            raise TrainingError("Weights that were to stay as they are have changed. This is a fault of probekit.")
        if self.accelerator.is_main_process:
            save(self.detector, self.directory.path / WEIGHTS)


def save(detector: nn.Module, file: Path) -> None:
    """Write a detector's weights, whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in detector.state_dict().items()}
    with written_whole(file, kept=KEPT, also=(RuntimeError,)) as part:
        save_file(tensors, part, metadata={"format": "pt"})
