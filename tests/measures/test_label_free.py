"""Label-free measures against their formulas, known spectra, and jackknives against leaving out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import silhouette_samples

from probekit.errors import ProbeError
from probekit.measures import label_free, resample

RNG = np.random.default_rng(0)
FEATURES = RNG.standard_normal((300, 40)) * np.arange(1, 41) ** -0.5 + 0.3


def test_rankme_is_its_formula() -> None:
    values = np.linalg.svd(FEATURES, compute_uv=False)
    shares = values / values.sum() + 1e-7
    assert label_free.rankme(FEATURES) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-9)
    wide = FEATURES[:10]
    values = np.linalg.svd(wide, compute_uv=False)
    shares = values / values.sum() + 1e-7
    assert label_free.rankme(wide) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-6)


def test_rankme_of_known_ranks() -> None:
    orthonormal = np.linalg.qr(RNG.standard_normal((50, 8)))[0]
    assert label_free.rankme(orthonormal) == pytest.approx(8, rel=1e-4)
    assert label_free.rankme(np.outer(np.arange(1, 9), np.ones(5))) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_alpha_req_finds_the_power(alpha: float) -> None:
    rotation = np.linalg.qr(RNG.standard_normal((60, 60)))[0]
    base = np.linalg.qr(RNG.standard_normal((400, 61)) - 0)[0]
    base = np.linalg.qr(np.concatenate([np.ones((400, 1)), base], axis=1))[0][:, 1:61]  # orthonormal, centred
    features = base * np.arange(1, 61) ** (-alpha / 2) @ rotation
    assert label_free.alpha_req(features) == pytest.approx(alpha, rel=1e-6)


def test_lidar_is_its_formula() -> None:
    views = RNG.standard_normal((30, 1, 6)) + 0.3 * RNG.standard_normal((30, 5, 6))
    means = views.mean(axis=1)
    within = sum((v - m).T @ (v - m) for v, m in zip(views, means, strict=True)) / (30 * 4) + 1e-4 * np.eye(6)
    values, vectors = np.linalg.eigh(within)
    root = vectors / np.sqrt(values) @ vectors.T
    eigen = np.linalg.eigvalsh(root @ np.cov(means.T) @ root)
    shares = eigen / eigen.sum() + 1e-7
    assert label_free.lidar(views) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def cka(a: np.ndarray, b: np.ndarray) -> float:
    return float(label_free.jackknife_cka_pairs([a, b], resample.blocks(len(a), count=2))[0][0, 1])


def test_linear_cka_is_its_formula() -> None:
    a, b = FEATURES, FEATURES[:, :7] ** 2 + RNG.standard_normal((300, 7))
    centring = np.eye(300) - 1 / 300
    k, m = centring @ a @ a.T @ centring, centring @ b @ b.T @ centring
    expected = (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())
    assert cka(a, b) == pytest.approx(expected)
    rotation = np.linalg.qr(RNG.standard_normal((40, 40)))[0]
    assert cka(a, 3 * a @ rotation + 5) == pytest.approx(1)


def test_jackknives_are_leaving_out_by_hand() -> None:
    blocks = resample.blocks(300, count=10, seed=1)
    other = FEATURES[:, :9] + RNG.standard_normal((300, 9))
    views = FEATURES[:, None, :6] + RNG.standard_normal((300, 3, 6))
    found = label_free.jackknife_spectrum(FEATURES, blocks)
    cases = [
        (found["rankme"], lambda keep: label_free.rankme(FEATURES[keep])),
        (found["alpha_req"], lambda keep: label_free.alpha_req(FEATURES[keep])),
        (
            tuple(part[0, 1] for part in label_free.jackknife_cka_pairs([FEATURES, other], blocks)),
            lambda keep: cka(FEATURES[keep], other[keep]),
        ),
        (label_free.jackknife_lidar(views, blocks), lambda keep: label_free.lidar(views[keep])),
    ]
    for (value, interval), statistic in cases:
        expected, ends = resample.jackknife(lambda kept, s=statistic: s(kept[blocks.of_image]), blocks.count)
        assert value == pytest.approx(expected, rel=1e-8)
        np.testing.assert_allclose(interval, ends, rtol=1e-6)
        assert interval[0] < value < interval[1]


def test_all_pairs_are_each_pair() -> None:
    blocks = resample.blocks(300, count=6)
    tables = [FEATURES[:, :5], FEATURES[:, 3:12] ** 2, RNG.standard_normal((300, 4))]
    values, intervals = label_free.jackknife_cka_pairs(tables, blocks)
    np.testing.assert_allclose(values.diagonal(), 1)
    for i, j in ((0, 1), (2, 0), (1, 2)):
        value, interval = label_free.jackknife_cka_pairs([tables[i], tables[j]], blocks)
        assert values[i, j] == pytest.approx(value[0, 1])
        np.testing.assert_allclose(intervals[i, j], interval[0, 1])


def test_too_few_dims_have_no_alpha_but_a_rank() -> None:
    found = label_free.jackknife_spectrum(FEATURES[:, :5], resample.blocks(300))
    assert np.isnan(found["alpha_req"][0])
    assert found["rankme"][0] == pytest.approx(label_free.rankme(FEATURES[:, :5]))
    with pytest.raises(ProbeError, match="these features have 5"):
        label_free.alpha_req(FEATURES[:, :5])


def test_fourier_tells_smooth_from_rough() -> None:
    rough = RNG.standard_normal((4, 8, 8, 3))
    down, across = np.mgrid[:8, :8]
    smooth = 5 + np.cos(2 * np.pi * (down + across) / 8)[None, :, :, None] * np.ones((4, 1, 1, 3))
    found = label_free.fourier_log_amplitude(smooth)
    assert found.shape == (4, 4)
    np.testing.assert_allclose(found[:, 0], 0)
    np.testing.assert_allclose(found[:, 1], np.log(32 / 320), rtol=1e-5)
    assert (found[:, 3] < -10).all()
    assert (label_free.fourier_log_amplitude(rough + 5)[:, 3] > -6).all()
    expected = np.log(np.abs(np.fft.fft2(rough[0, :, :, 1]))[2, 2] + 1e-6)
    one = rough[:1, :, :, 1:2]
    first = np.log(np.abs(one.sum()) + 1e-6)
    assert label_free.fourier_log_amplitude(one)[0, 2] == pytest.approx(expected - first)


def test_silhouette_of_far_and_mixed_classes() -> None:
    labels = np.repeat([0, 1], 50)
    far = squareform(pdist(RNG.standard_normal((100, 3)) + 100 * labels[:, None]))
    assert label_free.silhouette(far, labels).mean() > 0.95
    assert abs(label_free.silhouette(far, RNG.permutation(labels)).mean()) < 0.1
    with pytest.raises(ProbeError, match="in 1 classes"):
        label_free.silhouette(far, np.zeros(100))


def test_silhouette_is_scikit_learns_with_classes_of_one_image_and_equal_images() -> None:
    points = RNG.standard_normal((60, 4))
    points[10:20] = points[10]
    labels = np.concatenate([np.repeat([3, 5, 9], 19), [11, 12, 12]])
    labels[10:20] = 21
    found = label_free.silhouette(squareform(pdist(points)), labels)
    np.testing.assert_allclose(found, silhouette_samples(points, labels), atol=1e-12)
    assert found[57] == 0


def test_bad_input_is_named() -> None:
    with pytest.raises(ProbeError, match="NaN"):
        label_free.rankme(FEATURES * np.nan)
    with pytest.raises(ProbeError, match="All features are zero"):
        label_free.rankme(np.zeros((5, 3)))
    with pytest.raises(ProbeError, match="constant representation"):
        cka(FEATURES, np.ones((300, 2)))
    with pytest.raises(ProbeError, match="same ones"):
        cka(FEATURES, FEATURES[:10])
    with pytest.raises(ProbeError, match="two images and two views"):
        label_free.lidar(FEATURES[:, None])
    with pytest.raises(ProbeError, match="2 x 2 patches"):
        label_free.fourier_log_amplitude(FEATURES)
