"""Mean and deviation of each channel, for images that have no customary ones."""

from __future__ import annotations

import warnings

import numpy as np

from probekit.constants import IMAGENET_MEAN, IMAGENET_STD
from probekit.data import ImageSet, Preprocess

SAMPLE = 256
"""Images that are looked at, evenly spaced over the split."""


def scale_of(image_set: ImageSet, channels: int, *, known: bool = False) -> dict[str, tuple[float, ...]]:
    """`mean` and `std` of pixels in [0, 1]: ImageNet's for three channels, else those of a sample of the images.

    The sums are of whole numbers, so the result is the same on every machine. A channel that never changes gets a
    deviation of 1 (with a warning).

    Args:
        image_set: a train split.
        channels: of the model; grey and RGB images are converted as the model will see them.
        known: mean and deviation are known already: only check that the images fit, and return nothing.

    Raises:
        DataError: the images cannot be converted to so many channels.
    """
    convert = Preprocess(1, 1, (0.0,) * channels, (1.0,) * channels)
    convert.conversion(image_set.channels, grey_as_rgb=image_set.grey_as_rgb)
    if known:
        return {}
    if channels == 3:
        return {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    count = min(SAMPLE, len(image_set))
    pixels, total, squares = 0, np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    for index in np.linspace(0, len(image_set) - 1, count).astype(np.int64).tolist():
        values = convert.convert(image_set.read(index)).reshape(-1, channels).astype(np.int64)
        pixels, total, squares = pixels + len(values), total + values.sum(0), squares + (values**2).sum(0)
    mean = total / pixels / 255
    variance = np.maximum(0.0, squares / pixels / 255**2 - mean**2)
    constant = variance < 1e-8
    if constant.any():
        warnings.warn(
            f"{image_set.spec}: channels {np.flatnonzero(constant).tolist()} hold the same value in all of {count} "
            "images; their deviation is taken to be 1. Say std= if they vary elsewhere.",
            stacklevel=4,
        )
    deviation = np.where(constant, 1.0, np.sqrt(variance))
    return {"mean": tuple(np.round(mean, 6).tolist()), "std": tuple(np.round(deviation, 6).tolist())}
