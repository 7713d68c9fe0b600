"""From a decoded image to what a checkpoint's card asks for: channels, resize, centre crop, normalise.

The geometry is torchvision's (`Resize` of the shorter side, then `CenterCrop`, both with its rounding) on 8-bit pixels
with Pillow's antialiased filters: the bytes are the same, so published numbers are comparable. (Pillow could resize and
crop in one call, but stores the crop's corners in single precision, and some bytes would differ by one.)

Channels: a model with one channel sees RGB images as luminance. Any other mismatch is an error; grey images are shown
three times to a model with three channels only if the caller says so (`load(data, channels=3)`, `...?channels=3`).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image

from probekit import cache
from probekit.checks import as_number
from probekit.constants import IMAGENET_MEAN, IMAGENET_STD
from probekit.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import torch


FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "none": None,
}


class Shown(Protocol):
    """What `Preprocess.announce` knows of images; every `ImageSet` is one."""

    spec: str
    channels: int
    grey_as_rgb: bool


@dataclass(frozen=True)
class Preprocess:
    """What happens to an image between the decoder and the model.

    The shorter side is resized to floor(size / crop_fraction) (for a target that is not square: until both sides cover
    it), then the centre is cropped to (height, width). An image that already has that size is left untouched.

    Args:
        height, width: of the result, in pixels.
        mean, std: one number per channel, of pixels in [0, 1]; their length is the model's number of channels.
        interpolation: "bicubic", "bilinear", "nearest", "lanczos", "box", or "none" (crop only; an image smaller than
            the crop is then a DataError).
        crop_fraction: share of the resized shorter side that the crop keeps, in (0, 1]; 0.875 is 224 out of 256.

    Example:
        >>> Preprocess(224, 224, crop_fraction=0.875)(np.zeros((300, 400, 3), np.uint8)).shape
        (224, 224, 3)
    """

    height: int
    width: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: str = "bicubic"
    crop_fraction: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        if min(self.height, self.width) < 1:
            raise DataError(f"Images of {self.height} x {self.width} pixels were asked for; both must be at least 1.")
        if not isinstance(self.interpolation, str) or self.interpolation not in FILTERS:
            raise DataError(
                f"Unknown interpolation {self.interpolation!r}. {did_you_mean(str(self.interpolation), FILTERS)}"
            )
        if not 0 < (as_number(self.crop_fraction) or 0) <= 1:
            raise DataError(f"crop_fraction is {self.crop_fraction!r}; it must lie in (0, 1].")
        if not self.mean or len(self.mean) != len(self.std) or not min(self.std) > 0:
            raise DataError(
                f"mean {self.mean} and std {self.std} must have one number per channel each, and std must be positive."
            )

    @property
    def channels(self) -> int:
        """Channels that the model takes."""
        return len(self.mean)

    @property
    def fingerprint(self) -> str:
        """What the pixels and their scale depend on, as 32 hexadecimal digits."""
        return cache.key(**asdict(self))

    @property
    def pixels_fingerprint(self) -> str:
        """As `fingerprint`, without mean and std: what the 8-bit pixels depend on."""
        facts = asdict(self)
        del facts["mean"], facts["std"]
        return cache.key(**facts)

    def conversion(self, channels: int, *, grey_as_rgb: bool = False) -> str:
        """How images of so many channels reach the model, in words; empty if nothing is converted.

        Args:
            channels: of the images.
            grey_as_rgb: the caller wants grey images shown three times.

        Raises:
            DataError: the model cannot take such images.
        """
        if channels == self.channels:
            return ""
        if (channels, self.channels) == (3, 1):
            return "The model has one channel: it sees the luminance (ITU-R 601) of the RGB images."
        if (channels, self.channels) == (1, 3) and grey_as_rgb:
            return "The model has three channels: it sees each grey image three times."
        if (channels, self.channels) == (1, 3):
            raise DataError(
                "The images have 1 channel (grey) and the model takes 3. To show it each image three times, say so: "
                "channels=3 when the data is loaded ('...?channels=3'), or channels=3 to train; or repeat arrays "
                "yourself, numpy.repeat(images[..., None], 3, axis=-1). Or use a checkpoint of grey images."
            )
        raise DataError(
            f"The images have {channels} channels and the model takes {self.channels}. Select the channels that the "
            "model was trained on (for arrays: images[..., [3, 2, 1]]), or use another checkpoint."
        )

    def announce(self, images: Shown) -> None:
        """Checks that images fit, and warns if they are converted."""
        try:
            words = self.conversion(images.channels, grey_as_rgb=images.grey_as_rgb)
        except DataError as error:
            raise DataError(f"{images.spec}: {error}") from error
        if words:
            warnings.warn(f"{images.spec}: {words}", stacklevel=4)

    def geometry(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Where an image is resized to, and what is cropped.

        Args:
            height, width: of the image in pixels.

        Returns:
            (height, width) after resizing, then (top, left) of the crop in it.

        Raises:
            DataError: nothing is resized, and the image is smaller than the crop.
        """
        if self.interpolation == "none":
            resized = height, width
        else:
            wanted_height = math.floor(self.height / self.crop_fraction)
            wanted_width = math.floor(self.width / self.crop_fraction)
            if wanted_height * width >= wanted_width * height:  # the height decides, the width follows
                resized = wanted_height, max(self.width, int(wanted_height * width / height))
            else:
                resized = max(self.height, int(wanted_width * height / width)), wanted_width
        if resized[0] < self.height or resized[1] < self.width:
            raise DataError(
                f"an image of {height} x {width} pixels is smaller than the crop of {self.height} x {self.width}; "
                "name an interpolation to have it resized"
            )
        top = round((resized[0] - self.height) / 2.0)
        left = round((resized[1] - self.width) / 2.0)
        return *resized, top, left

    def __call__(self, image: Image.Image | np.ndarray) -> np.ndarray:
        """8-bit image of any size, (height, width, channels) -> uint8 (height, width, channels of the model)."""
        if isinstance(image, Image.Image) and image.mode == "RGB" and self.channels == 3:
            return self._from_picture(image)
        pixels = self.convert(np.asarray(image))
        if pixels.shape[:2] == (self.height, self.width):
            return pixels
        height, width, top, left = self.geometry(*pixels.shape[:2])
        if (height, width) != pixels.shape[:2]:
            pixels = resized(pixels, (height, width), self.interpolation)
        return pixels[top : top + self.height, left : left + self.width]

    def _from_picture(self, image: Image.Image) -> np.ndarray:
        """The same bytes, without copying a large picture into an array first."""
        if image.size == (self.width, self.height):
            return np.asarray(image)
        height, width, top, left = self.geometry(image.height, image.width)
        if (width, height) != image.size:
            image = image.resize((width, height), FILTERS[self.interpolation])
        return np.asarray(image.crop((left, top, left + self.width, top + self.height)))

    def convert(self, pixels: np.ndarray) -> np.ndarray:
        """Give an image the channels that the model takes (see `conversion`).

        Args:
            pixels: uint8 (height, width) or (height, width, channels).

        Returns:
            uint8 (height, width, channels of the model).

        Raises:
            DataError: the model cannot take such images.
        """
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        if pixels.shape[2] == self.channels:
            return pixels
        self.conversion(pixels.shape[2], grey_as_rgb=True)  # what may be converted is settled where a set is opened
        if self.channels == 1:
            return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
        return np.repeat(pixels, 3, axis=2)

    def nearest(self, values: np.ndarray) -> np.ndarray:
        """Bring a map to the image's size by nearest neighbour, and crop it as the image is.

        Args:
            values: (height, width), of any type.

        Returns:
            (height, width) of the result, of the same type.
        """
        if values.shape == (self.height, self.width):
            return values
        height, width, top, left = self.geometry(*values.shape)
        rows = ((np.arange(height) + 0.5) * values.shape[0] / height).astype(np.int64)
        columns = ((np.arange(width) + 0.5) * values.shape[1] / width).astype(np.int64)
        return values[np.ix_(rows[top : top + self.height], columns[left : left + self.width])]

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scale pixels as the model expects: (pixels / 255 - mean) / std.

        Args:
            pixels: (batch, channels, height, width), from 0 to 255.

        Returns:
            float32 of the same shape.
        """
        import torch

        mean = torch.tensor(self.mean, device=pixels.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, -1, 1, 1)
        return pixels.to(torch.float32, memory_format=torch.contiguous_format).mul_(1 / (255 * std)).sub_(mean / std)


def resized(
    pixels: np.ndarray,
    size: tuple[int, int],
    interpolation: str,
    box: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
    """uint8 (height, width, channels) of any number of channels -> uint8 (*size, channels), by Pillow's filter.

    Args:
        size: (height, width) of the result.
        interpolation: a name in `FILTERS`.
        box: left, top, right, bottom of the part that is resized; None = the whole image.
    """
    across = size[1], size[0]
    if pixels.shape[2] == 3:
        return np.asarray(Image.fromarray(pixels).resize(across, FILTERS[interpolation], box=box))
    bands = [Image.fromarray(np.ascontiguousarray(pixels[..., band])) for band in range(pixels.shape[2])]
    return np.stack([np.asarray(band.resize(across, FILTERS[interpolation], box=box)) for band in bands], axis=-1)
