"""Terms of the level spectrum, pair by pair: an image and its partners go through the encoder in the same batch.

So nothing but a covariance and a variance per pair, layer, pooling, scaling and level is ever kept, even for tokens,
whose features would fill a disk. Centre and scale are the moments of the pairs' own images, known from the main pass;
that makes the covariance exact, and the variance up to the partners' mean, a share of 1 / pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from probekit.collect.frame import Batch, Frame, Source
from probekit.collect.recorders import Recorder, Rows
from probekit.errors import ProbeError
from probekit.measures import levels

SCALINGS = levels.SCALINGS


class Reference(NamedTuple):
    """What features are centred by, and what each is multiplied by for every scaling: flat, float32, on the device."""

    mean: Tensor
    scales: tuple[Tensor, ...]


def reference(mean: np.ndarray, variance: np.ndarray, device: torch.device) -> Reference:
    """From the moments of the pairs' own images, of any shape. Features that do not vary count for nothing."""
    centre, spread = mean.reshape(-1), variance.reshape(-1)
    scales = []
    for scaling in SCALINGS:
        try:
            weights = levels.weights_of(spread, spread + centre**2, scaling)
        except ProbeError:
            weights = np.zeros_like(spread)  # a constant representation, such as [CLS] at the embedding: no share
        scales.append(torch.from_numpy(np.sqrt(weights)).float().to(device))
    return Reference(torch.from_numpy(centre).float().to(device), tuple(scales))


class PairTerms(Recorder):
    """`covariance`, `variance`: float32 (rows, layers, poolings + token, scalings, H), levels 1..H.

    Args:
        references: (layer, pooling) -> `Reference`; the pooling "token" is all tokens, each at its position.
    """

    name = "pairs"

    def __init__(self, frame: Frame, source: Source, references: Mapping[tuple[int, str], Reference]) -> None:
        super().__init__(frame, source)
        self.references = references
        self.poolings = (*frame.poolings, "token")
        self._layers: list[Tensor] = []

    @property
    def facts(self) -> dict[str, Any]:
        return {"poolings": self.poolings, "scalings": SCALINGS}

    def layer(self, index: int, tokens: Tensor, attention: Tensor | None, batch: Batch) -> None:
        found = []
        for name in self.poolings:
            pooled = tokens if name == "token" else self.frame.model.pool(tokens, name)
            blocks = pooled.reshape(self.source.per_row, len(batch.indices), -1)
            found.append(terms(blocks, self.references[index, name]))
        self._layers.append(torch.stack(found))

    def rows(self, batch: Batch) -> Rows:
        stacked = torch.stack(self._layers)  # (layers, poolings, 2, scalings, H, rows)
        self._layers.clear()
        covariance, variance = stacked.permute(2, 5, 0, 1, 3, 4).cpu().numpy()
        return {"covariance": np.ascontiguousarray(covariance), "variance": np.ascontiguousarray(variance)}


def terms(blocks: Tensor, around: Reference) -> Tensor:
    """Covariance and variance terms of each pair: (2, scalings, H, rows), from features (1 + H, rows, features)."""
    centred = blocks - around.mean
    out = []
    for scale in around.scales:
        scaled = centred * scale
        squares = scaled.square().sum(dim=-1)
        products = torch.einsum("rf,hrf->hr", scaled[0], scaled[1:])
        out.append(torch.stack([products, (squares[:1] + squares[1:]) / 2]))
    return torch.stack(out, dim=1)
