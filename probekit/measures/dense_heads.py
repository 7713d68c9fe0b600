"""What reads frozen patch tokens for every pixel: a linear head, nearest neighbours, and matching.

The linear head is batch norm (with the mean and variance of all train tokens) and a 1x1 convolution, whose logits are
brought to pixels bilinearly. It is fitted by cross-entropy at pixels that are drawn once from each train image: an
unbiased sample of the loss over all pixels, at a bounded cost. The problem is convex and starts at 0, so the seed
changes only the order of the images.

Sources: Oquab et al., "DINOv2" (2024; linear segmentation and depth); Darcet et al., CAPI (2025; k-NN segmentation);
Tang et al., DIFT (2023; matching of upsampled features).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from probekit.errors import ProbeError
from probekit.measures.descent import fit_at_rates

EPSILON = 1e-6
RATES = (1e-3, 3e-3, 1e-2)
STEPS, BATCH = 300, 16
NONE = -100
"""Target of a drawn pixel that counts for nothing: cross-entropy's own number for it."""

NEIGHBOURS, TEMPERATURE = 20, 0.07
CHUNK = 1 << 16
"""Pixels of one image that are predicted at a time."""

Drawn = tuple[Tensor, Tensor, Tensor]
"""Tokens (images, patches, width), places (images, pixels, 2; y and x in (0, 1)), targets (images, pixels)."""


def at_places(maps: Tensor, places: Tensor) -> Tensor:
    """Maps at places, bilinearly: what enlarging them (`align_corners=False`) would give there.

    Args:
        maps: (images, rows, columns, channels).
        places: (images, pixels, 2), y and x as shares of the height and width.

    Returns:
        (images, pixels, channels).
    """
    grid = (2 * places.flip(-1) - 1)[:, None]
    planes = maps.permute(0, 3, 1, 2)
    found = nn.functional.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return found[:, :, 0].transpose(1, 2)


class LinearHead(NamedTuple):
    """A fitted head: logits = ((tokens - mean) / deviation) weight' + bias; `rate` is the learning rate chosen."""

    mean: Tensor
    deviation: Tensor
    weight: Tensor
    bias: Tensor
    rate: float

    def logits(self, tokens: Tensor) -> Tensor:
        """(..., width) -> (..., classes)."""
        return ((tokens - self.mean) / self.deviation) @ self.weight.T + self.bias


def moments(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over all tokens, float32 (width,), summed in float64."""
    total, square, count = None, None, 0
    for tokens in batches:
        flat = tokens.flatten(0, 1).double()
        total = flat.sum(dim=0) if total is None else total + flat.sum(dim=0)
        square = flat.square().sum(dim=0) if square is None else square + flat.square().sum(dim=0)
        count += len(flat)
    if total is None or square is None:
        raise ProbeError("There are no tokens to fit a linear head on.")
    mean = total / count
    if not bool(torch.isfinite(square).all()):
        raise ProbeError("Some tokens are not finite, or exceed the range of float16 (65,504), in which they are kept.")
    variance = (square / count - mean.square()).clamp_min(0)
    return mean.float(), (variance + EPSILON).sqrt().float()


def fit_linear(
    train: Callable[[int], Iterator[Drawn]],
    val: Callable[[], Iterator[Drawn]],
    statistics: tuple[Tensor, Tensor],
    *,
    grid: tuple[int, int],
    classes: int,
    rates: tuple[float, ...] = RATES,
    steps: int = STEPS,
) -> LinearHead:
    """Fit a head at each learning rate on the same batches; keep the one of the lowest cross-entropy on val pixels.

    Args:
        train: from a number of steps to that many batches.
        val: all validation images, batch by batch.
        statistics: mean and deviation of the train tokens (`moments`).
        grid: (rows, columns) of patches.
        classes: of the head.
        rates: learning rates; AdamW with weight decay 1e-3, linear warm-up over a tenth, cosine to 0.
        steps: batches.

    Raises:
        ProbeError: the loss on val is not finite at any rate.
    """
    mean, deviation = statistics
    heads = []
    for rate in rates:
        weight = torch.zeros(classes, len(mean), device=mean.device, requires_grad=True)
        bias = torch.zeros(classes, device=mean.device, requires_grad=True)
        heads.append(LinearHead(mean, deviation, weight, bias, rate))

    def loss(place: int, drawn: Drawn) -> Tensor:
        total, count = _loss(heads[place], drawn, grid)
        return total / max(1, count)

    fit_at_rates([[one.weight, one.bias] for one in heads], rates, train(steps), loss, steps=steps)
    with torch.inference_mode():
        sums = [[0.0, 0] for _ in heads]
        for drawn in val():
            for place, one in enumerate(heads):
                total, count = _loss(one, drawn, grid)
                sums[place] = [sums[place][0] + float(total), sums[place][1] + count]
    losses = [total / count if count and math.isfinite(total) else math.inf for total, count in sums]
    if not np.isfinite(losses).any():
        raise ProbeError("The linear head has no finite loss on val: no pixel of it is known, or the tokens are huge.")
    best = heads[int(np.argmin(losses))]
    return best._replace(weight=best.weight.detach(), bias=best.bias.detach())


def _loss(head: LinearHead, drawn: Drawn, grid: tuple[int, int]) -> tuple[Tensor, int]:
    """Summed cross-entropy at the drawn pixels, and their number."""
    tokens, places, targets = drawn
    logits = at_places(head.logits(tokens).reshape(len(tokens), *grid, -1), places).flatten(0, 1)
    total = nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=NONE, reduction="sum")
    return total, int((targets != NONE).sum())


@torch.inference_mode()
def at_pixels(scores: Tensor, y: np.ndarray, x: np.ndarray, reduce: Callable[[Tensor], Tensor]) -> np.ndarray:
    """Scores of one image, (rows, columns, classes), brought to every pixel, and reduced to one number each.

    Args:
        scores: on the grid of patches.
        y, x: centres of the rows and columns of pixels, in (0, 1).
        reduce: (pixels, classes) -> (pixels,).

    Returns:
        (len(y), len(x)).
    """
    rows, parts = max(1, CHUNK // max(1, len(x))), []
    wide = torch.einsum("xw,hwc->hxc", bilinear(x, scores.shape[1], scores), scores)
    for start in range(0, len(y), rows):
        down = bilinear(y[start : start + rows], scores.shape[0], scores)
        found = torch.einsum("yh,hxc->yxc", down, wide)
        parts.append(reduce(found.flatten(0, 1)).reshape(found.shape[:2]).cpu().numpy())
    return np.concatenate(parts)


def bilinear(places: np.ndarray, cells: int, like: Tensor) -> Tensor:
    """Weights of cells at places along one side, (places, cells), as in `at_places`; of the type of `like`."""
    at = np.clip(places * cells - 0.5, 0, cells - 1)
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(cells)))
    return torch.from_numpy(weights).to(like)


@torch.inference_mode()
def neighbour_shares(tokens: Tensor, bank: Tensor, shares: Tensor, *, neighbours: int = NEIGHBOURS) -> Tensor:
    """Classes of tokens as their nearest neighbours have them: (tokens, classes), weighted by exp(cosine / 0.07).

    Args:
        tokens: (tokens, width), of unit length.
        bank: (entries, width), of unit length.
        shares: (entries, classes), share of each class in an entry's pixels.
        neighbours: how many; all entries where there are fewer.
    """
    nearest = (tokens @ bank.T).topk(min(neighbours, len(bank)), dim=1)
    weights = (nearest.values / TEMPERATURE).softmax(dim=1)
    return torch.einsum("tk,tkc->tc", weights, shares[nearest.indices])


@torch.inference_mode()
def nearest_pixels(source: Tensor, target: Tensor, places: Tensor, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """For places in one image the pixel of another whose feature is most alike (cosine), both bilinear: (places, 2).

    Args:
        source, target: tokens of the two images, (rows, columns, width).
        places: (places, 2), y and x in the source, in (0, 1).
        y, x: centres of the target's rows and columns of pixels.

    Returns:
        int64: positions in `y` and `x`.
    """
    asked = nn.functional.normalize(at_places(source[None], places[None])[0], dim=-1)
    best = torch.full((len(asked),), -torch.inf, device=asked.device)
    found = torch.zeros(len(asked), dtype=torch.int64, device=asked.device)
    rows, across = max(1, CHUNK // 16 // max(1, len(x))), torch.from_numpy(x).to(target)
    for start in range(0, len(y), rows):
        down = torch.from_numpy(y[start : start + rows]).to(target)
        grid = torch.stack(torch.meshgrid(down, across, indexing="ij"), dim=-1).flatten(0, 1)
        offered = nn.functional.normalize(at_places(target[None], grid[None])[0], dim=-1)
        alike, place = (asked @ offered.T).max(dim=1)
        better = alike > best
        best, found = torch.where(better, alike, best), torch.where(better, place + start * len(x), found)
    at = found.cpu().numpy()
    return np.stack([at // len(x), at % len(x)], axis=1)
