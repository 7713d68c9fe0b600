"""What a measurement will cost, before it is made: images and forwards by pass."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import xarray as xr

from probekit import probes
from probekit.collect import Measurements, PreparedModel, Splits
from probekit.collect.needs import Planned
from probekit.collect.prepared import Source


def needs(measurements: Measurements, chosen: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """All measurements that these probes need, including those that depend on options.

    Args:
        measurements: of a checkpoint on an image set; nothing is measured.
        chosen: probe -> its settings.
    """
    found = [need for name, settings in chosen.items() for need in probes.find(name).measured(settings)]
    return [need for need in found if need != "masked_pixels" or measurements.model.has_decoder]


def seconds_per_forward(prepared: PreparedModel, sets: Splits) -> float:
    """How long one image takes, decoding included, from one batch of an image set after another to warm up."""
    source = Source(sets.any, prepared.batch_size())
    elapsed = math.nan
    for _ in range(2):
        before = time.perf_counter()
        with torch.inference_mode(), prepared.autocast():
            for batch in source.batches(prepared, 0, source.rows):
                for layer in prepared.model.trace(batch.images):
                    last = layer.tokens
                float(last.sum())  # waits for the device
        elapsed = time.perf_counter() - before
    return elapsed / source.rows


def table(
    found: Sequence[tuple[str, str, float, Sequence[Planned]]],
) -> xr.Dataset:
    """Costs of checkpoints on image sets as a dataset with one row a pass.

    Args:
        found: (checkpoint, data, seconds per forward, its passes).

    Returns:
        `images`, `forwards` (in all), `missing_forwards` (not in the cache), `bytes` (of features and tokens, in the
        cache afterwards) and `seconds` (an estimate for the missing forwards), dim `pass`. The coordinates
        `checkpoint`, `data` and `stage` run along it.
    """
    rows = [(name, data, each, one) for name, data, each, planned in found for one in planned]
    forwards = [one.images * one.per_image for *_, one in rows]
    missing = [one.missing for *_, one in rows]
    numbers = {
        "images": ([one.images for *_, one in rows], "Images", "images"),
        "forwards": (forwards, "Forwards in all", "forwards"),
        "missing_forwards": (missing, "Forwards that are not in the cache", "forwards"),
        "bytes": ([one.bytes for *_, one in rows], "Features and tokens in the cache", "bytes"),
        "seconds": ([each * one.missing for *_, each, one in rows], "Estimated time, from one batch", "s"),
    }
    labels = {"checkpoint": 0, "data": 1}
    return xr.Dataset(
        {
            name: ("pass", values, {"long_name": title, "units": unit})
            for name, (values, title, unit) in numbers.items()
        },
        coords={name: ("pass", [row[place] for row in rows]) for name, place in labels.items()}
        | {"stage": ("pass", [one.title for *_, one in rows])},
    )


def line(planned: Sequence[Planned]) -> str:
    """The remaining forwards by kind of pass (the title up to its colon), and the bytes they store."""
    kinds: dict[str, int] = {}
    for one in planned:
        kind = one.title.partition(":")[0]
        kinds[kind] = kinds.get(kind, 0) + one.missing
    each = ", ".join(f"{kind} {count:,}" for kind, count in kinds.items() if count)
    size = sum(one.bytes for one in planned if one.missing) / 1e9
    stored = f", {size:,.1f} GB of features and tokens" if size > 0.05 else ""
    return f"{sum(kinds.values()):,} forwards ({each}){stored}"
