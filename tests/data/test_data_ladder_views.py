"""Views of the ladder: what they share, and that they follow the image and the seed alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from probekit.data import Preprocess, load
from probekit.data.ladder_views import LadderViews, appearance


@pytest.fixture(scope="module")
def images():
    return load("shapes", "test", count=24)


def make(images, seed: int = 0) -> LadderViews:
    keys = np.arange(1000, 1000 + len(images))
    return LadderViews(images, Preprocess(32, 32, (0.0,) * 3, (1.0,) * 3), keys, seed=seed)


def test_views_share_less_and_less(images) -> None:
    found = make(images).batch(np.arange(24))
    assert found.shape == (24, 4, 3, 32, 32)
    assert found.min() >= 0
    assert found.max() <= 1
    apart = (found[:, 1:] - found[:, :1]).square().mean(dim=(0, 2, 3, 4))
    assert apart[0] == pytest.approx(2 * 0.1**2, rel=0.25)  # noise alone, but for clipping
    assert apart[0] < apart[1] < apart[2]


def test_views_follow_key_and_seed_alone(images) -> None:
    views = make(images)
    both = views.batch(np.array([5, 3]))
    torch.testing.assert_close(both[1], views.batch(np.array([3]))[0])
    assert (both - make(images, seed=1).batch(np.array([5, 3]))).abs().mean() > 0.02


@pytest.mark.parametrize("channels", [1, 3, 4, 12])
def test_appearance_takes_any_number_of_channels(channels: int) -> None:
    pixels = torch.rand(5, channels, 8, 8)
    middle = np.full((5, 4), 0.5)
    torch.testing.assert_close(appearance(pixels, middle), pixels, atol=1e-3, rtol=0)  # factors of 1, no turn
    other = appearance(pixels, np.random.default_rng(0).random((5, 4)))
    assert other.shape == pixels.shape
    assert 0 <= other.min() <= other.max() <= 1
    assert (other - pixels).abs().mean() > 0.01
