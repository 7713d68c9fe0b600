"""Resizing and cropping against torchvision's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from probekit.constants import IMAGENET_MEAN, IMAGENET_STD
from probekit.data import Preprocess
from probekit.errors import DataError


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(17, 120),
    st.integers(17, 120),
    st.sampled_from([(16, 1.0), (28, 0.875), (33, 0.9), (56, 0.95)]),
    st.sampled_from(["bicubic", "bilinear", "lanczos", "nearest"]),
)
def test_the_same_bytes_as_torchvision(height: int, width: int, target: tuple[int, float], interpolation: str) -> None:
    size, fraction = target
    image = picture(height, width)
    mode = transforms.InterpolationMode[interpolation.upper()]
    theirs = transforms.Compose([transforms.Resize(int(size / fraction), mode), transforms.CenterCrop(size)])(image)
    ours = Preprocess(size, size, interpolation=interpolation, crop_fraction=fraction)(image)
    if image.size == (size, size):
        assert (ours == np.asarray(image)).all()
    else:
        assert (ours == np.asarray(theirs)).all()


def test_the_right_size_is_left_untouched() -> None:
    image = picture(40, 32)
    assert (Preprocess(40, 32, crop_fraction=0.875)(image) == np.asarray(image)).all()
    assert (Preprocess(40, 32)(np.asarray(image)) == np.asarray(image)).all()


def test_targets_that_are_not_square_are_covered() -> None:
    preprocess = Preprocess(20, 40)
    assert preprocess(picture(50, 60)).shape == (20, 40, 3)
    height, width, top, left = preprocess.geometry(50, 60)
    assert (height, width, top, left) == (33, 40, 6, 0)
    assert preprocess.geometry(200, 10)[:2] == (800, 40)


def test_no_interpolation_crops_and_refuses_smaller_images() -> None:
    preprocess = Preprocess(16, 16, interpolation="none")
    image = picture(30, 20)
    assert (preprocess(image) == np.asarray(image)[7:23, 2:18]).all()
    with pytest.raises(DataError, match="an image of 12 x 30 pixels is smaller than the crop of 16 x 16"):
        preprocess(picture(12, 30))


def test_normalising_is_that_of_torchvision() -> None:
    image = picture(8, 8)
    theirs = transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)(transforms.ToTensor()(image))
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None]
    assert torch.allclose(Preprocess(8, 8).normalise(pixels)[0], theirs, atol=1e-6)


def test_fingerprints_tell_what_changes_pixels() -> None:
    base = Preprocess(32, 32)
    assert Preprocess(32, 32, mean=list(IMAGENET_MEAN)) == base
    assert Preprocess(32, 32, std=(0.5, 0.5, 0.5)).fingerprint != base.fingerprint
    assert Preprocess(32, 32, std=(0.5, 0.5, 0.5)).pixels_fingerprint == base.pixels_fingerprint
    assert Preprocess(32, 32, interpolation="bilinear").pixels_fingerprint != base.pixels_fingerprint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(height=0, width=8), "Images of 0 x 8 pixels were asked for"),
        (dict(height=8, width=8, interpolation="bicubik"), "Unknown interpolation 'bicubik'. Did you mean 'bicubic'?"),
        (dict(height=8, width=8, crop_fraction=1.2), r"crop_fraction is 1.2; it must lie in \(0, 1\]"),
        (dict(height=8, width=8, std=(0, 1, 1)), "std must be positive"),
    ],
)
def test_errors(options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Preprocess(**options)
