"""The level ladder: known answers, an independent implementation, and intervals by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from probekit.errors import ProbeError
from probekit.measures import resample
from probekit.measures.ladder import RUNGS, SCALINGS, ladder
from probekit.measures.whitening import fit_whitening, shrunk_eigenvalues

CLASSES = np.arange(400) % 10
SUPER = (CLASSES >= 4).astype(int)
RNG = np.random.default_rng(0)


def same(features: np.ndarray) -> np.ndarray:
    """Features that depend on the image alone, as four equal views."""
    return np.repeat(np.asarray(features, dtype=float)[:, None], 4, axis=1)


def views(n: int = 400, seed: int = 0, dims: int = 6) -> np.ndarray:
    """Features in which every rung has variance."""
    rng = np.random.default_rng(seed)
    classes, superclasses = np.arange(n) % 10, (np.arange(n) % 10 >= 4).astype(int)
    fixed = np.random.default_rng(99)
    out = 0.5 * fixed.normal(size=(2, dims))[superclasses] + 0.7 * fixed.normal(size=(10, dims))[classes]
    out = same(out + rng.normal(size=(n, dims)))
    out[:, :3] += 0.8 * rng.normal(size=(n, 1, dims))
    out[:, 3] += 0.8 * rng.normal(size=(n, dims))
    out[:, :2] += 0.6 * rng.normal(size=(n, 1, dims))
    out[:, 2:] += 0.6 * rng.normal(size=(n, 2, dims))
    return out + 0.5 * rng.normal(size=out.shape)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_known_answers(scaling: str) -> None:
    noise = ladder(RNG.normal(size=(400, 4, 8)), CLASSES, SUPER, scaling=scaling)
    assert noise.share[0] == pytest.approx(1, abs=0.08)  # chance: 1 / sqrt(400 x 8) = 0.02
    assert noise.level == pytest.approx(0, abs=0.25)
    identity = ladder(same(RNG.normal(size=(400, 8))), CLASSES, SUPER, scaling=scaling)
    assert identity.share[RUNGS.index("image")] == pytest.approx(1, abs=0.05)
    one_hot = ladder(same(np.eye(10)[CLASSES]), CLASSES, scaling=scaling)
    assert one_hot.share[RUNGS.index("class")] == pytest.approx(1)
    assert one_hot.level == pytest.approx(4)
    both = ladder(same(np.eye(10)[CLASSES]), CLASSES, SUPER, scaling=scaling)
    assert RUNGS[int(np.argmax(both.share))] == "class"
    assert both.share[5] == pytest.approx(-1 / 9, abs=0.05)  # finitely many classes: the docstring says why
    superclass = ladder(same(np.eye(2)[SUPER]), CLASSES, SUPER, scaling=scaling)
    assert superclass.level == pytest.approx(5)


def test_rungs_without_labels_are_missing_and_shares_sum_to_one() -> None:
    for labels in ((), (CLASSES,), (CLASSES, SUPER)):
        found = ladder(views(), *labels)
        assert np.isfinite(found.share).tolist() == [True] * (4 + len(labels)) + [False] * (2 - len(labels))
        assert np.nansum(found.share) == pytest.approx(1)
        assert found.level == pytest.approx(np.nansum(found.share * np.arange(6)))
        np.testing.assert_allclose(found.share_images.mean(axis=1), found.share, atol=1e-12)
        assert found.level_images.mean() == pytest.approx(found.level)


def test_equals_the_definition_over_explicit_pairs() -> None:
    features = views(120)
    classes, superclasses = CLASSES[:120], SUPER[:120]
    found = ladder(features, classes, superclasses)
    base = features[:, 0] - features[:, 0].mean(axis=0)
    gram = base @ base.T
    off = ~np.eye(120, dtype=bool)
    independent = gram[off].mean()
    variance = np.trace(np.cov(base.T))
    expected = [np.trace(np.cov(base.T, features[:, v].T)[:6, 6:]) for v in (1, 2, 3)]
    divisors = [(variance + np.trace(np.cov(features[:, v].T))) / 2 for v in (1, 2, 3)]
    for same_group, same_member in ((classes, np.arange(120)), (superclasses, classes)):
        pairs = (same_group[:, None] == same_group) & (same_member[:, None] != same_member)
        expected.append(np.mean([gram[i][pairs[i]].mean() for i in range(120)]) - independent)
        divisors.append(variance)
    nested = np.array([1, *(np.array(expected) / divisors), 0])
    np.testing.assert_allclose(found.share, -np.diff(nested), atol=1e-12)


def test_whitened_is_the_same_for_every_invertible_linear_map() -> None:
    features = views(2000, dims=6)
    features[:, :, 0] = np.random.default_rng(4).normal(
        size=(2000, 4)
    )  # one dimension of noise, which the map enlarges
    mixed = features @ np.random.default_rng(3).normal(size=(6, 6)) * np.array([1, 1, 1, 1, 1, 1e-2]) + 5
    mixed += features[:, :, :1] * 1e2
    classes = np.arange(2000) % 10
    first, second = (ladder(x, classes, scaling="whitened") for x in (features, mixed))
    np.testing.assert_allclose(first.share, second.share, atol=0.02)
    assert ladder(mixed, classes).level < 0.1 < ladder(features, classes).level


def test_order_of_images_does_not_matter() -> None:
    shuffled = RNG.permutation(400)
    for scaling in SCALINGS:
        first = ladder(views(), CLASSES, SUPER, scaling=scaling)
        second = ladder(views()[shuffled], CLASSES[shuffled], SUPER[shuffled], scaling=scaling)
        np.testing.assert_allclose(first.share, second.share, atol=1e-10)
        np.testing.assert_allclose(first.level_images[shuffled], second.level_images, atol=1e-8)


def test_small_classes_are_unbiased() -> None:
    classes = np.arange(400) // 2  # two images a class, features that know nothing of it
    found = [ladder(same(np.random.default_rng(i).normal(size=(400, 3))), classes).share[4] for i in range(40)]
    assert np.mean(found) == pytest.approx(0, abs=3 * np.std(found) / np.sqrt(40) + 1e-3)


def test_images_without_a_partner_are_left_out_of_that_pair_alone() -> None:
    classes = CLASSES.copy()
    classes[:3] = [-1, 98, 99]
    found = ladder(views(), classes)
    assert np.isfinite(found.share[:5]).all()
    none = ladder(views(), np.arange(400))
    assert np.isnan(none.share[4])
    assert none.level == pytest.approx(ladder(views()).level)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_intervals_cover(scaling: str) -> None:
    truth = ladder(
        views(20000, seed=1), np.arange(20000) % 10, (np.arange(20000) % 10 >= 4).astype(int), scaling=scaling
    ).level
    hits = 0
    for seed in range(150):
        found = ladder(views(seed=100 + seed), CLASSES, SUPER, scaling=scaling)
        lower, upper = resample.mean_interval(found.level_images, draws=400)
        hits += lower <= truth <= upper
    assert 0.89 <= hits / 150 <= 0.99


def test_bad_input_is_named() -> None:
    with pytest.raises(ProbeError, match=r"expected \(images, 4, dims\)"):
        ladder(np.zeros((10, 3, 2)))
    with pytest.raises(ProbeError, match="constant"):
        ladder(np.ones((10, 4, 2)))
    with pytest.raises(ProbeError, match="Superclasses without classes"):
        ladder(views(), None, SUPER)
    with pytest.raises(ProbeError, match="Did you mean"):
        ladder(views(), scaling="whitend")
    with pytest.raises(ProbeError, match="at least 2 images per dimension"):
        ladder(RNG.normal(size=(30, 4, 20)), scaling="whitened")


def test_whitening_is_the_identity_covariance_and_drops_what_is_only_rounding() -> None:
    features = RNG.normal(size=(3000, 5)) @ RNG.normal(size=(5, 8))
    found = fit_whitening(features)
    assert found.matrix.shape == (8, 5)
    np.testing.assert_allclose(np.cov(found(features).T), np.eye(5), atol=0.02)
    assert found.shrinkage < 0.05


def test_shrinkage_brings_eigenvalues_nearer_to_the_truth() -> None:
    truth = np.repeat([1.0, 3.0, 10.0], [20, 40, 40])  # the example of Ledoit and Wolf, section 6
    errors = np.zeros(2)
    for seed in range(10):
        sample = np.random.default_rng(seed).normal(size=(300, 100)) * np.sqrt(truth)
        values, vectors = np.linalg.eigh(sample.T @ sample / 300)
        ideal = np.einsum("ij,i,ij->j", vectors, truth, vectors)  # the best eigenvalues for these eigenvectors
        errors += [np.square(found - ideal).mean() for found in (values, shrunk_eigenvalues(values, 300))]
    assert errors[1] < 0.1 * errors[0]
