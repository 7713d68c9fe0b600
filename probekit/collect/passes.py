"""The one pass: each batch is encoded once, layer by layer, however many recorders read it.

Recorders may want different numbers of images, and after a kill they may stand at different places: `schedule` says
which rows are computed, and each recorder takes those that it lacks. All stored rows are verified at the end, before a
probe reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from probekit import progress
from probekit.collect.freed import give_back, give_back_after
from probekit.collect.prepared import Batch, PreparedModel, Source
from probekit.collect.schedule import Recording, fill, groups, stretches
from probekit.errors import ProbeError, StorageError

ATTENTION = 1 << 22
"""Attention probabilities of one layer that exist at a time on a processor: 16 MB in float32. A ViT-B/16 at 224 px then
goes in parts of 9 images, which costs no time and spares the memory that a whole batch's attention would take."""


ATTEMPTS = 3
"""How often measurements that turn out to be damaged are taken again before the disk is called unreliable."""


def run(prepared: PreparedModel, source: Source, recordings: Sequence[Recording], stage: str) -> int:
    """Complete all recordings; returns the number of rows that went through the encoder here.

    Raises:
        ProbeError: features that are not finite (which layer).
        StorageError: a store that cannot be written, or that is damaged each time it is written.
    """
    computed = 0
    for _ in range(ATTEMPTS):
        if not all(recording.store.complete for recording in recordings):
            for recording in recordings:
                recording.recorder.begin()
            computed += complete(prepared, source, recordings, stage)
        if all([recording.store.prove() for recording in recordings]):
            return computed
    raise StorageError(
        f"Measurements in {recordings[0].store.folder.parent} were damaged or deleted {ATTEMPTS} times while they were "
        "being taken. Another program may be deleting files there, or the disk may be faulty: point PROBEKIT_CACHE at "
        "another folder."
    )


def complete(prepared: PreparedModel, source: Source, recordings: Sequence[Recording], stage: str) -> int:
    """One pass over what is missing; returns the number of rows computed."""
    size = prepared.batch_size(source.per_row)
    missing = sum(last - first for group in groups(recordings) for first, last in stretches(recordings, *group, size))
    most = max((shape.patches + prepared.model.num_prefix_tokens) * shape.width for shape in prepared.shapes)
    on_processor = prepared.device.type == "cpu"  # elsewhere tokens lie in another memory
    training = prepared.model.training
    prepared.model.eval()
    give_back()
    try:
        with (
            progress.bar(stage, missing * source.per_row, "forwards") as advance,
            torch.inference_mode(),
            prepared.autocast(),
        ):

            def compute(start: int, stop: int) -> None:
                for batch in source.batches(prepared, start, stop):
                    forward(prepared, batch, recordings)
                    advance(len(batch.images))
                    if on_processor:  # the images, and their tokens in one layer
                        give_back_after(batch.images.nbytes + 4 * most * len(batch.images))

            return fill(recordings, size, compute)
    finally:
        prepared.model.train(training)


def forward(prepared: PreparedModel, batch: Batch, recordings: Sequence[Recording]) -> None:
    """One batch through the encoder and into the stores; a few images at a time where attention is looked at.

    Whether it is looked at depends on all recorders of these rows, also those that have them: so a pass that goes on
    after a kill rounds as one that was not killed.
    """
    end = int(batch.indices[-1]) + 1
    attention = any(recording.recorder.wants_attention for recording in recordings if recording.store.rows >= end)
    for part in parts(prepared, batch) if attention else [batch]:
        first, stop = int(part.indices[0]), int(part.indices[-1]) + 1
        active = [recording for recording in recordings if recording.lacks(first, stop)]
        if active:
            encode(prepared, part, active, attention)


def parts(prepared: PreparedModel, batch: Batch) -> Iterator[Batch]:
    """On a processor, the batch in parts whose attention, one layer's, keeps within `ATTENTION` (at least one row)."""
    rows = len(batch.indices)
    tokens = max(shape.patches for shape in prepared.shapes) + prepared.model.num_prefix_tokens
    if prepared.device.type != "cpu" or len(batch.images) != rows:  # partners and views belong together
        yield batch
        return
    step = max(1, ATTENTION // (max(1, prepared.model.num_heads) * tokens**2))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        yield Batch(
            batch.indices[part], batch.images[part], hidden=None if batch.hidden is None else batch.hidden[part]
        )


def encode(prepared: PreparedModel, batch: Batch, recordings: Sequence[Recording], attention: bool) -> None:
    """Images through the encoder and into the stores."""
    model = prepared.model
    recorders = [recording.recorder for recording in recordings]
    sums: list[Tensor] = []
    seen = (batch.images,) if batch.hidden is None else (batch.images, batch.hidden)
    for layer in model.trace(*seen, attention=attention):
        tokens = layer.tokens.float()
        sums.append(tokens.sum())
        with torch.autocast(prepared.device.type, enabled=False):  # what is measured of half-precision tokens is exact
            for recorder in recorders:
                recorder.layer(layer.index, tokens, layer.attention, batch)
        if layer.index == model.depth:
            batch.tokens = layer.tokens
    check_finite(prepared, torch.stack(sums), batch)
    first = int(batch.indices[0])
    for recording in recordings:
        recording.store.append(recording.recorder.rows(batch), recording.recorder.summary, first)


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
