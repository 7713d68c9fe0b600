"""How well a head that learns where to look tells the classes, on frozen patch tokens."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import xarray as xr

from probekit.collect import Measurements
from probekit.errors import ProbeError
from probekit.measures import attentive
from probekit.measures.descent import DECAY
from probekit.measures.selection import described
from probekit.probes.intervals import OVER_IMAGES, mean_with_interval, say_what_weakens
from probekit.probes.patch_tokens import Reader
from probekit.probes.pictures import enlarge, example_images, examples
from probekit.schema import Variable

VARIABLES = (
    Variable(
        "attentive_accuracy", ("layer", "head_kind"), "Attentive accuracy", "1", "higher",
        "frozen patch tokens divided by their root mean square over train; ep: learned queries on the tokens "
        "themselves, values split among queries, batch norm, linear (Efficient Probing); aim: one query, projected "
        "keys and values on tokens in batch norm; capi: one query, projected keys and values. Fitted on train by AdamW "
        f"({attentive.STEPS} batches of {attentive.BATCH} unless the option steps says otherwise, weight decay "
        f"{DECAY:g}, warm-up, cosine), learning rate of {attentive.RATES} chosen on val, accuracy on test. "
        "Tokens are kept in float16 where a split's take 4 GiB or less, else computed for each batch; with the option "
        "augment, train tokens are of random resized crops (area 0.2 to 1) and flips. Layers: those asked for, else "
        "the last",
        "Psomas et al. 2026 (Efficient Probing); El-Nouby et al. 2024 (AIM); Darcet et al. 2025 (CAPI)",
        interval=OVER_IMAGES,
    ),
)  # fmt: skip
NEEDS = ("tokens:train", "tokens:val", "tokens:test")
REQUIRES = ("splits", "classes")
CHOICES = {"heads": attentive.HEADS}
OPTIONS = {"heads": ["ep"], "queries": attentive.QUERIES, "steps": attentive.STEPS, "augment": False}

AT_ONCE = 2**23
"""Numbers of tokens whose squares are taken at a time."""


def run(
    measurements: Measurements, *, heads: list[str], queries: int, steps: int, augment: bool
) -> dict[str, xr.DataArray]:
    layers = measurements.token_layers
    labels = measurements.labels("test")
    classes = len(measurements.images("train").classes)
    correct = np.zeros((len(layers), len(heads), len(labels)), dtype=np.float32)
    rates, maps = [], None
    for i, layer in enumerate(layers):
        scale = root_mean_square(measurements, layer)
        read = {split: Reader(measurements, split, layer, scale) for split in ("train", "val", "test")}
        for j, kind in enumerate(heads):
            fitted = attentive.fit(
                kind, read["train"].drawn(augment), read["val"].all, width=measurements.widths[layer],
                classes=classes, queries=queries, steps=steps, seed=measurements.seed, device=measurements.device,
            )  # fmt: skip
            correct[i, j], found = applied(fitted.head, read["test"], labels, examples(measurements))
            maps = found if layer == layers[-1] and j == 0 else maps
            rates.append(fitted.rate)
    values, interval = mean_with_interval(measurements, correct)
    say_what_weakens(measurements, values, interval, "attentive")
    coords: dict[str, Any] = {"layer": layers, "head_kind": list(heads)}
    out = VARIABLES[0].arrays(values, interval, coords=coords, per_image=correct)
    out["attentive_accuracy"].attrs |= described(rates, attentive.RATES) | {
        "cached": int(read["train"].stored is not None)
    }
    return out | pictures(measurements, layers[-1], heads[0], maps)


def applied(
    head: attentive.AttentiveHead, test: Reader, labels: np.ndarray, kept: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which test images are classified rightly; and the attention of the first ones, mean over queries."""
    hits: list[np.ndarray] = []
    maps: list[np.ndarray] = []
    with torch.inference_mode():
        for batch, wanted in test.all():
            pooled, attention = head.pooled(batch)
            hits.append((head.linear(head.norm(pooled)).argmax(dim=1) == wanted).cpu().numpy())
            if sum(len(part) for part in maps) < kept:
                maps.append(attention.mean(dim=1).cpu().numpy())
            del batch  # the next one is not read beside it
    return np.concatenate(hits), np.concatenate(maps)[:kept]


def pictures(measurements: Measurements, layer: int, kind: str, maps: np.ndarray | None) -> dict[str, xr.DataArray]:
    """Where the head looks, on the images that are kept; nothing where the places of tokens are unknown."""
    if maps is None or not measurements.has_places(layer):
        return {}
    attrs = {"long_name": f"Attention of the {kind} head, layer {layer}, mean over queries", "units": "1"}
    picture = enlarge(maps, measurements, measurements.layer_grid(layer))
    dims = ("example", "row", "column")
    return {
        "example_image": example_images(measurements),
        "example_attention_probe": xr.DataArray(picture, dims=dims, attrs=attrs),
    }


def root_mean_square(measurements: Measurements, layer: int) -> float:
    """Of the tokens of the first train images: what all tokens are divided by."""
    read = Reader(measurements, "train", layer, 1.0)
    rows = np.sort(np.argsort(measurements.order(read.rows, "train"))[:256])
    numbers = math.prod(read.tokens(rows[:1]).shape)
    step = max(1, AT_ONCE // numbers)
    sums = (float(read.tokens(rows[at : at + step]).double().square_().sum()) for at in range(0, len(rows), step))
    square = sum(sums) / (len(rows) * numbers)
    if not np.isfinite(square) or square <= 0:
        raise ProbeError(f"Tokens of layer {layer} are constant at 0, or exceed the range of float16 (65,504).")
    return float(np.sqrt(square))
