"""SSIM against scikit-image, PSNR and MSE against their formulas, masked variants against loops."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from probekit.errors import ProbeError
from probekit.measures import images as measure

RNG = np.random.default_rng(0)


def pair(n: int = 3, height: int = 24, width: int = 33) -> tuple[np.ndarray, np.ndarray]:
    originals = RNG.random((n, 3, height, width))
    return originals, np.clip(originals + 0.2 * RNG.standard_normal(originals.shape), 0, 1)


def reference(a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray]:
    return structural_similarity(
        a.transpose(1, 2, 0), b.transpose(1, 2, 0), data_range=1, channel_axis=-1, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True,
    )  # fmt: skip


@pytest.mark.parametrize("size", [(24, 33), (11, 11), (32, 12)])
def test_ssim_is_scikit_images(size: tuple[int, int]) -> None:
    a, b = pair(3, *size)
    scores, maps = measure.ssim(a, b), measure.SsimReference(a).map(b)
    for i in range(3):
        score, full = reference(a[i], b[i])
        assert scores[i] == pytest.approx(score, abs=1e-12)
        np.testing.assert_allclose(maps[i], full.mean(axis=-1), atol=1e-12)


def test_one_reference_serves_many_and_float32_comes_close() -> None:
    a, b = pair()
    kept = measure.SsimReference(a)
    np.testing.assert_array_equal(kept.score(b), measure.ssim(a, b))
    np.testing.assert_allclose(kept.score(a), 1.0, atol=1e-12)
    np.testing.assert_allclose(measure.ssim(a.astype("f"), b.astype("f")), kept.score(b), atol=1e-6)


def test_psnr_and_mse_are_scikit_images() -> None:
    a, b = pair()
    for i, value in enumerate(measure.psnr(a, b)):
        assert value == pytest.approx(peak_signal_noise_ratio(a[i], b[i], data_range=1), abs=1e-9)
    np.testing.assert_allclose(measure.mse(a, b), ((a - b) ** 2).mean(axis=(1, 2, 3)))


def test_psnr_is_capped_per_image() -> None:
    a, _ = pair()
    nearly = a.copy()
    nearly[0] += 1e-9
    np.testing.assert_array_equal(measure.psnr(a, nearly), measure.PSNR_CAP)


def test_masked_metrics_look_at_hidden_pixels_only() -> None:
    a, b = pair()
    hidden = RNG.random((3, 24, 33)) < 0.4
    errors, _ = measure.masked_mse(a, b, hidden), None
    for i in range(3):
        assert errors[i] == pytest.approx(((a[i] - b[i]) ** 2)[:, hidden[i]].mean())
    np.testing.assert_allclose(measure.masked_psnr(a, b, hidden), -10 * np.log10(errors))
    elsewhere = np.where(hidden[:, None], b, 0.0)
    np.testing.assert_allclose(measure.masked_mse(a, elsewhere, hidden), errors)
    pasted = measure.paste(a, b, hidden)
    maps = measure.SsimReference(a).map(pasted)
    expected = [maps[i][hidden[i]].mean() for i in range(3)]
    np.testing.assert_allclose(measure.SsimReference(a).masked(pasted, hidden), expected)


def test_nothing_hidden_is_nan_and_all_hidden_is_the_whole() -> None:
    a, b = pair()
    hidden = np.zeros((3, 24, 33), dtype=bool)
    hidden[1] = True
    values = measure.masked_mse(a, b, hidden)
    assert np.isnan(values[[0, 2]]).all()
    assert values[1] == pytest.approx(measure.mse(a, b)[1])
    assert np.isnan(measure.masked_psnr(a, b, hidden)[0])


def test_batches_do_not_matter() -> None:
    a, b = pair(5)
    one = np.concatenate([measure.ssim(a[i : i + 1], b[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(measure.ssim(a, b), one, rtol=1e-12)


def test_errors_say_what_came() -> None:
    a, b = pair(2, 10, 30)
    with pytest.raises(ProbeError, match=r"at least 11 x 11 pixels.*10 x 30"):
        measure.ssim(a, b)
    with pytest.raises(ProbeError, match="they must be equal"):
        measure.mse(a, b[:1])
    with pytest.raises(ProbeError, match="one flag per pixel"):
        measure.masked_mse(a, b, np.zeros((2, 5, 30), dtype=bool))
    with pytest.raises(ProbeError, match="expected \\(n, 3, height, width\\)"):
        measure.mse(a.transpose(0, 2, 3, 1), b.transpose(0, 2, 3, 1))
