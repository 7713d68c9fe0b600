"""What is minimised, and by what rule: the masked loss, the parameter groups and the learning rate.

The loss is a sum over the counted patches divided by how many the *whole* batch counts. Everything that splits a batch
(micro-batches, processes) then adds up to the undivided loss and gradient, also where masks differ in how many patches
they count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from probekit.measures.descent import warm_cosine
from probekit.models import MaskedAutoencoder


class MaskedLoss(nn.Module):
    """The squared error over hidden patches; a module, so that it can be compiled and distributed as one."""

    def __init__(self, model: MaskedAutoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, hidden: Tensor, counted: Tensor | None, total: int | Tensor) -> Tensor:
        """Sum over counted patches of the mean squared error of their pixels, divided by `total`.

        Args:
            images: float (batch, 3, height, width), normalised.
            hidden: bool (batch, patches), True = hidden.
            counted: bool (batch, patches), a subset of `hidden` that the loss counts; None counts all.
            total: counted patches in the whole effective batch, of which this may be a part.
        """
        predicted = self.model.predict(images, hidden, hidden_only=True)
        target = hidden_rows(self.model.targets(images), hidden)
        return squared_error(predicted, target, None if counted is None else hidden_rows(counted, hidden), total)

    def at(
        self, images: Tensor, visible: Tensor, hidden: Tensor, counted: Tensor | None, total: int | Tensor
    ) -> Tensor:
        """The same with the mask as column numbers, so that no device is waited for.

        Args:
            images, total: as above.
            visible, hidden: int64 (batch, n), columns of the visible and of the hidden patches, in raster order.
            counted: bool (batch, patches); None counts every hidden patch.
        """
        predicted = self.model.predict_at(images, visible, hidden)
        target = self.model.targets(images)
        target = target.gather(1, hidden[..., None].expand(-1, -1, target.shape[-1]))
        return squared_error(predicted, target, None if counted is None else counted.gather(1, hidden), total)


def squared_error(predicted: Tensor, target: Tensor, counted: Tensor | None, total: int | Tensor) -> Tensor:
    """Sum over counted patches of the mean squared error of their pixels, divided by `total`.

    Args:
        predicted, target: (batch, hidden, pixels).
        counted: bool (batch, hidden); None counts all.
        total: by what the sum is divided.
    """
    errors = (predicted.float() - target).square()
    if counted is not None:
        errors = errors * counted.unsqueeze(-1)
    return errors.sum() / (total * errors.shape[-1])


def hidden_rows(values: Tensor, hidden: Tensor) -> Tensor:
    """Of (batch, patches, ...), the hidden patches in raster order: (batch, hidden, ...)."""
    return values[hidden].view(values.shape[0], -1, *values.shape[2:])


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices only; biases, norms and tokens (anything with one long dimension) have none."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in trained(model):
        is_vector = sum(side > 1 for side in parameter.shape) <= 1 or name.endswith("bias")
        (free if is_vector else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def trained(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters that training moves (fixed position embeddings are not)."""
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def soft_cross_entropy(logits: Tensor, targets: Tensor, total: int) -> Tensor:
    """Cross-entropy with targets (batch, classes) that sum to 1, summed over the batch and divided by `total`."""
    return -(targets * logits.float().log_softmax(dim=-1)).sum() / total


def learning_rate(step: int, steps: int, highest: float, warmup: float, lowest: float = 0.0) -> float:
    """The rate of step `step` (from 0): linear from 0 over `warmup * steps`, then half a cosine to `lowest`."""
    return warm_cosine(step, highest=highest, warmup=warmup * steps, steps=steps, lowest=lowest)
