"""From a file to 8-bit RGB pixels, whatever it holds: RGB, grey, palette, alpha, CMYK, 16 bit.

What is decided here: transparency is laid over white; 16-bit grey is divided by 257 (so that 65535 becomes 255, not
clipped at 255 as a plain conversion does); of an animation the first frame is taken; an EXIF orientation is not
applied, as in torchvision, whose published numbers we want to be comparable with. Fractional (float) and 32-bit
pictures are refused, since their range is not known.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

from probekit.errors import DataError

EXTENSIONS = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jfif",
        ".png",
        ".ppm",
        ".pgm",
        ".pbm",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".webp",
        ".avif",
        ".jp2",
    ]
)
"""File name endings (lower case) that are taken for images."""

BROKEN = (
    OSError,
    UnidentifiedImageError,
    SyntaxError,
    ValueError,
    EOFError,
    RuntimeError,
    Image.DecompressionBombError,
)
"""What Pillow and its decoders raise on broken files."""


def rgb(image: Image.Image, name: str = "image") -> Image.Image:
    """Any 8- or 16-bit picture as mode RGB."""
    if image.mode == "RGB":
        if "transparency" not in image.info:
            return image
        image = image.convert("RGBA")
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.uint16)
        return Image.fromarray(np.round(grey / 257.0).astype(np.uint8)).convert("RGB")
    if image.mode == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(
                f"{name} holds 32-bit integers from {values.min()} to {values.max()}; save it with 8 or 16 bits."
            )
        return Image.fromarray(np.round(values / 257.0).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise DataError(f"{name} holds fractional numbers, whose range is not known; save it with 8 or 16 bits.")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layered).convert("RGB")
    return image.convert("RGB")


def open_rgb(file: str | Path | IO[bytes], name: str = "") -> Image.Image:
    """Decode completely: a truncated file is an error, not an image with a grey rest."""
    name = name or str(file)
    try:
        with Image.open(file) as image:
            image.load()
            return rgb(image, name)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise unreadable(name, "it is no picture of a known format") from error
    except BROKEN as error:
        raise unreadable(name, error) from error


def unreadable(name: str, error: Exception | str) -> DataError:
    """The error for an image that cannot be read."""
    return DataError(
        f"Cannot read the image {name}: {error}. Replace or remove it, or leave unreadable images out "
        "with on_unreadable='skip'."
    )
