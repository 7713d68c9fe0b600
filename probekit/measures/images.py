"""Full-reference image metrics per image, whole or over hidden pixels only: SSIM, PSNR, MSE.

SSIM has many dialects. Ours is the one of Wang et al. (2004) as scikit-image computes it with Gaussian weights; its
other defaults give another number (0.636 against 0.604 on one pair). What belongs to the original alone (its local
mean and variance) is computed once and serves every checkpoint and mask: three of five filters remain per comparison.

Images are float (n, channels, height, width) in [0, 1]; `hidden` is bool (n, height, width) in pixels, True = hidden.
Every function gives one number per image, since averages and intervals are taken over images later. Filters are
`scipy.ndimage`'s, in float64: on a CPU they are several times faster than a framework's convolutions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from probekit.errors import ProbeError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SIGMA = 1.5
"""Standard deviation of SSIM's Gaussian window, in pixels."""
TRUNCATE = 3.5
"""Half-width of the window, in standard deviations."""
RADIUS = int(TRUNCATE * SIGMA + 0.5)
WINDOW = 2 * RADIUS + 1
"""Side of SSIM's window, in pixels: a smaller image has no SSIM."""
C1, C2 = 0.01**2, 0.03**2
"""SSIM's stabilisers for images in [0, 1]."""
LAST = 3
"""Images are never so narrow: a last axis of up to this length is that of the channels."""
PSNR_CAP = 100.0
"""PSNR of identical images, in dB; higher values are capped to it before averaging."""


def checked(images: ArrayLike, like: Floats | None = None) -> Floats:
    """`images` as float64 (n, channels, height, width), or a `ProbeError` saying what came instead."""
    array = np.asarray(images, dtype=np.float64)
    if array.ndim != 4 or not array.shape[1] or array.shape[3] <= LAST < array.shape[1]:
        raise ProbeError(
            f"Images of shape {array.shape}, expected (n, 3, height, width) in [0, 1]; any number of channels is "
            "accepted, before height and width."
        )
    if like is not None and array.shape != like.shape:
        raise ProbeError(f"Images of shape {array.shape} against originals of shape {like.shape}: they must be equal.")
    return array


def checked_hidden(hidden: ArrayLike, like: Floats) -> Bools:
    """`hidden` as bool (n, height, width) that fits the images `like`."""
    array = np.asarray(hidden)
    expected = (like.shape[0], *like.shape[2:])
    if array.shape != expected or array.dtype != np.bool_:
        raise ProbeError(f"hidden is {array.dtype} {array.shape}, expected bool {expected}: one flag per pixel.")
    return array


def paste(originals: ArrayLike, images: ArrayLike, hidden: ArrayLike) -> Floats:
    """`images` where hidden, `originals` where visible. Shapes (n, c, h, w), (n, c, h, w), (n, h, w)."""
    whole = checked(originals)
    return np.where(checked_hidden(hidden, whole)[:, None], checked(images, whole), whole)


def masked_mean(values: Floats, hidden: Bools) -> Floats:
    """Mean of `values` (n, height, width) over hidden pixels, per image; NaN where nothing is hidden."""
    counts = hidden.sum(axis=(1, 2))
    sums = np.einsum("nhw,nhw->n", values, hidden.astype(values.dtype))
    return np.asarray(np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0))


def mse(originals: ArrayLike, images: ArrayLike) -> Floats:
    """Mean squared error over pixels and channels, per image: (n,), in [0, 1]."""
    whole = checked(originals)
    return np.asarray(np.mean((whole - checked(images, whole)) ** 2, axis=(1, 2, 3)))


def masked_mse(originals: ArrayLike, images: ArrayLike, hidden: ArrayLike) -> Floats:
    """`mse` over hidden pixels only; NaN for an image without any."""
    whole = checked(originals)
    errors = np.mean((whole - checked(images, whole)) ** 2, axis=1)
    return masked_mean(errors, checked_hidden(hidden, whole))


def decibels(errors: Floats) -> Floats:
    """PSNR of mean squared errors of images in [0, 1], capped at 100 dB (perfect images included); NaN stays NaN."""
    return np.asarray(-10.0 * np.log10(np.maximum(errors, 10.0 ** (-PSNR_CAP / 10.0))))


def psnr(originals: ArrayLike, images: ArrayLike) -> Floats:
    """Peak signal-to-noise ratio in dB, per image: (n,), at most 100. Average it over images, not the errors."""
    return decibels(mse(originals, images))


def masked_psnr(originals: ArrayLike, images: ArrayLike, hidden: ArrayLike) -> Floats:
    """`psnr` over hidden pixels only; NaN for an image without any."""
    return decibels(masked_mse(originals, images, hidden))


def smooth(images: Floats) -> Floats:
    """SSIM's window applied to the last two axes, mirrored at the borders."""
    return np.asarray(ndimage.gaussian_filter(images, SIGMA, truncate=TRUNCATE, mode="reflect", axes=(-2, -1)))


class SsimReference:
    """Structural similarity to fixed originals: build it once per batch of originals, ask it for every checkpoint.

    Equal to `skimage.metrics.structural_similarity(data_range=1, channel_axis=-1, gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False)` on the transposed images.

    Args:
        originals: (n, channels, height, width) in [0, 1].

    Raises:
        ProbeError: an image is smaller than the window of 11 pixels.
    """

    def __init__(self, originals: ArrayLike) -> None:
        self.originals = checked(originals)
        height, width = self.originals.shape[2:]
        if min(height, width) < WINDOW:
            raise ProbeError(
                f"SSIM needs images of at least {WINDOW} x {WINDOW} pixels (its Gaussian window); these are "
                f"{height} x {width}. PSNR and MSE work at any size."
            )
        self._mean = smooth(self.originals)
        self._squared_mean = self._mean**2
        self._variance = smooth(self.originals**2) - self._squared_mean

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        return sum(array.nbytes for array in (self.originals, self._mean, self._squared_mean, self._variance))

    def _channel_maps(self, images: ArrayLike) -> Floats:
        other = checked(images, self.originals)
        mean = smooth(other)
        product = self._mean * mean
        squares = self._squared_mean + mean**2
        variance = smooth(other * other)
        variance -= mean**2
        covariance = smooth(self.originals * other)
        covariance -= product
        above = (2 * product + C1) * (2 * covariance + C2)
        below = (squares + C1) * (self._variance + variance + C2)
        return np.asarray(above / below)

    def map(self, images: ArrayLike) -> Floats:
        """SSIM at every pixel, mean over the channels: (n, height, width), each in [-1, 1]."""
        return np.asarray(self._channel_maps(images).mean(axis=1))

    def score(self, images: ArrayLike) -> Floats:
        """Mean SSIM per image, (n,). As in the reference, a border of half a window is left out."""
        return self.mean_of(self.map(images))

    def masked(self, pasted: ArrayLike, hidden: ArrayLike) -> Floats:
        """Mean of the SSIM map over hidden pixels, (n,); `pasted` has the visible pixels of the originals (`paste`)."""
        return masked_mean(self.map(pasted), checked_hidden(hidden, self.originals))

    @staticmethod
    def mean_of(maps: Floats) -> Floats:
        """The score of SSIM maps (n, height, width): their mean inside the border, (n,)."""
        return np.asarray(maps[:, RADIUS:-RADIUS, RADIUS:-RADIUS].mean(axis=(1, 2)))


def ssim(originals: ArrayLike, images: ArrayLike) -> Floats:
    """Mean SSIM per image, (n,). See `SsimReference`."""
    return SsimReference(originals).score(images)
