"""Retrieval and calibration: against scikit-learn, and answers that are known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from probekit.errors import ProbeError
from probekit.measures import retrieval


def test_average_precision_equals_scikit_learns(monkeypatch) -> None:
    monkeypatch.setattr(retrieval, "CHUNK", 7)
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(40, 5)), rng.integers(4, size=40)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    found = retrieval.average_precision(features, labels)
    for query in range(40):
        others = np.arange(40) != query
        expected = average_precision_score(labels[others] == labels[query], unit[others] @ unit[query])
        assert found[query] == pytest.approx(expected, abs=1e-12)


def test_perfect_retrieval_and_a_lone_class() -> None:
    features = np.repeat(np.eye(3), 4, axis=0)[:9]
    found = retrieval.average_precision(features, np.array([0] * 4 + [1] * 4 + [2]))
    assert found[:8].tolist() == [1.0] * 8
    assert np.isnan(found[8])
    with pytest.raises(ProbeError, match="one label an image"):
        retrieval.average_precision(features, np.zeros(3))


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    assert retrieval.calibration_error(confidence, [1, 1, 1, 0]) == pytest.approx(0.5 * 0.05 + 0.5 * 0.05)
    assert retrieval.calibration_error(np.ones(5), np.zeros(5)) == 1.0
    rng = np.random.default_rng(1)
    sure = rng.random(100_000)
    assert retrieval.calibration_error(sure, rng.random(100_000) < sure) < 0.01
    with pytest.raises(ProbeError, match="from 0 to 1"):
        retrieval.calibration_error([1.5], [1])
