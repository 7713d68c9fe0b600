"""Linear probes against scikit-learn and hand-written steps, known answers, memory maps, and errors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from probekit.errors import ProbeError
from probekit.measures import classify, cross_entropy, linear, logistic, sgd

CLASSES = 4


def data(n: int = 400, dims: int = 12, seed: int = 0, classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """Blobs on badly scaled, correlated, shifted axes."""
    rng = np.random.default_rng(seed)
    fixed = np.random.default_rng(99)
    centres, mixing = fixed.standard_normal((classes, dims)), fixed.standard_normal((dims, dims))
    labels = rng.integers(classes, size=n)
    features = (0.8 * centres[labels] + rng.standard_normal((n, dims))) @ mixing * np.logspace(-2, 2, dims) + 7
    return features.astype(np.float32), labels


def objective(model: LogisticRegression, features: np.ndarray, labels: np.ndarray, strength: float) -> float:
    losses = -model.predict_log_proba(features)[np.arange(len(labels)), labels]
    return float(losses.mean() + (model.coef_**2).sum() / (2 * strength * len(labels)))


@pytest.mark.parametrize(("dims", "n"), [(12, 400), (60, 50)])
def test_every_penalty_reaches_scikit_learns_optimum(dims: int, n: int) -> None:
    features, labels = data(n, dims)
    path = logistic.fit_logistic(features, labels, classes=CLASSES, strengths=np.logspace(-4, 1, 6))
    assert path.converged.all()
    table = path.standardise(features)
    for strength, found in zip(path.settings, path.objective, strict=True):
        peer = LogisticRegression(C=strength, tol=1e-8, max_iter=20000).fit(table, labels)
        assert found == pytest.approx(objective(peer, table, labels, strength), rel=1e-4)


def test_two_classes_are_scikit_learns_at_twice_the_strength() -> None:
    """Two weight vectors that differ by w have half of |w|² between them, so their penalty on w is half as strong."""
    features, labels = data(300, 5, classes=2)
    path = logistic.fit_logistic(features, labels, classes=2, strengths=[0.01, 1.0], tolerance=1e-11)
    for which, strength in enumerate(path.settings):
        peer = LogisticRegression(C=2 * strength, tol=1e-8, max_iter=20000).fit(path.standardise(features), labels)
        np.testing.assert_allclose(np.diff(path.weights[which], axis=1)[:, 0], peer.coef_[0], rtol=2e-3, atol=2e-4)


def test_objective_is_that_of_the_returned_weights() -> None:
    features, labels = data()
    path = logistic.fit_logistic(features, labels, classes=CLASSES, strengths=[1.0, 0.01])
    for which, strength in enumerate(path.settings):
        scores = path.logits(features, which)
        own = scores[np.arange(len(labels)), labels]
        loss = (np.log(np.exp(scores - own[:, None]).sum(axis=1))).mean()
        penalty = (path.weights[which] ** 2).sum() / (2 * strength * len(labels))
        assert path.objective[which] == pytest.approx(loss + penalty, rel=1e-5)


def test_validation_images_choose_a_strength_that_is_solved_to_the_end() -> None:
    features, labels = data(300, 30)
    val = data(1000, 30, seed=1)
    path = logistic.fit_logistic(features, labels, classes=CLASSES, validation=val)
    exact = logistic.fit_logistic(features, labels, classes=CLASSES, strengths=path.settings)
    best = path.chosen
    assert best is not None
    assert path.converged[best]
    np.testing.assert_allclose(path.val_accuracy, path.accuracies(*val), atol=0.0011)
    assert path.val_accuracy[best] == path.val_accuracy.max()
    assert exact.converged.all()
    assert path.objective[best] == pytest.approx(exact.objective[best], rel=1e-5)
    np.testing.assert_allclose(path.objective, exact.objective, atol=5 * logistic.PATH_TOLERANCE * np.log(CLASSES))
    assert path.accuracies(*val).max() == pytest.approx(exact.accuracies(*val).max(), abs=0.005)
    assert path.iterations.sum() < exact.iterations.sum() / 2


def test_features_on_disk_and_in_memory_give_the_same(tmp_path: Path) -> None:
    features, labels = data(700, 10)
    file = np.memmap(tmp_path / "features", dtype=np.float32, mode="w+", shape=features.shape)
    file[:] = features
    kept = logistic.fit_logistic(features, labels, classes=CLASSES, strengths=[0.1])
    read = logistic.fit_logistic(file, labels, classes=CLASSES, strengths=[0.1], memory=0)
    np.testing.assert_array_equal(read.weights, kept.weights)


def test_no_penalty_is_given_up_before_it_is_tried() -> None:
    """The signal of trained features need not lie in their leading axes: strong penalties may all be at chance."""
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=900)
    features = rng.standard_normal((900, 30)) * np.logspace(0, -2, 30)
    features[:, -CLASSES:] += 0.03 * np.eye(CLASSES)[labels]
    (x, y), val = (features[:600].astype(np.float32), labels[:600]), (features[600:].astype(np.float32), labels[600:])
    path = logistic.fit_logistic(x, y, classes=CLASSES, validation=val)
    assert path.settings == logistic.STRENGTHS
    exact = logistic.fit_logistic(x, y, classes=CLASSES)
    assert path.val_accuracy.max() == pytest.approx(exact.accuracies(*val).max(), abs=0.011)


@pytest.mark.parametrize(
    ("loose", "tight", "chosen", "solved"),
    [
        ((0.5, 0.9, 0.9), (0.5, 0.9, 0.9), 1.0, {1.0}),  # of equals the strongest penalty
        ((0.5, 0.9, 0.9), (0.5, 0.8, 0.7), 1.0, {1.0, 2.0}),
        ((0.5, 0.9, 0.9), (0.5, 0.7, 0.8), 2.0, {1.0, 2.0}),
    ],
)
def test_the_next_strength_is_solved_if_the_end_made_the_first_worse(
    loose: tuple[float, ...], tight: tuple[float, ...], chosen: float, solved: set[float]
) -> None:
    names = (0.5, 1.0, 2.0)
    after = dict(zip(names, tight, strict=True))
    state = cross_entropy.State(*[torch.zeros(1)] * 4)
    found = {name: logistic.Solution(state._replace(loss=name), 1.0, 1, False) for name in names}
    seen = SimpleNamespace(n=100, accuracies=dict(zip(names, loose, strict=True)))
    seen.see = lambda strength, _: seen.accuracies.__setitem__(strength, after[strength])
    descent = SimpleNamespace(
        problem=SimpleNamespace(n=1), solve=lambda state, *_: logistic.Solution(state, 0.5, 2, True)
    )
    assert logistic.polish(descent, found, seen, 1e-6, 10) == chosen  # type: ignore[arg-type]  # stand-ins
    assert {name for name in names if found[name].converged} == solved
    assert {found[name].evaluations for name in solved} == {3}


def test_order_of_strengths_is_kept() -> None:
    features, labels = data(100, 5)
    path = logistic.fit_logistic(features, labels, classes=CLASSES, strengths=[1.0, 1e-3, 0.1])
    assert path.settings == (1.0, 1e-3, 0.1)
    alone = logistic.fit_logistic(features, labels, classes=CLASSES, strengths=[1e-3])
    assert path.objective[1] == pytest.approx(alone.objective[0], rel=1e-6)


def test_order_of_images_does_not_matter() -> None:
    features, labels = data()
    test, test_labels = data(1000, seed=1)
    shuffled = np.random.default_rng(5).permutation(len(labels))
    models = [
        logistic.fit_logistic(features[i], labels[i], classes=CLASSES) for i in (np.arange(len(labels)), shuffled)
    ]
    first, second = (m.correct(test, test_labels) for m in models)
    assert np.abs(first.sum(axis=1, dtype=int) - second.sum(axis=1, dtype=int)).max() <= 1  # of 1,000 images
    np.testing.assert_allclose(models[0].objective, models[1].objective, rtol=1e-5)


def test_raw_weights_fold_standardisation_in() -> None:
    features, labels = data()
    path = logistic.fit_logistic(features, labels, classes=CLASSES, strengths=[0.1])
    weights, bias = path.raw()
    np.testing.assert_allclose(features @ weights + bias, path.logits(features), atol=1e-6)


def test_known_answers_perfect_bayes_and_shuffled() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=3000)
    features = rng.standard_normal((3000, 1)) + 2 * labels[:, None]
    parts = [(features[i : i + 1000], labels[i : i + 1000]) for i in (0, 1000, 2000)]
    (x, y), (vx, vy), (tx, ty) = parts
    found = classify.linear_probe(x, y, vx, vy, tx, classes=2)
    bayes = ((tx[:, 0] > 1) == ty).mean()
    assert linear.topk_correct(found.logits, ty).mean() == pytest.approx(bayes, abs=0.01)
    one_hot = np.eye(2)[labels]
    perfect = classify.linear_probe(one_hot[:1000], y, one_hot[1000:2000], vy, one_hot[2000:], classes=2)
    assert linear.topk_correct(perfect.logits, ty).all()
    chance = classify.linear_probe(x, rng.permutation(y), vx, rng.permutation(vy), tx, classes=2)
    assert abs(linear.topk_correct(chance.logits, rng.permutation(ty)).mean() - 0.5) < 0.05


@pytest.mark.parametrize("preset", classify.PRESETS)
def test_presets_choose_on_validation_images(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sgd, "LARS_EPOCHS", 9)
    monkeypatch.setattr(sgd, "DINO_STEPS", 200)
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=800)
    features = (2 * np.eye(CLASSES, 6)[labels] + rng.standard_normal((800, 6))).astype(np.float32)
    (x, y), (vx, vy), (tx, ty) = ((features[s], labels[s]) for s in (slice(400), slice(400, 600), slice(600, 800)))
    found = classify.linear_probe(x, y, vx, vy, tx, classes=CLASSES, preset=preset, strengths=[1e-3, 0.1, 10.0])
    assert found.val_accuracy[found.chosen] == found.val_accuracy.max()
    assert len(found.model.settings) == len(found.val_accuracy)
    assert linear.topk_correct(found.logits, ty).mean() > 0.55
    np.testing.assert_allclose(found.logits, found.model.logits(tx, found.chosen))


def test_a_head_short_of_its_optimum_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = data(300, 30)
    fit = logistic.fit_logistic
    monkeypatch.setattr(classify, "fit_logistic", lambda *args, **more: fit(*args, **more, max_iterations=1))
    with pytest.warns(RuntimeWarning, match="short of its optimum"):
        classify.linear_probe(features, labels, features, labels, features, classes=CLASSES)


def test_stochastic_presets_repeat_with_their_seed() -> None:
    features, labels = data(100, 5)
    fits = [sgd.fit_mae_lars(features, labels, classes=CLASSES, epochs=1, seed=s).weights for s in (0, 0, 1)]
    np.testing.assert_array_equal(fits[0], fits[1])
    assert not np.array_equal(fits[0], fits[2])


def test_one_lars_step_is_the_hand_written_one() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, gradient, velocity = (torch.randn(4, 3, generator=generator) for _ in range(3))
    found, speed = sgd.lars_step(weight, gradient, velocity, 0.5)
    w, g, v = (x.double().numpy() for x in (weight, gradient, velocity))
    ratio = 0.001 * np.sqrt((w**2).sum()) / np.sqrt((g**2).sum())
    v = 0.9 * v + ratio * g
    np.testing.assert_allclose(speed.numpy(), v, rtol=1e-5)
    np.testing.assert_allclose(found.numpy(), w - 0.5 * v, rtol=1e-5)
    bias, slope = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 0.25])
    found, _ = sgd.lars_step(bias, slope, torch.zeros(2), 0.1)
    np.testing.assert_allclose(found.numpy(), [0.95, -2.025])
    still, _ = sgd.lars_step(torch.zeros(2, 2), torch.ones(2, 2), torch.zeros(2, 2), 0.1)
    np.testing.assert_allclose(still.numpy(), -0.1)


def test_slope_of_cross_entropy_is_autograds() -> None:
    logits = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    loss = sum(torch.nn.functional.cross_entropy(logits[:, i], labels) for i in range(3))
    loss.backward()  # type: ignore[union-attr]
    found = sgd.cross_entropy_slope(logits.detach(), labels)
    np.testing.assert_allclose(found.numpy(), logits.grad.numpy(), atol=1e-7)


@pytest.mark.parametrize("strengths", [logistic.STRENGTHS])
def test_awkward_features_reach_the_optimum_too(strengths: tuple[float, ...]) -> None:
    """Constant and repeated columns, a class without images, one with nearly all, half precision."""
    features, labels = data(150, 6)
    wide = np.concatenate([features, features, np.full((150, 1), 1e4), np.zeros((150, 1))], axis=1).astype(np.float16)
    skewed = np.where(np.arange(150) < 140, 0, labels)
    for given in (np.where(labels == 2, 1, labels), skewed):
        path = logistic.fit_logistic(wide, given, classes=CLASSES, strengths=strengths)
        assert path.converged.all()
        table = path.standardise(wide.astype(np.float64))
        for strength, found in zip(path.settings, path.objective, strict=True):
            peer = LogisticRegression(C=strength, tol=1e-9, max_iter=20000).fit(table, given)
            if len(peer.classes_) > 2:
                places = np.searchsorted(peer.classes_, given)
                assert found == pytest.approx(objective(peer, table, places, strength), rel=1e-4)


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.int64])
def test_features_of_any_kind_and_with_a_huge_mean(kind: type) -> None:
    features, labels = data(300, 8)
    features = np.round(10 * (features - features.mean(axis=0)) / features.std(axis=0)).astype(np.float64)
    moved = (features + (1e9 if kind is np.float64 else 0)).astype(kind)
    found, plain = (logistic.fit_logistic(x, labels, classes=CLASSES, strengths=[1.0]) for x in (moved, features))
    assert found.objective[0] == pytest.approx(plain.objective[0], rel=1e-5)


def test_topk_and_ties() -> None:
    logits = np.array([[3.0, 2, 1, 0], [0, 0, 0, 0], [1, 2, 3, 4]])
    labels = np.array([1, 1, 0])
    assert linear.topk_correct(logits, labels, 1).tolist() == [False, False, False]
    assert linear.topk_correct(logits, labels, 2).tolist() == [True, True, False]
    with pytest.raises(ProbeError, match="more than 5 classes"):
        linear.topk_correct(logits, labels, 5)


def test_coarse_classes_take_the_mean_and_shape_bias_counts_decisions() -> None:
    probabilities = np.array([[0.2, 0.4, 0.4], [0.1, 0.1, 0.8]])
    np.testing.assert_allclose(classify.coarse_probabilities(probabilities, [[0, 1], [2]]), [[0.3, 0.4], [0.1, 0.8]])
    with pytest.raises(ProbeError, match="Coarse class 1 has no fine class"):
        classify.coarse_probabilities(probabilities, [[0], []])
    predicted, shape, texture = np.array([0, 1, 2, 0, 1]), np.array([0, 0, 0, 0, 1]), np.array([1, 1, 1, 1, 1])
    bias = classify.shape_bias(predicted, shape, texture)
    assert bias.value == pytest.approx(2 / 3)
    assert bias.decided == pytest.approx(3 / 4)
    np.testing.assert_array_equal(bias.per_image, [1, 0, np.nan, 1, np.nan])
    with pytest.raises(ProbeError, match="no conflict"):
        classify.shape_bias(predicted, shape, shape)


def test_softmax_sums_to_one() -> None:
    found = classify.softmax(np.array([[1000.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_allclose(found, [[1, 0], [0.5, 0.5]])


def test_bad_input_is_named() -> None:
    features, labels = data()
    fit = logistic.fit_logistic
    broken = features.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ProbeError, match="first in row 3"):
        fit(broken, labels, classes=CLASSES)
    with pytest.raises(ProbeError, match="of one class"):
        fit(features, np.zeros_like(labels), classes=CLASSES)
    with pytest.raises(ProbeError, match="3 images for 4 classes"):
        fit(features[:3], labels[:3], classes=CLASSES)
    with pytest.raises(ProbeError, match="reach from"):
        fit(features, labels + 1, classes=CLASSES)
    with pytest.raises(ProbeError, match="above 0"):
        fit(features, labels, classes=CLASSES, strengths=[0.0])
    probe = classify.linear_probe
    with pytest.raises(ProbeError, match="first in row 3"):
        probe(features, labels, broken, labels, features, classes=CLASSES)
    with pytest.raises(ProbeError, match="first in row 3"):
        probe(features, labels, features, labels, broken, classes=CLASSES)
    with pytest.raises(ProbeError, match="12 dims, features 5: they must come from the same layer"):
        probe(features, labels, features[:, :5], labels, features, classes=CLASSES)
    with pytest.raises(ProbeError, match="reach from 9 to 12, expected 0 to 3"):
        probe(features, labels, features, labels + 9, features, classes=CLASSES)
    with pytest.raises(ProbeError, match="expected whole numbers"):
        probe(features, labels, features, labels + 0.5, features, classes=CLASSES)
    with pytest.raises(ProbeError, match="above 0"):
        fit(features, labels, classes=CLASSES, strengths=[np.nan, 1.0])
    with pytest.raises(ProbeError, match=r"labels of shape \(3,\) for 400 images"):
        probe(features, labels, features, labels[:3], features, classes=CLASSES)
    with pytest.raises(ProbeError, match="Scores hold NaN"):
        linear.topk_correct(np.full((2, 3), np.nan), np.array([0, 1]))
    with pytest.raises(ProbeError, match="Did you mean 'mae-lars-90'"):
        classify.linear_probe(features, labels, features, labels, features, classes=CLASSES, preset="mae-lars")


def test_balanced_contributions_are_scikit_learns_balanced_accuracy() -> None:
    from sklearn.metrics import balanced_accuracy_score

    from probekit.measures.classify import balanced_contributions

    rng = np.random.default_rng(0)
    labels = rng.choice([0, 0, 0, 0, 2, 5], size=200)
    predicted = np.where(rng.random(200) < 0.6, labels, 0)
    found = balanced_contributions((predicted == labels)[None].astype(float), labels)
    assert found.shape == (1, 200)
    assert found.mean() == pytest.approx(balanced_accuracy_score(labels, predicted), rel=1e-6)
