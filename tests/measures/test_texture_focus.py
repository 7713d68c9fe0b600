"""Low-level descriptors and object focus on images whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from probekit.errors import ProbeError
from probekit.measures import focus, texture


def stripes(angle: float, period: float = 8, size: int = 64) -> np.ndarray:
    """Stripes whose brightness changes along `angle` (degrees), uint8 (1, size, size, 3)."""
    down, right = np.mgrid[:size, :size]
    along = right * np.cos(np.radians(angle)) + down * np.sin(np.radians(angle))
    grey = 128 + 100 * np.sin(2 * np.pi * along / period)
    return np.repeat(grey[None, :, :, None], 3, axis=3).astype(np.uint8)


def test_mean_colour_and_contrast_of_flat_images() -> None:
    flat = np.zeros((2, 16, 16, 3), dtype=np.uint8)
    flat[1] = [255, 51, 0]
    np.testing.assert_allclose(texture.mean_colour(flat), [[0, 0, 0], [1, 0.2, 0]])
    np.testing.assert_allclose(texture.contrast(flat), 0, atol=1e-7)


def test_contrast_grows_with_amplitude_and_scale_is_told() -> None:
    fine, coarse = texture.contrast(stripes(0, 4))[0], texture.contrast(stripes(0, 32))[0]
    assert fine[1] > coarse[1]
    halved = (stripes(0) // 2).astype(np.uint8)
    assert texture.contrast(halved)[0, 0] == pytest.approx(texture.contrast(stripes(0))[0, 0] / 2, rel=0.02)


@pytest.mark.parametrize("bin_", range(8))
def test_edges_fall_in_their_orientation(bin_: int) -> None:
    found = texture.edge_orientation(stripes(bin_ * 22.5, 16))[0]
    assert found.argmax() == bin_
    assert found.sum() == pytest.approx(1)
    assert found[bin_] > 0.6


def test_no_edges_is_uniform() -> None:
    np.testing.assert_allclose(texture.edge_orientation(np.full((1, 8, 8, 3), 9, np.uint8)), 1 / 8)


def test_local_texture_tells_noise_from_flat() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(256, size=(3, 32, 32, 3), dtype=np.uint8)
    found = texture.local_texture(noise)
    assert found.shape == (3, 10)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    flat = texture.local_texture(np.zeros((1, 32, 32, 3), dtype=np.uint8))
    assert flat[0].max() == 1
    assert np.abs(found - flat).sum(axis=1).min() > 0.5


@pytest.mark.parametrize("name", texture.TARGETS)
def test_targets_are_per_image(name: str) -> None:
    images = np.random.default_rng(0).integers(256, size=(4, 20, 24, 3), dtype=np.uint8)
    whole = texture.TARGETS[name](images)
    apart = np.concatenate([texture.TARGETS[name](images[i : i + 1]) for i in range(4)])
    np.testing.assert_allclose(whole, apart, rtol=1e-12)
    with pytest.raises(ProbeError, match="expected uint8"):
        texture.TARGETS[name](images / 255)


def test_area_fraction_splits_pixels() -> None:
    mask = np.zeros((1, 4, 6), dtype=bool)
    mask[0, :2, :3] = True
    np.testing.assert_allclose(focus.area_fraction(mask, (2, 2)), [[[1, 0], [0, 0]]])
    np.testing.assert_allclose(focus.area_fraction(mask, (1, 4))[0], [[0.5, 0.5, 0, 0]])
    np.testing.assert_allclose(focus.area_fraction(mask, (3, 5)).mean(), mask.mean())


def test_focus_on_off_and_chance() -> None:
    mask = np.zeros((4, 8, 8), dtype=bool)
    mask[:3, :4, :4] = True
    maps = np.zeros((4, 2, 2))
    maps[0, 0, 0] = 2.0
    maps[1, 1, 1] = 3.0
    maps[2:] = 1.0
    found = focus.object_share(maps, mask)
    np.testing.assert_allclose(found.share, [1, 0, 0.25, np.nan])
    np.testing.assert_allclose(found.chance, [0.25, 0.25, 0.25, np.nan])


def test_bad_maps_are_named() -> None:
    mask = np.ones((1, 8, 8), dtype=bool)
    with pytest.raises(ProbeError, match="negative numbers"):
        focus.object_share(-np.ones((1, 2, 2)), mask)
    with pytest.raises(ProbeError, match="for 1 masks"):
        focus.object_share(np.ones((2, 2, 2)), mask)
    with pytest.raises(ProbeError, match="expected bool"):
        focus.object_share(np.ones((1, 2, 2)), mask.astype(float))
