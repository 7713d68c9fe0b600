"""The accuracy of a colour histogram stands beside accuracies on photographs, and only there."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_measured import tiny

import probekit
from probekit import data
from probekit.data.baselines import colour_accuracy

COUNTS = {"train": 120, "val": 40, "test": 60}


def test_beside_an_accuracy_on_photographs() -> None:
    ds = probekit.evaluate(tiny(), "knn", "photos", counts=COUNTS)
    expected = colour_accuracy(data.load("photos", "train", count=120), data.load("photos", count=60))
    assert float(ds.colour_accuracy.squeeze()) == pytest.approx(expected)
    lower, upper = ds.colour_accuracy_ci.values.ravel()
    assert lower < expected < upper
    assert ds.colour_accuracy.attrs["better"] == "none"
    assert np.isfinite(ds.knn_accuracy).all()
    assert "colour_accuracy" not in probekit.evaluate(tiny(), "attention_distance", "photos", counts=COUNTS)
    assert "colour_accuracy" not in probekit.evaluate(tiny(), "knn", "shapes", counts=COUNTS)
