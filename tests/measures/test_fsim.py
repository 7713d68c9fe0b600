"""FSIM against piq, whole; masked against its own definition with a full mask and by locality."""

from __future__ import annotations

import numpy as np
import piq
import pytest
import torch
from scipy import ndimage

from probekit.errors import ProbeError
from probekit.measures.fsim import FsimReference, fsim
from probekit.measures.images import paste


def pair(height: int, width: int, n: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(height)
    a = ndimage.gaussian_filter(rng.random((n, 3, height, width)), (0, 0, 1.5, 1.5))
    a = (a - a.min()) / (a.max() - a.min())
    noise = ndimage.gaussian_filter(rng.standard_normal(a.shape), (0, 0, 1, 1))
    return a, np.clip(a + 0.2 * noise, 0, 1)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 50), (390, 400)])
def test_fsim_is_piqs(size: tuple[int, int]) -> None:
    a, b = pair(*size)
    expected = piq.fsim(torch.from_numpy(b), torch.from_numpy(a), reduction="none", data_range=1.0, chromatic=True)
    np.testing.assert_allclose(fsim(a, b), expected.numpy(), rtol=2e-5)


def test_equal_images_score_one_and_flat_ones_are_finite() -> None:
    a, _ = pair(32, 32)
    np.testing.assert_allclose(fsim(a, a), 1.0, atol=1e-6)
    flat = np.full((1, 3, 32, 32), 0.5)
    np.testing.assert_allclose(fsim(flat, flat), 1.0, atol=1e-6)


def test_chunks_and_batches_do_not_matter() -> None:
    a, b = pair(32, 32, 7)
    whole = FsimReference(a, chunk=7).score(b)
    np.testing.assert_allclose(FsimReference(a, chunk=2).score(b), whole, rtol=1e-6)
    np.testing.assert_allclose(fsim(a[3:4], b[3:4]), whole[3:4], rtol=1e-6)


def test_masked_fsim_sums_over_hidden_pixels() -> None:
    a, b = pair(40, 40, 3)
    kept = FsimReference(a)
    everything = np.ones((3, 40, 40), dtype=bool)
    np.testing.assert_allclose(kept.masked(b, everything), kept.score(b), rtol=1e-6)
    hidden = np.zeros_like(everything)
    hidden[:, :20, 10:30] = True
    part = kept.masked(paste(a, b, hidden), hidden)
    assert (part < kept.score(paste(a, b, hidden))).all()
    np.testing.assert_allclose(kept.masked(a, hidden), 1.0, atol=1e-6)
    hidden[1] = False
    assert np.isnan(kept.masked(b, hidden)).tolist() == [False, True, False]


def test_masks_shrink_with_large_images() -> None:
    a, b = pair(390, 400)
    everything = np.ones((2, 390, 400), dtype=bool)
    kept = FsimReference(a)
    np.testing.assert_allclose(kept.masked(b, everything), kept.score(b), rtol=1e-6)


def test_errors_say_what_came() -> None:
    with pytest.raises(ProbeError, match=r"at least 24 x 24 pixels.*16 x 40"):
        fsim(*pair(16, 40))
    a, b = pair(32, 32)
    with pytest.raises(ProbeError, match="must be equal"):
        FsimReference(a).score(b[:1])
    with pytest.raises(ProbeError, match="one flag per pixel"):
        FsimReference(a).masked(b, np.zeros((2, 16, 16), dtype=bool))
