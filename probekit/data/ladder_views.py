"""Views of one image that share less and less: what the level ladder compares.

A view is noise(appearance(layout(image))). Each of the three is drawn from the seed and from the image's own key, so an
image gets the same views wherever it stands in its set:

- layout: a random resized crop of 40 to 100 % of the area, and a flip;
- appearance: brightness, contrast and colour jitter;
- noise: Gaussian, with a standard deviation of a tenth of the pixels' range.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from probekit.data.augmentation import _Augmented
from probekit.data.base import ImageSet
from probekit.data.crops import ATTEMPTS
from probekit.data.preprocess import Preprocess
from probekit.data.randomness import generator, uniforms

LAYOUT_AREA = (0.4, 1.0)
JITTER = 0.4
"""Brightness, contrast and saturation are multiplied by a factor in [1 - JITTER, 1 + JITTER]."""
HUE = 0.1
"""The hue turns by at most this share of the colour circle."""
NOISE = 0.1

AT_ONCE = 1 << 20
"""Numbers of images that are drawn at a time; what is made on the way takes some 15 times their memory."""

DRAWS = ((0, 0, 0), (0, 0, 1), (0, 1, 2), (1, 2, 3))
"""Which draw of layout, appearance and noise each view has: equal numbers are shared."""

PROTOCOL = (
    f"views = noise(appearance(layout(image))): layout = random resized crop of {LAYOUT_AREA[0]:.0%} to "
    f"{LAYOUT_AREA[1]:.0%} of the area and flip; appearance = brightness, contrast and saturation times "
    f"[{1 - JITTER:g}, {1 + JITTER:g}], hue turned by up to {HUE:g}; noise = Gaussian, deviation {NOISE:g} of the range"
)

_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


class LadderViews(_Augmented):
    """Four views of each image: itself, then with fresh noise, fresh appearance, and fresh layout.

    Args:
        image_set: the images.
        preprocess: size, interpolation and normalisation.
        keys: whole numbers >= 0, one per image, that its views are drawn by.
        seed: of the views.
    """

    count = len(DRAWS)

    def __init__(self, image_set: ImageSet, preprocess: Preprocess, keys: np.ndarray, *, seed: int = 0) -> None:
        super().__init__(image_set, preprocess, LAYOUT_AREA, True, True)
        self.keys, self.seed = keys, seed

    def batch(self, indices: np.ndarray) -> Tensor:
        """The views of some images: float32 (len(indices), 4, channels, height, width), normalised."""
        pixels = self.preprocess.channels * self.preprocess.height * self.preprocess.width
        step = max(1, AT_ONCE // pixels)
        parts = [self._drawn(indices[start : start + step]) for start in range(0, max(1, len(indices)), step)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _drawn(self, indices: np.ndarray) -> Tensor:
        indices = np.asarray(indices)
        keys = np.asarray(self.keys)[indices]
        layouts = [self._layout(indices, keys, draw) for draw in range(2)]
        views = []
        for layout, look, noise in DRAWS:
            pixels = appearance(layouts[layout], uniforms(keys, 4, "ladder appearance", self.seed, look))
            views.append((pixels + NOISE * self._noise(keys, noise, pixels.shape)).clamp_(0, 1))
        stacked = torch.stack(views, dim=1)
        return self.normalise(stacked.flatten(0, 1) * 255).reshape(stacked.shape)

    def _layout(self, indices: np.ndarray, keys: np.ndarray, draw: int) -> Tensor:
        """Cropped and flipped images, float32 (n, channels, height, width) in [0, 1]."""
        randoms = uniforms(keys, 4 * ATTEMPTS + 1, "ladder layout", self.seed, draw)
        if self.packed:
            return self.packed_float(indices, randoms) / 255
        return torch.from_numpy(self.uint8(indices, randoms)).permute(0, 3, 1, 2).float() / 255

    def _noise(self, keys: np.ndarray, draw: int, shape: torch.Size) -> Tensor:
        """Standard normal, of `shape`; row i depends on the key of image i alone."""
        rows = [
            generator("ladder noise", self.seed, draw, int(key)).standard_normal(shape[1:], np.float32) for key in keys
        ]
        return torch.from_numpy(np.stack(rows))


def appearance(pixels: Tensor, randoms: np.ndarray) -> Tensor:
    """Brightness, contrast and colour jitter.

    Args:
        pixels: float (n, channels, height, width) in [0, 1].
        randoms: uniform in [0, 1), (n, 4): for brightness, contrast, saturation and hue.

    Returns:
        The same shape, in [0, 1]. Three channels change in saturation and hue; any other number of channels gets a
        colour cast, factors from 2 - f (first channel) to f (last), where f is the factor for saturation; grey images
        have no colour to change.
    """
    draws = torch.from_numpy(randoms.astype(np.float32))[:, :, None, None, None]
    brightness, contrast, saturation = (1 + JITTER * (2 * draws[:, i] - 1) for i in range(3))
    pixels = pixels * brightness
    grey = _luminance(pixels).mean(dim=(2, 3), keepdim=True)
    pixels = (pixels - grey) * contrast + grey
    if pixels.shape[1] == 3:
        angle = 2 * np.pi * HUE * (2 * draws[:, 3] - 1)
        y, i, q = torch.einsum("kc,nchw->knhw", _YIQ, pixels).unsqueeze(2).unbind(0)
        turned = torch.cat(
            [y, saturation * (angle.cos() * i - angle.sin() * q), saturation * (angle.sin() * i + angle.cos() * q)], 1
        )
        pixels = torch.einsum("ck,nkhw->nchw", torch.linalg.inv(_YIQ), turned)
    elif pixels.shape[1] > 1:
        pixels = pixels * (1 + (saturation - 1) * torch.linspace(-1, 1, pixels.shape[1])[None, :, None, None])
    return pixels.clamp(0, 1)


def _luminance(pixels: Tensor) -> Tensor:
    """(n, 1, height, width): Rec. 601 luminance of RGB, the mean of any other channels."""
    if pixels.shape[1] == 3:
        return (pixels * _YIQ[0, :, None, None]).sum(dim=1, keepdim=True)
    return pixels.mean(dim=1, keepdim=True)
