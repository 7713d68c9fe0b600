"""Low-level descriptors of images: what a representation of low level should let one read linearly.

Four families, from the pixels alone, cheap and old enough to be agreed upon: mean colour, contrast, the
distribution of edge orientations, and local texture (uniform local binary patterns).

Images are uint8 (n, height, width, 3). Sources: local binary patterns, Ojala, Pietikäinen, Mäenpää (2002); orientation
histograms as in Dalal and Triggs (2005), over the whole image.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from probekit.errors import ProbeError

Floats = NDArray[np.float64]

LUMINANCE = (0.2125, 0.7154, 0.0721)
"""Weights of red, green and blue (ITU-R BT.709), as scikit-image has them."""
ORIENTATIONS = 8
POINTS, RADIUS = 8, 1
"""Neighbours and radius, in pixels, of the local binary patterns."""
FINE, COARSE = 1.0, 4.0
"""Standard deviations, in pixels, of the windows of local contrast."""


def checked(images: ArrayLike) -> NDArray[np.uint8]:
    """Images as uint8 (n, height, width, 3) of at least 3 x 3 pixels."""
    array = np.asarray(images)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3 or min(array.shape[1:3]) < 3:
        raise ProbeError(
            f"Images are {array.dtype} {array.shape}, expected uint8 (n, height, width, 3), 3 x 3 or larger."
        )
    return array


def luminance(images: NDArray[np.uint8]) -> Floats:
    """(n, height, width) in [0, 1]."""
    return np.asarray(images @ (np.asarray(LUMINANCE) / 255.0))


def mean_colour(images: ArrayLike) -> Floats:
    """Mean red, green and blue, (n, 3), in [0, 1]."""
    return np.asarray(checked(images).mean(axis=(1, 2)) / 255.0)


def contrast(images: ArrayLike) -> Floats:
    """Standard deviation of luminance over the image, and its mean within fine and coarse windows: (n, 3)."""
    light = luminance(checked(images))
    columns = [light.std(axis=(1, 2))]
    for sigma in (FINE, COARSE):
        mean, square = (ndimage.gaussian_filter(x, sigma, axes=(1, 2)) for x in (light, light**2))
        columns.append(np.sqrt(np.maximum(square - mean**2, 0)).mean(axis=(1, 2)))
    return np.stack(columns, axis=1)


def sobel(light: Floats, along: int, across: int) -> Floats:
    """Sobel derivative along one axis, smoothed across the other (and not across images, as `ndimage.sobel` would)."""
    return np.asarray(ndimage.correlate1d(ndimage.correlate1d(light, [-1, 0, 1], along), [1, 2, 1], across))


def edge_orientation(images: ArrayLike) -> Floats:
    """Shares of edge strength in 8 orientations from 0 to 180 degrees, (n, 8); all 1/8 where there is no edge.

    Sobel gradients of luminance; an edge between two orientations is split between them, so that the descriptor is
    smooth.
    """
    light = luminance(checked(images))
    down, right = sobel(light, 1, 2), sobel(light, 2, 1)
    strength = np.hypot(down, right)
    place = (np.arctan2(down, right) % np.pi) / np.pi * ORIENTATIONS
    lower = np.floor(place)
    upper_share = place - lower
    out = np.zeros((len(light), ORIENTATIONS))
    image = np.broadcast_to(np.arange(len(light))[:, None, None], light.shape)
    for bin_, share in ((lower, 1 - upper_share), (lower + 1, upper_share)):
        index = image * ORIENTATIONS + bin_.astype(np.int64) % ORIENTATIONS
        out += np.bincount(index.ravel(), (strength * share).ravel(), out.size).reshape(out.shape)
    total = out.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(out, total, out=np.full_like(out, 1 / ORIENTATIONS), where=total > 1e-9))


def local_texture(images: ArrayLike) -> Floats:
    """Shares of the rotation-invariant uniform local binary patterns of the grey image, (n, 10); they sum to one."""
    from skimage.feature import local_binary_pattern

    grey = np.rint(luminance(checked(images)) * 255).astype(np.uint8)
    kinds = POINTS + 2
    patterns = (local_binary_pattern(image, POINTS, RADIUS, method="uniform") for image in grey)
    return np.stack([np.bincount(p.astype(np.int64).ravel(), minlength=kinds) / p.size for p in patterns])


TARGETS: dict[str, Callable[[ArrayLike], Floats]] = {
    "mean_colour": mean_colour,
    "contrast": contrast,
    "edge_orientation": edge_orientation,
    "local_texture": local_texture,
}
"""Descriptors by name: images to (n, dims)."""
