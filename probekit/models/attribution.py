"""Which pixels of one plain image a number made of its features depends on: integrated gradients, by captum.

Gradients go from a picture without contrast (the mean colour of training) to the image. They add up to the difference
of the number between the two, and `error` says how far they miss it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from probekit.checks import whole
from probekit.data import Preprocess
from probekit.errors import CheckpointError, ProbekitError
from probekit.models.contract import TokenModel
from probekit.models.sheets import Pixels, Sheet, overlaid, pixels_of

TOGETHER = 16
"""Images of a path that are computed at once."""


@dataclass(frozen=True)
class Attribution(Sheet):
    """What each pixel adds to a number made of the image's features.

    Attributes:
        image: as the model gets it, resized and cropped, uint8 (height, width, channels).
        values: what each pixel adds, channels summed, with its sign: float32 (height, width).
        patches: the same, summed over each ViT patch: float32 (rows, columns).
        score: the number for the image.
        blank: the number for the picture without contrast. `values` add up to `score - blank`, up to `error`.
        error: `values.sum() - (score - blank)`; more `steps` make it smaller.
        what: the number in words.
    """

    image: Pixels = field(repr=False)
    values: NDArray[np.float32] = field(repr=False)
    patches: NDArray[np.float32] = field(repr=False)
    score: float
    blank: float
    error: float
    what: str

    def parts(self) -> list[tuple[str, Pixels]]:
        """The image, and over it the absolute values of patches and of pixels."""
        return [
            ("image", self.image),
            ("|sum| of each patch", overlaid(self.image, np.abs(self.patches))),
            ("|value| of each pixel", overlaid(self.image, np.abs(self.values))),
        ]


def attribution(
    model: TokenModel,
    preprocess: Preprocess,
    image: Any,
    *,
    name: str,
    direction: ArrayLike | None,
    pooling: str | None,
    steps: int,
) -> Attribution:
    """See `Checkpoint.attribution`."""
    steps = whole("steps", steps, least=1)
    pooling = ("cls" if "cls" in model.poolings else "mean") if pooling is None else pooling
    model.check_pooling(pooling)
    pixels = preprocess(pixels_of(image, model.channels))
    grid = model.grid(*pixels.shape[:2])
    reason = no_gradients(model, (pixels.shape[0], pixels.shape[1]))
    if reason:
        raise CheckpointError(f"{name} has no attribution: {reason}.")
    picture = preprocess.normalise(torch.tensor(pixels).permute(2, 0, 1)[None].to(model.device))

    def features(images: Tensor) -> Tensor:
        return model.pool(model.encode(images), pooling)

    with torch.no_grad():
        own = features(picture)[0]
    score, what = _score(features, own, direction, pooling)
    with torch.no_grad():
        own_score, blank = (float(score(one)[0]) for one in (picture, torch.zeros_like(picture)))
    values = integrated_gradients(score, picture, steps=steps, together=TOGETHER)[0].sum(dim=0)
    size = model.vit_patch_size
    patches = values.reshape(grid[0], size, grid[1], size).sum(dim=(1, 3))
    error = float(values.sum()) - (own_score - blank)
    return Attribution(pixels, values.cpu().numpy(), patches.cpu().numpy(), own_score, blank, error, what)


def _score(
    features: Callable[[Tensor], Tensor], own: Tensor, direction: ArrayLike | None, pooling: str
) -> tuple[Callable[[Tensor], Tensor], str]:
    """The number that is attributed, (batch,) from images, and its words."""
    if direction is None:
        what = f"cosine of the {pooling} features with those of the whole image"
        return lambda images: torch.nn.functional.cosine_similarity(features(images), own[None]), what
    weights = torch.as_tensor(np.asarray(direction), dtype=own.dtype, device=own.device)
    if weights.shape != own.shape or not bool(weights.isfinite().all()):
        raise ProbekitError(
            f"direction has the shape {tuple(weights.shape)}; expected {len(own)} finite numbers, one for each "
            f"dimension of the {pooling} features: for a linear head the weights of one class."
        )
    return lambda images: features(images) @ weights, f"{pooling} features times the direction given"


def integrated_gradients(
    score: Callable[[Tensor], Tensor],
    images: Tensor,
    *,
    steps: int,
    together: int,
    target: Tensor | None = None,
) -> Tensor:
    """Integrated gradients of a score from the mean colour to images, float like `images`.

    Args:
        score: normalised images to (batch,), or to (batch, classes) with `target`.
        images: float (batch, channels, height, width), normalised.
        steps: points on the path.
        together: images that are computed at once.
        target: the class of each image, (batch,).
    """
    from captum.attr import IntegratedGradients

    with torch.enable_grad():
        found: Tensor = IntegratedGradients(score).attribute(
            images, target=target, n_steps=steps, internal_batch_size=max(together, len(images))
        )
    return found.detach().to(images.dtype)


def no_gradients(model: TokenModel, size: tuple[int, int]) -> str | None:
    """Why the features have no gradient by the pixels (a wrapped function may cut it); None if they have."""
    blank = torch.zeros(1, model.channels, *size, device=model.device, requires_grad=True)
    try:
        with torch.enable_grad():
            follows = model.encode(blank).requires_grad
    except RuntimeError as error:
        return f"the encoder takes no images that need gradients ({error})"
    return None if follows else "the encoder's features have no gradient by the pixels"
