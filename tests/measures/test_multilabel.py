"""The sigmoid head against scikit-learn, average precision, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from probekit.errors import ProbeError
from probekit.measures import multilabel, resample


def data(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)) * np.arange(1, 7)
    return x, np.stack([x[:, 0] + 0.3 * rng.normal(size=n) > 0.5, x[:, 1] > 1, rng.random(n) > 0.9], axis=1)


def test_the_head_is_scikit_learns_for_each_label() -> None:
    (x, y), (vx, vy) = data(300, 0), data(200, 1)
    head = multilabel.sigmoid_head(x, y, vx, vy, strengths=[0.1])
    standard = head.standardise(x)
    for label in range(3):
        peer = LogisticRegression(C=0.1, tol=1e-8, max_iter=500).fit(standard, y[:, label])
        np.testing.assert_allclose(head.weights[:, label], peer.coef_[0], atol=2e-3)
        np.testing.assert_allclose(head.bias[label], peer.intercept_[0], atol=2e-3)


def test_the_penalty_is_the_best_on_validation_images() -> None:
    (x, y), (vx, vy) = data(60, 0), data(200, 1)
    strengths = (1e-4, 1e-2, 1.0)
    found = multilabel.sigmoid_head(x, y, vx, vy, strengths=strengths)
    each = [multilabel.sigmoid_head(x, y, vx, vy, strengths=[one]) for one in strengths]
    scores = [multilabel.mean_average_precision(vy, one.logits(vx)) for one in each]
    assert multilabel.mean_average_precision(vy, found.logits(vx)) == pytest.approx(max(scores), abs=0.01)


def test_average_precision_leaves_out_labels_that_no_image_has() -> None:
    _, y = data(100, 0)
    y = np.concatenate([y, np.zeros((100, 1), bool)], axis=1)
    scores = np.random.default_rng(0).normal(size=y.shape)
    found = multilabel.average_precision(y, scores)
    assert np.isnan(found[3])
    expected = [average_precision_score(y[:, k], scores[:, k]) for k in range(3)]
    assert multilabel.mean_average_precision(y, scores) == pytest.approx(np.mean(expected))
    assert np.isnan(multilabel.mean_average_precision(y[:, 3:], scores[:, 3:]))


def test_the_interval_is_of_the_same_labels_whichever_block_is_left_out() -> None:
    """A label of one image would come and go: with it, the interval would be several times as wide."""
    x, y = data(200, 2)
    scores = np.stack([x[:, 0], x[:, 1], np.random.default_rng(0).normal(size=200)], axis=1)
    blocks = resample.blocks(200, count=20)
    plain = multilabel.jackknife_interval(y, scores, blocks)
    kept = [blocks.of_image != block for block in range(20)]
    left = [multilabel.mean_average_precision(y[rows], scores[rows]) for rows in kept]
    np.testing.assert_allclose(plain, resample.jackknife_ends(np.asarray(plain.mean()), np.array(left)))
    rare = np.zeros((200, 1), dtype=bool)
    rare[7] = True
    found = multilabel.jackknife_interval(
        np.concatenate([y, rare], 1), np.concatenate([scores, rare.astype(float)], 1), blocks
    )
    np.testing.assert_allclose(np.ptp(found), np.ptp(plain))
    assert found.mean() == pytest.approx((3 * plain.mean() + 1) / 4)
    assert np.isnan(multilabel.jackknife_interval(rare, rare.astype(float), blocks)).all()


def test_bad_input_is_named() -> None:
    x, y = data(30, 0)
    with pytest.raises(ProbeError, match="True or False"):
        multilabel.sigmoid_head(x, y * 2, x, y)
    with pytest.raises(ProbeError, match="No validation image has any label"):
        multilabel.sigmoid_head(x, y, x, y & False)
