"""Patch tokens of some layers, kept whole: for heads that look at patches. Bounded, since they are large.

A ViT-B/16 has 196 x 768 tokens an image: 2,000 images take 600 MB in float16. What would take more than `LIMIT` is not
kept, and who needs it computes it again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from probekit.collect.prepared import Batch, PreparedModel, Source
from probekit.collect.recorders import Recorder, Rows

LIMIT = 4 * 2**30
"""Bytes of tokens that one split may take on disk."""


def chosen(prepared: PreparedModel) -> tuple[int, ...]:
    """The layers whose tokens are kept: the requested ones, or the last."""
    asked = prepared.settings.layers or (-1,)
    return tuple(sorted({layer % prepared.layers for layer in asked}))


def kept(prepared: PreparedModel, rows: int) -> bool:
    """Whether the tokens of this many images are kept."""
    shapes = [prepared.shapes[layer] for layer in chosen(prepared)]
    return rows * sum(2 * shape.patches * shape.width for shape in shapes) <= LIMIT


class Tokens(Recorder):
    """`tokens_N`: float16 (rows, patches, width) of each chosen layer N; `seen` alone where they are not kept."""

    name = "tokens"

    def __init__(self, prepared: PreparedModel, source: Source) -> None:
        super().__init__(prepared, source)
        self.kept = kept(prepared, source.rows)
        self._rows: Rows = {}

    @property
    def facts(self) -> dict[str, Any]:
        return {"layers": chosen(self.prepared), "kept": self.kept}

    @property
    def row_bytes(self) -> int:
        shapes = [self.prepared.shapes[layer] for layer in chosen(self.prepared)]
        return sum(2 * shape.patches * shape.width for shape in shapes) if self.kept else 1

    def layer(self, index: int, tokens: Tensor, attention: Tensor | None, batch: Batch) -> None:
        if self.kept and index in chosen(self.prepared):
            patches = tokens[:, self.prepared.model.num_prefix_tokens :]
            self._rows[f"tokens_{index}"] = patches.to(torch.float16).cpu().numpy()

    def rows(self, batch: Batch) -> Rows:
        found, self._rows = self._rows, {}
        return found or {"seen": np.ones(len(batch.indices), dtype=np.uint8)}
