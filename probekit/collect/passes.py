"""The one pass: each batch goes through the encoder once, layer by layer, whatever number of recorders look on.

Recorders may want different numbers of images, and after a kill they may stand at different places. The pass goes
through the rows in stretches between which the set of recorders at work changes, so no image is computed for a recorder
twice and none for nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from probekit import progress
from probekit.collect.prepared import Batch, PreparedModel, Source
from probekit.collect.recorders import Recorder
from probekit.collect.store import Store, alone
from probekit.errors import ProbeError

ATTENTION = 1 << 22
"""Attention probabilities of one layer that exist at a time on a processor: 16 MB in float32. A ViT-B/16 at 224 px then
goes in parts of 9 images, which costs no time and spares the memory that a whole batch's attention would take."""


@dataclass
class Recording:
    """A recorder, where its rows go, and how many of them there are."""

    recorder: Recorder
    store: Store


def stretches(takes: Sequence[Recording]) -> Iterator[tuple[int, int, list[Recording]]]:
    """(start, stop, takes at work) in order of rows, covering exactly what each take still lacks."""
    spans = [
        (0 if take.recorder.whole else take.store.done, take.store.rows, take)
        for take in takes
        if not take.store.complete
    ]
    cuts = sorted({place for start, stop, _ in spans for place in (start, stop)})
    for start, stop in pairwise(cuts):
        active = [take for first, last, take in spans if first <= start and stop <= last]
        if active:
            yield start, stop, active


def run(prepared: PreparedModel, source: Source, takes: Sequence[Recording], stage: str) -> int:
    """Bring all takes to completion; returns the number of rows that went through the encoder.

    Raises:
        ProbeError: features that are not finite (which layer), or a store that cannot be written.
    """
    with alone([take.store for take in takes]):
        todo = list(stretches(takes))
        total = sum(stop - start for start, stop, _ in todo)
        if not total:
            return 0
        training = prepared.model.training
        prepared.model.eval()
        try:
            with progress.bar(stage, total * source.per_row) as advance, torch.inference_mode(), prepared.autocast():
                for start, stop, active in todo:
                    for batch in source.batches(prepared, start, stop):
                        forward(prepared, batch, active)
                        advance(len(batch.images))
        finally:
            prepared.model.train(training)
        return total


def forward(prepared: PreparedModel, batch: Batch, takes: Sequence[Recording]) -> None:
    """One batch through the encoder and into the stores; a few images at a time where attention is looked at."""
    attention = any(take.recorder.wants_attention for take in takes)
    for part in parts(prepared, batch) if attention else [batch]:
        encode(prepared, part, takes, attention)


def parts(prepared: PreparedModel, batch: Batch) -> Iterator[Batch]:
    """On a processor, the batch in parts whose attention, one layer's, keeps within `ATTENTION` (at least one row)."""
    rows, tokens = len(batch.indices), prepared.grid[0] * prepared.grid[1] + prepared.model.num_prefix_tokens
    if prepared.device.type != "cpu" or len(batch.images) != rows:  # partners and views belong together
        yield batch
        return
    step = max(1, ATTENTION // (prepared.model.num_heads * tokens**2))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        yield Batch(batch.indices[part], batch.images[part])


def encode(prepared: PreparedModel, batch: Batch, takes: Sequence[Recording], attention: bool) -> None:
    """Images through the encoder and into the stores."""
    model = prepared.model
    recorders = [take.recorder for take in takes]
    sums: list[Tensor] = []
    for layer in model.trace(batch.images, attention=attention):
        tokens = layer.tokens.float()
        sums.append(tokens.sum())
        with torch.autocast(prepared.device.type, enabled=False):  # what is measured of half-precision tokens is exact
            for recorder in recorders:
                recorder.layer(layer.index, tokens, layer.attention, batch)
        if layer.index == model.depth:
            batch.tokens = layer.tokens
    check_finite(prepared, torch.stack(sums), batch)
    for take in takes:
        take.store.append(take.recorder.rows(batch), take.recorder.summary)


def check_finite(prepared: PreparedModel, sums: Tensor, batch: Batch) -> None:
    """Raise, naming the first layer whose features are not finite."""
    bad = (~torch.isfinite(sums)).nonzero()
    if len(bad):
        layer = int(bad[0])
        what = "the embedding" if layer == 0 else f"layer {layer} of {prepared.model.depth}"
        cause: Any = (
            "precision='float32' may help" if prepared.settings.precision != "float32" else "its weights may be damaged"
        )
        raise ProbeError(
            f"{prepared.checkpoint.name}: features of {what} are NaN or infinite (images {batch.indices[0]} to "
            f"{batch.indices[-1]}); {cause}: see the verdict of `probekit inspect`."
        )
