"""Features whose answers are known: latents themselves, the noise of one level, constants, shuffled ones."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from tiny_measured import COUNTS, SPEC, tiny

from probekit import probes
from probekit.collect import Measurements, PassSettings, PreparedModel, Splits
from probekit.collect.partners import Reference, reference, terms
from probekit.measures import level_shares
from probekit.measures.whitening import fit_whitening
from probekit.probes import level_spectrum

MANY = replace(COUNTS, train=300, val=100, test=200)


class Given(Measurements):
    """Measurements whose features are what a function of (image set, rows) says, whatever the layer and pooling."""

    def __init__(self, sets: Splits, features, tmp_path) -> None:
        super().__init__(PreparedModel(tiny(), PassSettings()), sets, tmp_path)
        self.features = features

    @property
    def layers(self) -> list[int]:
        return [0]

    @property
    def poolings(self) -> tuple[str, ...]:
        return ("mean",)

    def pooled(self, split: str, layer: int, pooling: str) -> np.ndarray:
        return self.features(self.sets[split])[: self.sets.size(split)].astype(np.float32)

    streamed = pooled

    def local(self, split: str, layer: int, node: int) -> np.ndarray:
        return self.pooled(split, layer, "mean")


@pytest.fixture(scope="module")
def sets() -> Splits:
    return Splits(SPEC, MANY)


def flat(images, level: int, kind: str = "latents") -> np.ndarray:
    values = getattr(images, kind)[level]
    return values.reshape(len(values), -1)


def test_features_that_are_the_latents_give_r2_of_one(sets, tmp_path) -> None:
    m = Given(sets, lambda images: flat(images, 2), tmp_path)
    found = probes.find("latent_recovery").run(m, landmarks=64, nonlinear_layers="last")["latent_r2"]
    exact = found.sel(readout="global", regressor="linear", layer=0)
    assert float(exact.sel(target="latent", level=2)) > 0.999
    assert float(exact.sel(target="noise", level=1)) < 0.1  # what is below these latents is not in them


def test_features_that_know_nothing_give_chance(sets, tmp_path) -> None:
    rng = np.random.default_rng(0)
    noise = {split: rng.normal(size=(400, 8)) for split in ("train", "val", "test")}
    m = Given(sets, lambda images: noise[images.split], tmp_path)
    arrays = probes.find("latent_recovery").run(m, landmarks=64, nonlinear_layers="none")
    assert float(np.abs(arrays["latent_r2"].sel(regressor="linear")).max()) < 0.15
    linear = probes.find("linear_probe").run(m, preset="lbfgs-sweep")
    lower, upper = linear["linear_accuracy_ci"].values[0, 0]
    assert lower < 1 / 3 < upper + 0.05
    assert np.isnan(linear["linear_accuracy_top5"]).all()  # three classes


def test_features_that_are_the_label_are_read_perfectly(sets, tmp_path) -> None:
    m = Given(sets, lambda images: np.eye(3)[images.labels], tmp_path)
    assert (probes.find("linear_probe").run(m, preset="lbfgs-sweep")["linear_accuracy"] == 1).all()
    assert (probes.find("knn").run(m, ks=[5], temperature=0.07)["knn_accuracy"] == 1).all()


def test_accuracies_are_recomputed_from_stored_predictions(sets, tmp_path) -> None:
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score

    rng = np.random.default_rng(0)
    m = Given(sets, lambda images: np.eye(3)[images.labels] + rng.normal(size=(len(images), 3)), tmp_path)
    found = probes.find("linear_probe").run(m, preset="lbfgs-sweep")
    labels, predicted = m.labels("test"), found["linear_prediction"].values[0, 0]
    assert float(found["linear_accuracy"][0, 0]) == pytest.approx(accuracy_score(labels, predicted))
    assert float(found["balanced_accuracy"][0, 0]) == pytest.approx(balanced_accuracy_score(labels, predicted))
    np.testing.assert_allclose(found["class_recall"][0, 0], recall_score(labels, predicted, average=None))
    low, high = np.moveaxis(found["class_recall_ci"].values[0, 0], -1, 0)
    assert ((low <= found["class_recall"][0, 0]) & (found["class_recall"][0, 0] <= high)).all()
    most = np.bincount(m.labels("train")).argmax()
    assert float(found["majority_accuracy"]) == pytest.approx(np.mean(labels == most))


def test_a_measure_that_fails_leaves_the_others(sets, tmp_path, monkeypatch) -> None:
    from probekit.errors import ProbeError
    from probekit.measures import label_free

    def broken(*args):
        raise ProbeError("two images are alike")

    m = Given(sets, lambda images: flat(images, 2), tmp_path)
    monkeypatch.setattr(m, "views", lambda layer, pooling: np.zeros((5, 2, 3)))
    monkeypatch.setattr(label_free, "jackknife_lidar", broken)
    monkeypatch.setattr("probekit.probes.label_free.amplitudes", lambda measurements: {})
    found = probes.find("label_free").run(m)
    assert np.isfinite(found["rankme"]).all()
    assert np.isnan(found["lidar"]).all()
    assert "two images are alike" in m.lacking["lidar"]
    assert found["rankme"].attrs["long_name"] == "RankMe at 200 images"
    assert np.isnan(found["rankme_at_n"]).all()
    assert "200 images are too few for subsets of 256 images" in m.lacking["rankme_at_n"]


def test_spectra_of_subsets_do_not_depend_on_how_many_images_there_are(tmp_path, monkeypatch) -> None:
    from probekit.measures import label_free

    monkeypatch.setattr("probekit.probes.label_free.amplitudes", lambda measurements: {})
    rng, found = np.random.default_rng(0), []
    features, views = rng.normal(size=(200, 40)).astype(np.float32), rng.normal(size=(50, 4, 40))
    for images in (60, 200):
        m = Given(Splits(SPEC, replace(MANY, test=images)), lambda images: features, tmp_path / str(images))
        monkeypatch.setattr(m, "views", lambda layer, pooling: features[:50, None] + views)
        monkeypatch.setattr(m, "rows", lambda name: 50)
        monkeypatch.setattr(m.sets, "counts", replace(m.counts, views=4))
        found.append(probes.find("label_free").run(m, at_images=60, at_objects=20, at_views=3))
    first, second = found
    assert first["rankme_at_n"].item() == pytest.approx(label_free.rankme(features[:60]))
    assert first["rankme_at_n"].attrs["long_name"] == "RankMe of subsets of 60 images"
    low, high = first["rankme_at_n_ci"].values[0, 0]
    assert low < second["rankme_at_n"].item() < high < second["rankme"].item()
    assert first["lidar_at_n"].attrs["long_name"] == "LiDAR of subsets of 20 images x 3 views"
    assert np.isfinite(first["lidar_at_n_ci"]).all()


def test_features_that_never_vary_have_no_embedding_and_say_why(sets, tmp_path) -> None:
    m = Given(sets, lambda images: np.ones((len(images), 6)), tmp_path)
    found = probes.find("embedding").run(m, images=50, perplexity=30.0)
    assert np.isnan(found["embedding_xy"]).all()
    assert np.isnan(found["silhouette"]).all()
    assert "same features" in m.lacking["embedding_xy"]
    assert "same features" in m.lacking["silhouette"]


def test_one_test_image_has_numbers_without_intervals(tmp_path) -> None:
    one = Splits(SPEC, replace(COUNTS, test=1))
    m = Given(one, lambda images: np.eye(3)[images.labels], tmp_path)
    found = probes.find("linear_probe").run(m, preset="lbfgs-sweep")
    assert (found["linear_accuracy"] == 1).all()
    assert np.isnan(found["linear_accuracy_ci"]).all()
    assert "one test image" in m.lacking["intervals"]
    assert "3 classes" in m.lacking["linear_accuracy_top5"]


def test_what_makes_an_accuracy_mean_less_is_said(tmp_path) -> None:
    sets = Splits(SPEC, COUNTS)
    noise = Given(sets, lambda images: np.random.default_rng(len(images)).normal(size=(len(images), 4)), tmp_path)
    probes.find("linear_probe").run(noise, preset="lbfgs-sweep")
    assert "no interval lies above" in noise.lacking["margin over the most frequent class"]
    one = Given(sets, lambda images: np.ones((len(images), 4)), tmp_path)
    probes.find("linear_probe").run(one, preset="lbfgs-sweep")
    assert any("gives every image the same features" in text for text in one.lacking.values())
    known = Given(sets, lambda images: 1e18 * np.eye(3)[images.labels], tmp_path)
    probes.find("linear_probe").run(known, preset="lbfgs-sweep")
    assert any("features of the last layer reach 1.0e+18" in text for text in known.lacking.values())
    assert "margin over the most frequent class" not in known.lacking
    few = Given(Splits(SPEC, replace(COUNTS, test=6)), lambda images: np.eye(3)[images.labels], tmp_path)
    probes.find("linear_probe").run(few, preset="lbfgs-sweep")
    assert "have fewer than 5 test images" in few.lacking["tiny classes"]


@pytest.mark.parametrize(
    ("name", "of", "options"),
    [("knn", "k-NN", {"ks": [5], "temperature": 0.07}), ("low_shot", "low-shot", {"per_class": [2], "draws": 2})],
)
def test_it_is_said_of_every_accuracy(tmp_path, name: str, of: str, options: dict) -> None:
    sets, key = Splits(SPEC, COUNTS), f"{of}, margin over the most frequent class"
    noise = Given(sets, lambda images: np.random.default_rng(len(images)).normal(size=(len(images), 4)), tmp_path)
    probes.find(name).run(noise, **options)
    assert "no interval lies above" in noise.lacking[key]
    known = Given(sets, lambda images: 1e18 * np.eye(3)[images.labels], tmp_path)
    probes.find(name).run(known, **options)
    assert any("features of the last layer reach 1.0e+18" in text for text in known.lacking.values())
    assert key not in known.lacking


def test_k_beyond_the_training_images_is_their_number(tmp_path) -> None:
    few = Splits(SPEC, replace(COUNTS, train=12))
    m = Given(few, lambda images: np.eye(3)[images.labels] + 0.1, tmp_path)
    found = probes.find("knn").run(m, ks=[10, 20, 100], temperature=0.07)["knn_accuracy"]
    assert found.k.values.tolist() == [10, 12]


def spectrum_of(features, sets: Splits, scaling: int = 0) -> np.ndarray:
    """Level shares 0..H of features (a function of an image set), by the terms that the pass stores."""
    pairs = sets.pairs(0)
    blocks = np.stack([features(one)[: pairs.rows] for one in (pairs.image_set, *pairs.partners)]).astype(np.float64)
    base = blocks[0]
    matrix = fit_whitening(base).matrix if scaling == 2 else None
    around: Reference = reference(base.mean(axis=0), base.var(axis=0), torch.device("cpu"), matrix)
    scaled = list(around.scaled(torch.from_numpy(blocks) - around.mean))[scaling].double()
    correction = terms(scaled.mean(dim=1, keepdim=True))
    covariance, variance = (terms(scaled) - correction).numpy()
    return level_shares.spectrum(covariance.sum(axis=1) / variance.sum(axis=1))


@pytest.mark.parametrize("level", [1, 2])
def test_the_noise_of_one_level_gives_one_step_at_that_level(level) -> None:
    sets = Splits(SPEC, replace(MANY, pairs=200))
    shares = spectrum_of(lambda images: flat(images, level, "noise"), sets)
    expected = np.zeros(4)
    expected[level] = 1
    np.testing.assert_allclose(shares, expected, atol=0.06)


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("scaling", [0, 1, 2])
def test_latents_of_a_level_have_nothing_below_it(level, scaling) -> None:
    sets = Splits(SPEC, replace(MANY, pairs=200))
    shares = spectrum_of(lambda images: flat(images, level)[:, :24], sets, scaling)  # few enough to whiten
    np.testing.assert_allclose(shares[:level], 0, atol=1e-5)
    assert shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("seed", [0, 1])
def test_whitened_shares_are_the_same_for_every_invertible_linear_map(seed) -> None:
    sets = Splits(SPEC, replace(MANY, pairs=200))
    rng = np.random.default_rng(seed)
    maps = np.eye(12), rng.normal(size=(12, 12)) * np.logspace(-2, 2, 12)

    def features(images, mixing: np.ndarray) -> np.ndarray:
        return flat(images, 1)[:, :12] @ mixing + 3

    white, raw = ([spectrum_of(partial(features, mixing=m), sets, scaling) for m in maps] for scaling in (2, 0))
    np.testing.assert_allclose(*white, atol=0.03)  # the shrinkage differs between maps, a little
    assert np.abs(raw[0] - raw[1]).max() > 0.02


def test_a_loud_dimension_rules_raw_shares_and_no_whitened_ones() -> None:
    sets = Splits(SPEC, replace(MANY, pairs=200))

    def features(images) -> np.ndarray:
        return np.concatenate([100 * flat(images, 3)[:, :1], flat(images, 1, "noise")[:, :9]], axis=1)

    assert spectrum_of(features, sets, 0)[3] > 0.99
    np.testing.assert_allclose(spectrum_of(features, sets, 2)[[1, 3]], [0.9, 0.1], atol=0.06)


def test_one_partner_alone_gives_the_share_of_the_direct_formula() -> None:
    """With a single height there is a single pair, and the stored terms must give Sobol's index as defined."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(300, 6)) * np.arange(1, 7) + 5
    partner = 0.6 * base + rng.normal(size=(300, 6)) + 2
    around = reference(base.mean(axis=0), base.var(axis=0), torch.device("cpu"))
    scaled = (torch.from_numpy(np.stack([base, partner])) - around.mean) * around.scales[0]
    covariance, variance = (terms(scaled) - terms(scaled.mean(dim=1, keepdim=True))).sum(dim=2)
    assert float(covariance / variance) == pytest.approx(level_shares.level_share(base, partner), rel=1e-6)


def test_constant_features_have_no_share_rather_than_a_wrong_one() -> None:
    from probekit.probes.level_spectrum import spectra

    share, share_ci, mean, mean_ci, _ = spectra(np.zeros((20, 1, 1, 1, 3)), np.zeros((20, 1, 1, 1, 3)), seed=0)
    assert np.isnan(share).all()
    assert np.isnan(mean).all()
    assert np.isnan(share_ci).all()
    assert np.isnan(mean_ci).all()


def test_simple_features_have_a_level_and_mean_colour_is_no_position() -> None:
    images = np.random.default_rng(0).normal(size=(20, 3, 9, 10))
    weights = level_spectrum.projections(3 * 9 * 10)
    np.testing.assert_allclose(level_spectrum.baseline("mean_colour", images, weights), images.mean(axis=(2, 3)))
    assert level_spectrum.baseline("pooled_pixels", images, weights).shape == (20, 48)
    even = np.ones((2, 3, 8, 8)) * np.array([0.2, 0.7])[:, None, None, None]
    np.testing.assert_allclose(level_spectrum.baseline("pooled_pixels", even, weights)[1], 0.7)
    random = level_spectrum.baseline("random_features", images, weights)
    np.testing.assert_array_equal(weights, level_spectrum.projections(3 * 9 * 10))
    assert (random >= 0).all()
    assert random.any(axis=0).mean() > 0.9
