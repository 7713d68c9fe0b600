"""Ridge and R² against scikit-learn, kernel ridge against its dual formula, known answers, constant targets."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from probekit.errors import ProbeError
from probekit.measures import regress, resample

RNG = np.random.default_rng(0)


def r2(targets: np.ndarray, predicted: np.ndarray) -> float:
    return 1 - float(resample.ratio(*regress.r2_terms(targets, predicted)))


def data(n: int = 200, dims: int = 8, targets: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    mixing = np.random.default_rng(7).standard_normal((dims, targets))
    features = rng.standard_normal((n, dims)) * np.logspace(-1, 2, dims) + 3
    signal = (features - 3) / np.logspace(-1, 2, dims) @ mixing
    return features, signal + rng.standard_normal((n, targets)) * [0.01, 0.3, 1, 3, 10] + 2


@pytest.mark.parametrize("penalty", [1e-5, 0.1, 10.0])
def test_ridge_is_scikit_learns(penalty: float) -> None:
    (x, y), (vx, vy) = data(), data(100)
    found = regress.ridge(x, y, vx, vy, penalties=[penalty])
    standardise = regress.Standardiser.of(x)
    peer = Ridge(alpha=penalty * len(x)).fit(standardise(x), y)
    np.testing.assert_allclose(found.predict(vx), peer.predict(standardise(vx)), rtol=1e-8)


def test_each_target_gets_the_penalty_that_is_best_on_validation_images() -> None:
    (x, y), (vx, vy) = data(60), data(100)
    found = regress.ridge(x, y, vx, vy)
    for target in range(5):
        errors = [
            (
                (regress.ridge(x, y[:, target], vx, vy[:, target], penalties=[p]).predict(vx)[:, 0] - vy[:, target])
                ** 2
            ).sum()
            for p in regress.PENALTIES
        ]
        assert found.penalty[target] == regress.PENALTIES[int(np.argmin(errors))]
    assert found.penalty[4] > found.penalty[0]


def test_more_dims_than_images() -> None:
    x = RNG.standard_normal((20, 50))
    y = x[:, :2].copy()
    found = regress.ridge(x, y, x, y, penalties=[1e-9])
    np.testing.assert_allclose(found.predict(x), y, atol=1e-5)


def test_r2_is_scikit_learns() -> None:
    y = RNG.standard_normal((50, 3)) * [1, 5, 0.1]
    p = y + RNG.standard_normal((50, 3)) * 0.5
    assert r2(y, p) == pytest.approx(r2_score(y, p, multioutput="variance_weighted"))
    for target in range(3):
        assert r2(y[:, target], p[:, target]) == pytest.approx(r2_score(y[:, target], p[:, target]))


def test_small_scale_is_no_constant_and_a_constant_has_no_r2() -> None:
    y = RNG.standard_normal((50, 2)) * [1e-8, 1]
    y[:, 1] = 1e3
    assert r2(y[:, 0], y[:, 0]) == 1
    assert np.isnan(r2(y[:, 1], y[:, 1] + 1))
    assert np.isnan(resample.ratio_influence(*regress.r2_terms(y[:, 1], y[:, 1]))).all()


def test_kernel_ridge_with_every_landmark_is_the_dual_formula() -> None:
    (x, y), (vx, vy) = data(80), data(40)
    penalty = 1e-3
    found = regress.kernel_ridge(x, y, vx, vy, landmarks=80, scales=[1.0], penalties=[penalty])
    standardise = regress.Standardiser.of(x)
    a, b = standardise(x), standardise(vx)
    width = np.median([np.linalg.norm(a[i] - a[j]) for i in range(80) for j in range(i)])
    assert found.width[0] == pytest.approx(width)

    def kernel(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return np.exp(-((p[:, None] - q[None]) ** 2).sum(axis=-1) / (2 * width**2))

    centring = np.eye(80) - 1 / 80
    inner = centring @ kernel(a, a) @ centring
    dual = np.linalg.solve(inner + 80 * penalty * np.eye(80), y - y.mean(axis=0))
    cross = (kernel(b, a) - kernel(a, a).mean(axis=0)) @ centring
    np.testing.assert_allclose(found.predict(vx), cross @ dual + y.mean(axis=0), rtol=1e-4)


def test_kernel_reads_what_no_line_can() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1500, 2))
    y = (x**2).sum(axis=1)
    parts = [(x[s], y[s]) for s in (slice(900), slice(900, 1200), slice(1200, 1500))]
    (tx, ty), (vx, vy), (ex, ey) = parts
    line, curve = regress.ridge(tx, ty, vx, vy), regress.kernel_ridge(tx, ty, vx, vy, landmarks=200)
    assert r2(ey, line.predict(ex)[:, 0]) < 0.05
    assert r2(ey, curve.predict(ex)[:, 0]) > 0.97


def test_known_answers_perfect_and_shuffled() -> None:
    latents = RNG.standard_normal((900, 4))
    features = latents @ RNG.standard_normal((4, 4))
    for fit in (regress.ridge, regress.kernel_ridge):
        good = fit(features[:300], latents[:300], features[300:600], latents[300:600])
        assert r2(latents[600:], good.predict(features[600:])) > 0.98
        mixed = RNG.permutation(latents)
        none = fit(features[:300], mixed[:300], features[300:600], mixed[300:600])
        assert abs(r2(mixed[600:], none.predict(features[600:]))) < 0.05


def test_bad_input_is_named() -> None:
    x, y = data()
    with pytest.raises(ProbeError, match=r"expected \(200, targets\)"):
        regress.ridge(x, y[:5], x, y)
    with pytest.raises(ProbeError, match="Targets hold NaN"):
        regress.ridge(x, np.full_like(y, np.nan), x, y)
    for fit in (regress.ridge, regress.kernel_ridge):
        with pytest.raises(ProbeError, match="above 0"):
            fit(x, y, x, y, penalties=[0.0])
        with pytest.raises(ProbeError, match="8 dims, validation features 3"):
            fit(x, y, x[:, :3], y)
        with pytest.raises(ProbeError, match="NaN or infinity, first in row 0"):
            fit(x, y, x, y).predict(x * np.nan)
    with pytest.raises(ProbeError, match="Features are constant"):
        regress.kernel_ridge(np.ones_like(x), y, x, y)
    with pytest.raises(ProbeError, match="must be equal"):
        regress.r2_terms(y, y[:, :1])
