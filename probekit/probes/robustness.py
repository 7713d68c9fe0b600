"""How much of a linear head's accuracy survives on shifted test images, without training on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.probes.intervals import OVER_SHIFTED, mean_with_interval
from probekit.probes.linear_head import HEAD, head_logits, own_classes
from probekit.schema import Variable

VARIABLES = (
    Variable(
        "robust_accuracy", ("pooling", "shift"), "Accuracy under shift", "1", "higher",
        HEAD + "; a shifted set with fewer classes is scored by argmax over its own", "Kong et al. 2023, Table 1",
        version=4, interval=OVER_SHIFTED,
    ),
)  # fmt: skip
NEEDS = ("features:train", "features:val", "features:test", "shifts")
REQUIRES = ("splits", "classes", "shifts")
OPTIONS: dict[str, list[str]] = {"shifts": []}


def run(measurements: Measurements, *, shifts: list[str]) -> dict[str, xr.DataArray]:
    specs = measurements.shifts  # `shifts` are among them
    most = max(len(measurements.shifted(spec, pooling)) for spec in specs for pooling in measurements.poolings[:1])
    correct = np.full((len(measurements.poolings), len(specs), most), np.nan, dtype=np.float32)
    for j, pooling in enumerate(measurements.poolings):
        features = [measurements.shifted(spec, pooling) for spec in specs]
        found = head_logits(measurements, pooling, np.concatenate(features))
        edges = np.cumsum([len(part) for part in features])[:-1]
        for s, logits in enumerate(np.split(found, edges)):
            correct[j, s, : len(logits)] = hits(measurements, specs[s], logits)
    values, interval = mean_with_interval(measurements, correct, shifted=True)
    coords = {"pooling": list(measurements.poolings), "shift": titles(specs)}
    out = VARIABLES[0].arrays(values, interval, coords=coords, per_image=correct)
    out["robust_accuracy"].attrs["images_of"] = "the shifted sets"
    return out


def titles(specs: Sequence[str]) -> list[str]:
    """The specs without their options where that still tells them apart."""
    short = [spec.partition("?")[0] for spec in specs]
    return [spec if short.count(name) > 1 else name for name, spec in zip(short, specs, strict=True)]


def hits(measurements: Measurements, spec: str, logits: np.ndarray) -> np.ndarray:
    """Which images of a shifted set are classified rightly."""
    shifted = measurements.shifted_images(spec)
    scores = own_classes(measurements, shifted, logits)
    return np.asarray(scores.argmax(axis=1) == shifted.known_labels[: len(logits)])
