"""Terms of the level spectrum, pair by pair: an image and its partners go through the encoder in the same batch.

So nothing but a covariance and a variance per pair, layer, pooling, scaling and level is ever kept, even for tokens,
whose features would fill a disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from probekit.collect.frame import Batch, Frame, Source
from probekit.collect.recorders import Recorder, Rows
from probekit.measures import levels

SCALINGS = ("raw", "standardised")


class PairTerms(Recorder):
    """`covariance`, `variance`: float64 (rows, layers, poolings + token, scalings, H), levels 1..H.

    Args:
        moments: per layer, of the tokens of the rows' own images; see `recorders.Moments`.
        pooled: mean and variance of the pooled features, each (layers, poolings, width).
    """

    name = "pairs"

    def __init__(self, frame: Frame, source: Source, references: dict[tuple[int, str], Any]) -> None:
        super().__init__(frame, source)
        self.references = references
        self.poolings = (*frame.poolings, "token")
        self._layers: list[np.ndarray] = []

    @property
    def facts(self) -> dict[str, Any]:
        return {"poolings": self.poolings, "scalings": SCALINGS}

    def layer(self, index: int, tokens: Tensor, attention: Tensor | None, batch: Batch) -> None:
        found = []
        for name in self.poolings:
            pooled = tokens if name == "token" else self.frame.model.pool(tokens, name)
            blocks = np.split(pooled.cpu().numpy(), self.source.per_row)
            reference = self.references[index, name]
            found.append([_terms(blocks[0], partner, reference) for partner in blocks[1:]])
        self._layers.append(np.array(found))  # (poolings, H, scalings, 2, rows)

    def rows(self, batch: Batch) -> Rows:
        stacked = np.stack(self._layers)  # (layers, poolings, H, scalings, 2, rows)
        self._layers.clear()
        terms = np.ascontiguousarray(stacked.transpose(5, 0, 1, 3, 2, 4))
        return {"covariance": terms[..., 0], "variance": terms[..., 1]}


def _terms(base: np.ndarray, partner: np.ndarray, reference: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    accumulator = levels.LevelAccumulator(reference)
    accumulator.update(base, partner)
    return [accumulator.terms(scaling) for scaling in SCALINGS]
