"""Terms of the level spectrum, pair by pair: an image and its partners go through the encoder in the same batch.

So nothing but a covariance and a variance per image, layer, pooling, scaling and level is ever kept, even for tokens,
whose features would fill a disk.

An image's partners are pairs among themselves too: the partners that share the latents from g up and from h > g up
share exactly those from h up with each other. So S_h is estimated from h pairs per image, for the forwards of one.

Features are centred by the moments of the images themselves, from the main pass, while the batches go by; what the
means of the partners differ from that is known at the end, and is stored as the correction that makes the shares exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from probekit.collect.prepared import Batch, PreparedModel, Source
from probekit.collect.recorders import Recorder, Rows
from probekit.collect.store import Store
from probekit.errors import ProbeError
from probekit.measures import level_shares

SCALINGS = (*level_shares.SCALINGS, "whitened")

AT_ONCE = 1 << 22
"""Numbers of tokens whose products are taken at a time, 16 MiB in float32."""


class Reference(NamedTuple):
    """What features are centred by, and how they are scaled: float32, on the device.

    Attributes:
        mean: flat.
        scales: for raw and standardised features, what each is multiplied by, flat.
        matrix: for whitened features, (width, directions): every token is multiplied by it. Zeros: no whitening.
    """

    mean: Tensor
    scales: tuple[Tensor, ...]
    matrix: Tensor

    def scaled(self, centred: Tensor) -> Iterator[Tensor]:
        """Centred features (..., features) in each of `SCALINGS`, one after the other."""
        for scale in self.scales:
            yield centred * scale
        matrix = self.matrix.to(centred.dtype)
        yield (centred.reshape(*centred.shape[:-1], -1, len(matrix)) @ matrix).flatten(-2)


def reference(
    mean: np.ndarray, variance: np.ndarray, device: torch.device, matrix: np.ndarray | None = None
) -> Reference:
    """From the moments of the pairs' own images. Features that do not vary count for nothing.

    Args:
        mean, variance: (width,), or (tokens, width).
        device: where the features are.
        matrix: whitens features of this width; None where whitening cannot be had.
    """
    centre, spread = mean.reshape(-1), variance.reshape(-1)
    scales = []
    for scaling in level_shares.SCALINGS:
        try:
            weights = level_shares.weights_of(spread, spread + centre**2, scaling)
        except ProbeError:
            weights = np.zeros_like(spread)  # a constant representation, such as [CLS] at the embedding: no share
        scales.append(torch.from_numpy(np.sqrt(weights)).float().to(device))
    white = np.zeros((mean.shape[-1], 1)) if matrix is None else matrix
    return Reference(
        torch.from_numpy(centre).float().to(device), tuple(scales), torch.from_numpy(white).float().to(device)
    )


class PairTerms(Recorder):
    """`covariance`, `variance`: float32 (rows, layers, poolings + token, scalings, H), levels 1..H.

    Summary: `correction`, float64 (2, layers, poolings, scalings, H), to be subtracted from covariance and variance.

    Args:
        references: (layer, pooling) -> `Reference`; the pooling "token" is all tokens, each at its position.
    """

    name = "pairs"
    version = 3
    whole = True

    def __init__(
        self, prepared: PreparedModel, source: Source, references: Mapping[tuple[int, str], Reference]
    ) -> None:
        super().__init__(prepared, source)
        self.references = references
        self.poolings = (*prepared.poolings, "token")
        self._layers: list[Tensor] = []
        self.begin()

    def begin(self) -> None:
        self._sums: dict[tuple[int, str], Tensor] = {}

    @property
    def facts(self) -> dict[str, Any]:
        return {"poolings": self.poolings, "scalings": SCALINGS}

    def layer(self, index: int, tokens: Tensor, attention: Tensor | None, batch: Batch) -> None:
        found = []
        for name in self.poolings:
            pooled = tokens if name == "token" else self.prepared.model.pool(tokens, name)
            around = self.references[index, name]
            centred = pooled.reshape(self.source.per_row, len(batch.indices), -1) - around.mean
            total = centred.sum(dim=1, dtype=torch.float64)
            sums = self._sums.setdefault((index, name), torch.zeros_like(total))
            sums += total
            found.append(torch.stack([terms(scaled) for scaled in around.scaled(centred)], dim=1))
        self._layers.append(torch.stack(found))

    def rows(self, batch: Batch) -> Rows:
        stacked = torch.stack(self._layers)  # (layers, poolings, 2, scalings, H, rows)
        self._layers.clear()
        covariance, variance = stacked.permute(2, 5, 0, 1, 3, 4).cpu().numpy()
        return {"covariance": np.ascontiguousarray(covariance), "variance": np.ascontiguousarray(variance)}

    def summary(self) -> dict[str, np.ndarray]:
        layers = []
        for index in range(self.prepared.layers):
            found = []
            for name in self.poolings:
                means = self._sums[index, name] / self.source.rows
                scaled = self.references[index, name].scaled(means[:, None])
                found.append(torch.stack([terms(one)[..., 0] for one in scaled], dim=1))
            layers.append(torch.stack(found))
        return {"correction": torch.stack(layers).permute(2, 0, 1, 3, 4).cpu().numpy()}


def terms(blocks: Tensor) -> Tensor:
    """Covariance and variance terms of each row: (2, H, rows), from centred, scaled features (1 + H, rows,
    features).
    """
    height = len(blocks) - 1
    several = max(1, AT_ONCE // max(1, len(blocks) * blocks.shape[2]))
    parts = blocks.split(several, dim=1)  # products copy their factors
    products = torch.cat([torch.einsum("grf,hrf->ghr", part, part) for part in parts], dim=2)
    covariance = torch.stack([products[:h, h].mean(dim=0) for h in range(1, height + 1)])
    squares = torch.stack([products[block, block] for block in range(height + 1)])
    variance = torch.stack([(squares[:h].mean(dim=0) + squares[h]) / 2 for h in range(1, height + 1)])
    return torch.stack([covariance, variance])


def shared(store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Covariance and variance terms of a store of pairs, corrected: float64 (rows, layers, poolings, scalings, H)."""
    correction = store.summary()["correction"]
    covariance, variance = (np.asarray(store[name][:], dtype=np.float64) for name in ("covariance", "variance"))
    return covariance - correction[0], variance - correction[1]
