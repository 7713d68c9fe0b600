"""Pixels as patches and back, and how normalised pixel targets are undone.

A model trained on per-patch normalised pixels predicts each patch up to a mean and a variance that it never saw. Taking
them from the target would leak the answer, so `statistics` names where they come from instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from probekit.constants import IMAGENET_MEAN, IMAGENET_STD
from probekit.errors import CheckpointError, MaskError, ProbekitError, did_you_mean

EPSILON = 1e-6
"""Added to a patch's variance before the root, as MAE does."""

STATISTICS = ("image", "neighbours", "target")


def assumed_scale(channels: int) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """(mean, std, in words) that are assumed for images of so many channels when nothing is recorded."""
    if channels == 3:
        return IMAGENET_MEAN, IMAGENET_STD, "ImageNet's mean and deviation were assumed"
    if channels == 1:
        weights = (0.299, 0.587, 0.114)
        mean, std = (
            sum(w * v for w, v in zip(weights, values, strict=True)) for values in (IMAGENET_MEAN, IMAGENET_STD)
        )
        return (mean,), (std,), f"mean {mean:.3f} and deviation {std:.3f}, the luminance of ImageNet's, were assumed"
    return (0.5,) * channels, (0.5,) * channels, f"mean 0.5 and deviation 0.5 in all {channels} channels were assumed"


@dataclass
class PixelScale:
    """How pixels are scaled for a model, and what its decoder predicts of them. A model and its card share one.

    Attributes:
        mean, std: per channel, of pixels in [0, 1].
        normalised_targets: whether the decoder predicts pixels normalised per patch; None if unknown (taken as plain).
    """

    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    normalised_targets: bool | None = None

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(mean, std), each float32 (channels, 1, 1)."""
        mean, std = (torch.tensor(tuple(v), dtype=torch.float32, device=device) for v in (self.mean, self.std))
        return mean[:, None, None], std[:, None, None]

    def picture(self, images: Tensor) -> Tensor:
        """Normalised images (..., channels, height, width) as pixels in [0, 1], clipped."""
        mean, std = self.tensors(images.device)
        return (images * std + mean).clamp(0, 1)

    def same(self, other: PixelScale) -> bool:
        """Whether two agree, to 1e-6."""
        ours, theirs = (*self.mean, *self.std), (*other.mean, *other.std)
        near = len(ours) == len(theirs) and all(abs(a - b) <= 1e-6 for a, b in zip(ours, theirs, strict=True))
        return near and self.normalised_targets == other.normalised_targets


def scale_of(
    mean: Sequence[float] | None, std: Sequence[float] | None, channels: int, normalised_targets: bool | None
) -> PixelScale:
    """The scale of a model's pixels; what is assumed for so many channels where mean or deviation is not given.

    Raises:
        CheckpointError: not one number of each for every channel.
    """
    if mean is None or std is None:
        mean, std, _ = assumed_scale(channels)
    if len(mean) != channels or len(std) != channels:
        raise CheckpointError(
            f"mean has {len(mean)} numbers and std {len(std)}; the encoder takes images of {channels} channels. Give "
            "one number of each for every channel."
        )
    return PixelScale(tuple(map(float, mean)), tuple(map(float, std)), normalised_targets)


def patchify(images: Tensor, size: int) -> Tensor:
    """(batch, channels, height, width) -> (batch, patches, size * size * channels), in the order (row, column,
    channel)."""
    batch, channels, height, width = images.shape
    split = images.reshape(batch, channels, height // size, size, width // size, size)
    return split.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, size * size * channels)


def unpatchify(patches: Tensor, size: int, grid: tuple[int, int]) -> Tensor:
    """The inverse of `patchify` on a grid of (rows, columns) patches."""
    batch, rows, columns = len(patches), *grid
    split = patches.reshape(batch, rows, columns, size, size, -1)
    return split.permute(0, 5, 1, 3, 2, 4).reshape(batch, -1, rows * size, columns * size)


def moments(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance of every patch over all its values, each (..., 1)."""
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return mean, variance


def normalise(patches: Tensor) -> Tensor:
    """Every patch to mean 0 and variance 1 (unbiased, plus 1e-6): MAE's normalised pixel targets."""
    mean, variance = moments(patches)
    return (patches - mean) / (variance + EPSILON).sqrt()


def check_statistics(statistics: str, hidden: Tensor | None) -> None:
    """Refuse an unknown name, and `neighbours` without a mask."""
    if statistics not in STATISTICS:
        raise ProbekitError(f"Unknown statistics {statistics!r}. {did_you_mean(statistics, STATISTICS)}")
    if statistics == "neighbours" and hidden is None:
        raise MaskError(
            "statistics='neighbours' interpolates from the visible patches to the hidden ones and so needs a mask. "
            "Give `hidden`, or use statistics='image'."
        )


def undo_normalisation(
    prediction: Tensor, patches: Tensor, hidden: Tensor | None, grid: tuple[int, int], statistics: str
) -> Tensor:
    """Give predicted patches a mean and a variance again.

    Args:
        prediction: (batch, patches, values), normalised per patch.
        patches: the image's own patches, same shape; what is hidden is read only by `statistics="target"`.
        hidden: bool (batch, patches) or None.
        grid: (rows, columns).
        statistics: `image`: one mean and variance from all visible pixels of the image. `neighbours`: every patch's own
            where it is visible, elsewhere the visible patches' weighted by 1 / squared distance between patch centres.
            `target`: every patch's own, the oracle.
    """
    if statistics == "target":
        mean, variance = moments(patches)
    elif statistics == "neighbours" and hidden is not None:
        mean, variance = _neighbours(patches, hidden, grid)
    else:
        mean, variance = _image(patches, hidden)
    return prediction * (variance + EPSILON).sqrt() + mean


def _image(patches: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
    """One mean and variance per image, over its visible pixels and channels: each (batch, 1, 1)."""
    visible = patches if hidden is None else patches[~hidden].reshape(len(patches), -1, patches.shape[-1])
    variance, mean = torch.var_mean(visible, dim=(1, 2), keepdim=True)
    return mean, variance


def _neighbours(patches: Tensor, hidden: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Means and variances interpolated from visible patches (Shepard): each (batch, patches, 1)."""
    rows, columns = grid
    where = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).to(patches)
    weights = torch.cdist(where, where).square().clamp(min=EPSILON).reciprocal()  # a visible patch outweighs all others
    weights = weights[None] * (~hidden)[:, None, :]
    weights = weights / weights.sum(dim=-1, keepdim=True)
    mean, variance = moments(patches)
    # What is hidden has weight 0; it is set to 0 as well, so that not even a NaN in it can come through.
    mean, variance = mean.masked_fill(hidden[..., None], 0.0), variance.masked_fill(hidden[..., None], 0.0)
    return weights @ mean, weights @ variance
