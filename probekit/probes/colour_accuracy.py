"""Accuracy of a colour histogram alone, a baseline where colours nearly determine the classes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.data import ImageSet, baselines
from probekit.probes.intervals import OVER_TEST, mean_with_interval
from probekit.schema import Variable

VARIABLES = (
    Variable(
        "colour_accuracy", (), "Accuracy of a colour histogram", "1", "none",
        f"{baselines.K} nearest neighbours (option k) by RGB histogram ({baselines.BINS} bins a channel) by Hellinger "
        "distance, the train split of the image set against its test split; no checkpoint takes part in it",
        "a baseline for image sets whose colours nearly tell the classes", interval=OVER_TEST,
    ),
)  # fmt: skip
NEEDS = ("images:train", "images:test")
REQUIRES = ("splits", "classes", "colour_baseline")
OPTIONS = {"k": baselines.K}


@lru_cache(maxsize=4)
def _correct(train: ImageSet, test: ImageSet, k: int, counts: tuple[int, int]) -> np.ndarray:
    """Which test images are classified correctly: the same for every checkpoint."""
    return baselines.colour_correct(train, test, k=k, counts=counts)


def run(measurements: Measurements, *, k: int) -> dict[str, xr.DataArray]:
    train, test = measurements.images("train"), measurements.images("test")
    counts = (measurements.size("train"), measurements.size("test"))
    per_image = _correct(train, test, min(k, counts[0]), counts).astype(np.float32)
    values, interval = mean_with_interval(measurements, per_image)
    return VARIABLES[0].arrays(values, interval, per_image=per_image)
