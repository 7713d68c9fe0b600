"""From a decoded image to what a checkpoint's card asks for: resize, centre crop, normalise.

The geometry is torchvision's (`Resize` of the shorter side, then `CenterCrop`, both with its rounding) on 8-bit pixels
with Pillow's antialiased filters, since published numbers were made that way: the bytes are the same. (Pillow could
resize and crop in one call, but takes the crop's corners in single precision, and some bytes would differ by one.)
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from probekit import cache
from probekit.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import torch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "none": None,
}


@dataclass(frozen=True)
class Preprocess:
    """What happens to an image between the decoder and the model.

    The shorter side is resized to floor(size / crop_fraction) (for a target that is not square: until both sides cover
    it), then the centre is cropped to (height, width). An image that already has that size is left untouched.

    Args:
        height, width: of the result, in pixels.
        mean, std: per channel, of pixels in [0, 1].
        interpolation: "bicubic", "bilinear", "nearest", "lanczos", "box", or "none" (crop only; an image smaller than
            the crop is then a DataError).
        crop_fraction: share of the resized shorter side that the crop keeps, in (0, 1]; 0.875 is 224 out of 256.
    """

    height: int
    width: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bicubic"
    crop_fraction: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        if min(self.height, self.width) < 1:
            raise DataError(f"Images of {self.height} x {self.width} pixels were asked for; both must be at least 1.")
        if self.interpolation not in FILTERS:
            raise DataError(
                f"Unknown interpolation {self.interpolation!r}. {did_you_mean(self.interpolation, FILTERS)}"
            )
        if not 0 < self.crop_fraction <= 1:
            raise DataError(f"crop_fraction is {self.crop_fraction}; it must lie in (0, 1].")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise DataError(f"mean {self.mean} and std {self.std} must be three numbers each, and std positive.")

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

    def geometry(self, height: int, width: int) -> tuple[int, int, int, int]:
        """(height, width) after resizing an image of this size, and (top, left) of the crop in it."""
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
        """8-bit RGB image of any size -> uint8 (height, width, 3)."""
        if isinstance(image, np.ndarray):
            if image.shape[:2] == (self.height, self.width):
                return image
            image = Image.fromarray(image)
        if image.size == (self.width, self.height):
            return np.asarray(image)
        height, width, top, left = self.geometry(image.height, image.width)
        if (width, height) != image.size:
            image = image.resize((width, height), FILTERS[self.interpolation])
        return np.asarray(image.crop((left, top, left + self.width, top + self.height)))

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (batch, 3, height, width) -> float32 of the same shape, (pixels / 255 - mean) / std."""
        import torch

        mean = torch.tensor(self.mean, device=pixels.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, 3, 1, 1)
        return pixels.to(torch.float32, memory_format=torch.contiguous_format).mul_(1 / (255 * std)).sub_(mean / std)
