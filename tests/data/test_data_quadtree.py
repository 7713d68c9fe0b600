"""The set with known latents: purity, splits, partners, and the inverse."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from probekit.data import load
from probekit.data.quadtree import BLOCK, Quadtree, rounding_cost
from probekit.data.quadtree_process import QuadtreeSettings, generating_process, invert, to_images, to_observables
from probekit.errors import DataError

SMALL = "quadtree?height=3&root_dim=4&noise=1.0&depth=2&slope=0.3"
"""Settings of the tests' own: what must hold may not depend on how the defaults are calibrated."""


@pytest.fixture(scope="module")
def quadtree() -> Quadtree:
    image_set = load(SMALL, count=200)
    assert isinstance(image_set, Quadtree)
    return image_set


def test_shapes_of_images_latents_and_noise(quadtree: Quadtree) -> None:
    assert quadtree[0].shape == (16, 16, 3)
    assert {height: array.shape for height, array in quadtree.latents.items()} == {
        1: (200, 16, 12), 2: (200, 4, 8), 3: (200, 1, 4),
    }  # fmt: skip
    assert {height: array.shape for height, array in quadtree.noise.items()} == {
        0: (200, 16, 36), 1: (200, 16, 4), 2: (200, 4, 4), 3: (200, 1, 4),
    }  # fmt: skip
    assert quadtree.height == 3
    assert quadtree.patch_size == 4


def test_latents_belong_to_their_images(quadtree: Quadtree) -> None:
    recovered = invert(quadtree.images, quadtree.settings)
    for height, truth in quadtree.latents.items():
        error = recovered.level(height) - truth
        assert np.mean(error**2) < 0.03
        for node in range(truth.shape[1]):  # node by node: raster order
            assert np.corrcoef(recovered.level(height)[:, node].ravel(), truth[:, node].ravel())[0, 1] > 0.97


def test_the_inverse_is_exact_on_floats_and_the_cost_of_rounding_is_known(quadtree: Quadtree) -> None:
    cost = rounding_cost(quadtree, limit=128)
    assert max(cost["exact_error"].values()) < 1e-9
    assert set(cost["rounded_r2"]) == {1, 2, 3}
    assert all(0.95 < value < 1 for value in cost["rounded_r2"].values())
    assert 0 <= cost["clipped"][0] < 0.02
    with pytest.raises(DataError, match="shapes: only a quadtree's images can be inverted"):
        rounding_cost(load("shapes", count=4))


def test_rounding_is_all_that_lies_between_observables_and_pixels(quadtree: Quadtree) -> None:
    _, draw = next(iter(quadtree.draws()))
    back = to_observables(to_images(draw, quadtree.settings), quadtree.settings)
    grey = draw.level(0) * quadtree.settings.contrast
    inside = np.abs(grey) < 127
    assert np.abs(back * quadtree.settings.contrast - grey)[inside].max() <= 0.5 + 1e-9


def test_the_class_is_carried_by_the_root(quadtree: Quadtree) -> None:
    assert set(quadtree.labels) == set(range(8))
    root = quadtree.latents[3][:, 0]
    centres = np.stack([root[quadtree.labels == label].mean(0) for label in range(8)])
    nearest = np.argmin(((root[:, None] - centres) ** 2).sum(-1), axis=1)
    assert (nearest == quadtree.labels).mean() > 0.8


@pytest.mark.parametrize("keep", range(5))
def test_partners_share_what_they_should(quadtree: Quadtree, keep: int) -> None:
    partners = quadtree.partners(keep, seed=3)
    assert len(partners) == len(quadtree)
    for height in (1, 2, 3):
        ours, theirs = quadtree.latents[height], partners.latents[height]
        if height >= keep:
            assert (ours == theirs).all()
            assert (quadtree.noise[height] == partners.noise[height]).all()
        else:
            correlation = np.corrcoef(quadtree.noise[height].ravel(), partners.noise[height].ravel())[0, 1]
            assert abs(correlation) < 0.15
            assert (ours != theirs).any(axis=(1, 2)).all()
    same = (quadtree.images == partners.images).all(axis=(1, 2, 3))
    assert same.all() if keep == 0 else not same.any()
    assert (quadtree.labels == partners.labels).all() == (keep <= 3)
    assert partners.fingerprint != quadtree.fingerprint


def test_partners_by_node_seed_and_level(quadtree: Quadtree) -> None:
    again, other = quadtree.partners(2, seed=3), quadtree.partners(2, seed=4)
    assert (again.images == quadtree.partners(2, seed=3).images).all()
    assert (again.images != other.images).any()
    corner = quadtree.partners([("z", 1, 0, 0)])
    assert (corner.latents[1][:, 0] == quadtree.latents[1][:, 0]).all()
    assert (corner.latents[2][:, 0] == quadtree.latents[2][:, 0]).all()
    assert (corner.latents[1][:, 5] != quadtree.latents[1][:, 5]).any()
    with pytest.raises(DataError, match=r"levels from 5 up were asked for; levels are 0 to 3, and 4 shares nothing"):
        quadtree.partners(5)


def test_splits_have_the_same_functions() -> None:
    train, test = (load(SMALL, split, count=4) for split in ("train", "test"))
    assert isinstance(train, Quadtree)
    assert isinstance(test, Quadtree)
    assert generating_process(train.settings) is generating_process(test.settings)
    assert (train.images != test.images).any(axis=(1, 2, 3)).all()


def test_another_world_has_other_functions() -> None:
    first, second = load(SMALL, count=4), load(SMALL, count=4, world=1)
    assert isinstance(first, Quadtree)
    assert isinstance(second, Quadtree)
    assert (first.noise[1] == second.noise[1]).all()
    assert (first.images != second.images).any()


def test_training_never_ends_and_can_be_entered_anywhere() -> None:
    endless, finite = load(SMALL, "train"), load(SMALL, "train", count=3 * BLOCK)
    assert endless.endless
    assert not finite.endless
    assert not load(SMALL, "val").endless
    far = np.array([10**9 + 5, 3, 2 * BLOCK, 10**9 + 6])
    assert (endless.pixels(far)[1:3] == finite.pixels(far[1:3])).all()
    assert (endless.pixels(far[::-1]) == endless.pixels(far)[::-1]).all()
    assert len({endless.pixels(np.array([index])).tobytes() for index in (0, 10**9, 10**9 + BLOCK)}) == 3


def test_noise_by_height() -> None:
    assert QuadtreeSettings(height=3, noise="0.5,1,2").noise_scales() == {0: 0.5, 1: 1.0, 2: 2.0}
    assert QuadtreeSettings(height=3, noise=0.7).noise_scales() == {0: 0.7, 1: 0.7, 2: 0.7}
    assert QuadtreeSettings(height=3, noise="0.1,0.5").noise_scales() == {0: 0.1, 1: 0.5, 2: 0.5}
    assert load(SMALL, count=2, noise="0.5,1").fingerprint == load(SMALL, count=2, noise="0.5,1,1").fingerprint


def test_the_default_set() -> None:
    image_set = load("quadtree", count=BLOCK)
    assert isinstance(image_set, Quadtree)
    assert image_set.settings == QuadtreeSettings()
    assert image_set[0].shape == (32, 32, 3)
    pixels = hashlib.sha256(image_set.images.tobytes()).hexdigest()  # what checkpoints were trained on, on any machine
    assert pixels == "d1538cb5df4db7b637b570fb1d8ac0644c5d8b786e36743b0e0b5e679b61dee8"
    assert (image_set.height, image_set.patch_size) == (4, 4)
    cost = rounding_cost(image_set, limit=BLOCK)
    assert max(cost["exact_error"].values()) < 1e-4
    assert cost["clipped"][0] < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 0}, "height=0; expected a whole number of at least 1"),
        ({"classes": 1}, "classes=1; expected a whole number of at least 2"),
        (
            {"patch": 2, "root_dim": 4},
            "patches of 2 x 2 x 3 pixels hold 12 dimensions, but the latent above one has 16",
        ),
        ({"noise": "1,2,3,4,5"}, "noise='1,2,3,4,5'; a number above 0 is expected, or up to 4 of them with commas"),
        ({"noise": "loud"}, "noise='loud'; a number above 0"),
        ({"noise": 0}, "noise=0; a number above 0"),
        ({"contrast": 0}, "contrast=0.0; a number above 0"),
        ({"noise": "1,nan"}, "noise='1,nan'; a number above 0"),
        ({"slope": 0}, "slope=0.0; a number above 0 and up to 1"),
        ({"slope": 1.5}, "slope=1.5; a number above 0 and up to 1"),
        ({"spread": -1}, "spread=-1.0; a number of at least 0"),
        ({"world": -1}, "world=-1; a seed of at least 0"),
    ],
)
def test_settings_that_are_refused(options: dict, message: str) -> None:
    with pytest.raises(DataError) as error:
        load("quadtree", **options)
    assert message in str(error.value)
