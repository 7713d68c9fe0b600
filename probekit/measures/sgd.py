"""Linear probing by stochastic gradient descent as MAE and DINOv2 publish it, on cached features.

Kept for comparison with published numbers; `logistic` is the default, since it has no learning rate, schedule or seed.
Both presets differ from their source in two things, which results must name. Features are computed once, so there is no
random crop or flip during the fit. And their numbers of steps are kept rather than their numbers of epochs, since a
small set would otherwise be fitted with next to no steps.

- `mae-lars-90`: batch norm without affine parameters (statistics of the batch while fitting, their running mean when
  applied), LARS, rate 0.1 x 16384 / 256, 90 epochs of 78 steps (ImageNet in batches of 16384), 10 of them warm-up,
  cosine, no weight decay. A batch is a 78th of the images.
- `dinov2-grid`: 13 learning rates at once, SGD with momentum 0.9, batches of 128, 12,500 steps, cosine; the winner is
  chosen on validation images (the source picks it on the set it reports).

Sources: He et al. (2022), appendix A.1; You et al., "Large batch training of convolutional networks" (2017); Oquab et
al. (2023).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probekit.measures.descent import warm_cosine
from probekit.measures.linear import EPSILON, Linear, Rows, Standardiser, checked, checked_labels

LARS_EPOCHS, LARS_WARMUP, LARS_EPOCH_STEPS, LARS_BATCH = 90, 10, 78, 16384
LARS_RATE = 0.1 * LARS_BATCH / 256
SMALLEST_BATCH = 16
LARS_TRUST = 0.001
MOMENTUM = 0.9
RUNNING = 0.1
"""Weight of the newest batch in batch norm's running statistics."""
DINO_RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)
DINO_STEPS, DINO_BATCH = 12_500, 128


def lars_step(
    weight: Tensor,
    gradient: Tensor,
    velocity: Tensor,
    rate: float,
    *,
    momentum: float = MOMENTUM,
    trust: float = LARS_TRUST,
) -> tuple[Tensor, Tensor]:
    """One step of LARS without weight decay: (new weight, new velocity).

    Matrices scale their gradient by `trust * |weight| / |gradient|` (1 where either is 0); vectors such as biases
    don't. velocity = momentum * velocity + scaled gradient; weight = weight - rate * velocity.
    """
    if weight.ndim > 1:
        size, slope = torch.linalg.vector_norm(weight), torch.linalg.vector_norm(gradient)
        ratio = torch.where((size > 0) & (slope > 0), trust * size / slope, torch.ones_like(size))
        gradient = gradient * ratio
    velocity = momentum * velocity + gradient
    return weight - rate * velocity, velocity


def minibatches(n: int, size: int, steps: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """`steps` batches of row numbers from shuffled passes over n; each batch sorted, since files are read in order."""
    whole = n // size
    for step in range(steps):
        at = step % whole
        if at == 0:
            order = rng.permutation(n)
        yield np.sort(order[at * size : (at + 1) * size])


def take(features: Rows, index: NDArray[np.int64], device: torch.device) -> Tensor:
    """Rows of an array, memmap or zarr array as float32."""
    get = getattr(features, "oindex", features)
    return torch.from_numpy(np.asarray(get[index], dtype=np.float32)).to(device)


def cross_entropy_slope(logits: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the mean cross-entropy with respect to the logits (rows, ..., classes)."""
    slope = torch.softmax(logits, dim=-1)
    index = labels.view(-1, *[1] * (logits.ndim - 1)).expand(*logits.shape[:-1], 1)
    return slope.scatter_add_(-1, index, torch.full_like(index, -1, dtype=slope.dtype)) / len(logits)


def fit_mae_lars(
    features: Rows,
    labels: NDArray[Any],
    *,
    classes: int,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Linear:
    """MAE's linear protocol on cached features; its one setting is the learning rate.

    Args:
        features: (n, d).
        labels: whole numbers (n,) in 0..classes-1.
        classes: their number.
        epochs: of 78 steps; 90 by default. The first ninth is warm-up.
        seed: of the initial weights and the order of images.
        device: where to compute.
    """
    n, dims = checked(features)
    where, rng = torch.device(device), np.random.default_rng(seed)
    targets = torch.from_numpy(checked_labels(labels, n, classes)).to(where)
    epochs = LARS_EPOCHS if epochs is None else epochs
    batch = min(n, max(SMALLEST_BATCH, min(LARS_BATCH, n // LARS_EPOCH_STEPS)))
    weight = torch.from_numpy(rng.standard_normal((classes, dims)) * 0.01).float().to(where)
    bias = torch.zeros(classes, device=where)
    velocities = [torch.zeros_like(weight), torch.zeros_like(bias)]
    mean, variance = torch.zeros(dims, device=where), torch.ones(dims, device=where)
    for step, index in enumerate(minibatches(n, batch, epochs * LARS_EPOCH_STEPS, rng)):
        rate = warm_cosine(
            step / LARS_EPOCH_STEPS, highest=LARS_RATE, warmup=epochs * LARS_WARMUP / LARS_EPOCHS, steps=epochs
        )
        rows = take(features, index, where)
        centre, spread = rows.mean(dim=0), rows.var(dim=0, correction=0)
        mean = (1 - RUNNING) * mean + RUNNING * centre
        variance = (1 - RUNNING) * variance + RUNNING * spread * len(rows) / max(len(rows) - 1, 1)
        rows = (rows - centre) * torch.rsqrt(spread + EPSILON)
        slope = cross_entropy_slope(rows @ weight.T + bias, targets[index])
        weight, velocities[0] = lars_step(weight, slope.T @ rows, velocities[0], rate)
        bias, velocities[1] = lars_step(bias, slope.sum(dim=0), velocities[1], rate)
    standardise = Standardiser(mean.double().cpu().numpy(), np.sqrt(variance.double().cpu().numpy() + EPSILON))
    return Linear(standardise, weight.T[None].double().cpu().numpy(), bias[None].double().cpu().numpy(), (LARS_RATE,))


def fit_dinov2_grid(
    features: Rows,
    labels: NDArray[Any],
    *,
    classes: int,
    rates: tuple[float, ...] = DINO_RATES,
    steps: int | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Linear:
    """DINOv2's linear heads, one for each learning rate, all fitted on the same batches in one matrix product.

    Args:
        features: (n, d), used as they are (no standardisation, as in the source).
        labels: whole numbers (n,) in 0..classes-1.
        classes: their number.
        rates: learning rates for batches of 256; scaled to the batch.
        steps: 12,500 by default; cosine schedule from the rate to 0.
        seed: of the initial weights and the order of images.
        device: where to compute.
    """
    n, dims = checked(features)
    where, rng = torch.device(device), np.random.default_rng(seed)
    targets = torch.from_numpy(checked_labels(labels, n, classes)).to(where)
    batch, steps = min(DINO_BATCH, n), DINO_STEPS if steps is None else steps
    initial = torch.from_numpy(rng.standard_normal((dims, 1, classes)) * 0.01).float().to(where)
    weight = initial.expand(-1, len(rates), -1).contiguous()
    bias = torch.zeros(len(rates), classes, device=where)
    scaled = torch.tensor(rates, device=where)[:, None] * batch / 256
    velocity, bias_velocity = torch.zeros_like(weight), torch.zeros_like(bias)
    for step, index in enumerate(minibatches(n, batch, steps, rng)):
        rate = scaled * warm_cosine(step, highest=1.0, warmup=0, steps=steps)
        rows = take(features, index, where)
        logits = (rows @ weight.flatten(1)).view(len(rows), len(rates), classes) + bias
        slope = cross_entropy_slope(logits, targets[index])
        velocity = MOMENTUM * velocity + (slope.flatten(1).T @ rows).T.reshape(weight.shape)
        bias_velocity = MOMENTUM * bias_velocity + slope.sum(dim=0)
        weight = weight - rate * velocity
        bias = bias - rate * bias_velocity
    standardise = Standardiser(np.zeros(dims), np.ones(dims))
    weights = weight.transpose(0, 1).double().cpu().numpy()
    return Linear(standardise, weights, bias.double().cpu().numpy(), tuple(rates))
