"""A masked autoencoder on vectors: sees the visible observables of a latent graph, predicts the hidden ones.

Encoder and decoder are multilayer perceptrons with a bottleneck between them, the loss is the mean squared error on the
hidden observables: the paper's autoencoder for one fixed mask, where positions need no embedding. Several bottleneck
widths are trained side by side on the same batches as one stack of matrices: comparisons between widths are paired, and
small matrices are multiplied in one call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from probekit import progress

Floats = NDArray[np.floating]


class Stack(nn.Module):
    """Several perceptrons of one shape, each with its own weights: (models, batch, in) -> (models, batch, out).

    Args:
        models: how many.
        sizes: width of the input, of each hidden layer, and of the output.
        generator: of the initial weights (normal, gain for SiLU; biases zero).
    """

    def __init__(self, models: int, sizes: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        pairs = list(pairwise(sizes))
        self.weights = nn.ParameterList(
            [torch.randn(models, into, out, generator=generator) * math.sqrt(2.0 / into) for into, out in pairs]
        )
        self.biases = nn.ParameterList([torch.zeros(models, 1, out) for _, out in pairs])

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            if layer < last:
                hidden = torch.nn.functional.silu(hidden)
        return hidden


class VectorAutoencoders(nn.Module):
    """Masked autoencoders that differ in the bottleneck only.

    Args:
        visible: components of the visible observables.
        hidden: components of the hidden ones.
        bottlenecks: width of each model's bottleneck.
        width: of the hidden layers.
        layers: hidden layers of the encoder, and of the decoder.
        seed: of the initial weights.
    """

    def __init__(
        self, visible: int, hidden: int, bottlenecks: Sequence[int], *, width: int, layers: int, seed: int
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        models, widest = len(bottlenecks), max(bottlenecks)
        self.bottlenecks = tuple(bottlenecks)
        self.encoder = Stack(models, [visible, *[width] * layers, widest], generator)
        self.decoder = Stack(models, [widest, *[width] * layers, hidden], generator)
        open_ = torch.arange(widest) < torch.tensor(bottlenecks)[:, None]
        self.register_buffer("open", open_[:, None].float())

    def encode(self, visible: torch.Tensor) -> torch.Tensor:
        """(batch, visible) -> (models, batch, widest bottleneck); units beyond a model's own bottleneck are zero."""
        coded: torch.Tensor = self.encoder(visible.expand(len(self.bottlenecks), -1, -1))
        return coded * self.get_buffer("open")

    def forward(self, visible: torch.Tensor) -> torch.Tensor:
        """(batch, visible) -> predictions (models, batch, hidden)."""
        decoded: torch.Tensor = self.decoder(self.encode(visible))
        return decoded

    def codes(self, visible: Floats) -> list[Floats]:
        """c_hat of each model: (samples, its bottleneck), float64."""
        with torch.no_grad():
            coded = self.encode(torch.from_numpy(np.asarray(visible, dtype=np.float32))).double().numpy()
        return [code[:, :size] for code, size in zip(coded, self.bottlenecks, strict=True)]


def train(
    model: VectorAutoencoders,
    visible: Floats,
    hidden: Floats,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> None:
    """Minimise the mean squared error on the hidden observables (Adam, one-cycle cosine), every model on its own loss.

    Args:
        model: trained in place.
        visible: (samples, visible) and
        hidden: (samples, hidden): the pool of samples that batches are drawn from, with replacement.
        steps, batch_size, learning_rate: of the optimiser.
        seed: of the batches.
    """
    inputs, targets = (torch.from_numpy(np.asarray(array, dtype=np.float32)) for array in (visible, hidden))
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate, betas=(0.9, 0.99), fused=True)
    warm = max(steps // 20, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm, 0.5 * (1.0 + math.cos(math.pi * step / steps)))
    )
    generator = torch.Generator().manual_seed(seed)
    with progress.bar("recovery: training", steps, "steps") as advance:
        for _ in range(steps):
            rows = torch.randint(len(inputs), (batch_size,), generator=generator)
            # Summed over models, the losses have separate gradients: no model shares a weight with another.
            loss = (model(inputs[rows]) - targets[rows]).square().mean((1, 2)).sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            advance(1)
