"""k-NN against a direct NumPy one, chunking, caps and errors."""

from __future__ import annotations

import numpy as np
import pytest

from probekit.errors import ProbeError
from probekit.measures import linear
from probekit.measures.knn import accuracy, knn

RNG = np.random.default_rng(0)
LABELS = RNG.integers(5, size=300)
TRAIN = (RNG.standard_normal((300, 6)) + np.eye(5, 6)[LABELS]).astype(np.float32)
TEST_LABELS = RNG.integers(5, size=90)
TEST = (RNG.standard_normal((90, 6)) + np.eye(5, 6)[TEST_LABELS]).astype(np.float32)


def direct(k: int, temperature: float = 0.07) -> np.ndarray:
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (TRAIN.astype(float), TEST.astype(float)))
    predicted = []
    for row in b @ a.T:
        votes = np.zeros(5)
        for i in np.argsort(-row)[:k]:
            votes[LABELS[i]] += np.exp(row[i] / temperature)
        predicted.append(votes.argmax())
    return np.array(predicted)


def test_every_k_is_the_direct_one() -> None:
    found = knn(TRAIN, LABELS, TEST, classes=5)
    assert found.ks == (10, 20, 100, 200)
    for predicted, k in zip(found.predicted, found.ks, strict=True):
        np.testing.assert_array_equal(predicted, direct(k))
    np.testing.assert_allclose(accuracy(found, TEST_LABELS)[0], (direct(10) == TEST_LABELS).mean())


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = knn(TRAIN, LABELS, TEST, classes=5, ks=[7, 280])
    monkeypatch.setattr(linear, "CHUNK_BYTES", 0)  # blocks of 256 training images
    np.testing.assert_array_equal(knn(TRAIN, LABELS, TEST, classes=5, ks=[7, 280], chunk=13).predicted, whole.predicted)


def test_k_is_capped_and_said() -> None:
    found = knn(TRAIN[:50], LABELS[:50], TEST, classes=5)
    assert found.ks == (10, 20, 50)
    assert found.predicted.shape == (3, 90)


def test_own_images_are_their_nearest() -> None:
    np.testing.assert_array_equal(knn(TRAIN, LABELS, TRAIN, classes=5, ks=[1]).predicted[0], LABELS)


def test_bad_input_is_named() -> None:
    with pytest.raises(ProbeError, match="same layer"):
        knn(TRAIN, LABELS, TEST[:, :3], classes=5)
    with pytest.raises(ProbeError, match="NaN"):
        knn(np.full_like(TRAIN, np.nan), LABELS, TEST, classes=5)
    with pytest.raises(ProbeError, match="above 0"):
        knn(TRAIN, LABELS, TEST, classes=5, ks=[0])
    with pytest.raises(ProbeError, match="temperature=0"):
        knn(TRAIN, LABELS, TEST, classes=5, temperature=0)
    with pytest.raises(ProbeError, match="of one class"):
        knn(TRAIN, np.zeros_like(LABELS), TEST, classes=5)
