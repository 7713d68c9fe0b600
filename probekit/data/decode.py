"""From a file to 8-bit RGB pixels, whatever it holds: RGB, grey, palette, alpha, CMYK, 16 bit.

Decisions: transparency is laid over white; 16-bit grey is divided by 257 (65535 becomes 255; a plain conversion clips
at 255); of an animation the first frame is taken; an EXIF orientation is applied unless switched off (`?exif=off`, as
torchvision's loaders do). Fractional and 32-bit pictures are refused, since their range is unknown. Only regular files
are opened: a pipe or device would block. Pictures above `MAX_PIXELS` are refused before they are decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import PIL
from PIL import Image, ImageOps, UnidentifiedImageError, features

from probekit import files
from probekit.errors import DataError, ProbekitError

EXTENSIONS = frozenset(
    [".jpg", ".jpeg", ".jfif", ".png", ".ppm", ".pgm", ".pbm", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif",
     ".jp2"]
)  # fmt: skip
"""File name endings (lower case) that are taken for images."""

MAX_PIXELS = 2**27
"""Largest picture that is decoded, in pixels of 8 bits (134 million); pixels of 16 bits count twice, of 32 bits four
times."""

ORIENTATION = 0x0112
"""EXIF tag of how the camera was held; 1 = upright."""

BROKEN = (
    OSError,
    UnidentifiedImageError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    RuntimeError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow and its decoders raise on broken files."""


def rgb(image: Image.Image, name: str = "image") -> Image.Image:
    """Any 8- or 16-bit picture as mode RGB."""
    if image.mode == "RGB":
        if "transparency" not in image.info:
            return image
        image = image.convert("RGBA")
    if image.mode.startswith("I;16"):
        return Image.fromarray(eight_bits(np.asarray(image).astype(np.uint16))).convert("RGB")
    if image.mode == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(
                f"{name} holds 32-bit integers from {values.min()} to {values.max()}; save it with 8 or 16 bits."
            )
        return Image.fromarray(eight_bits(values)).convert("RGB")
    if image.mode == "F":
        raise DataError(f"{name} holds fractional numbers, whose range is not known; save it with 8 or 16 bits.")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layered).convert("RGB")
    return image.convert("RGB")


def eight_bits(values: np.ndarray) -> np.ndarray:
    """Whole numbers from 0 to 65535 -> uint8, v / 257 rounded to the nearest."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def open_rgb(file: str | Path | IO[bytes], name: str = "", *, exif: bool = True, draft: int = 0) -> Image.Image:
    """Decodes a picture completely: a truncated file is an error, not a picture with a grey rest.

    Args:
        file: a path, or an open file.
        name: for messages; default: the path.
        exif: apply the EXIF orientation.
        draft: decode a JPEG at 1/2, 1/4 or 1/8 of its size, as long as its shorter side keeps this many pixels; 0 = at
            its own size.

    Raises:
        DataError: the file is no regular file, no picture, damaged, too large, or holds values of unknown range.
    """
    name = name or str(file)
    if isinstance(file, str | Path):
        check_regular(file, name)
    try:
        with Image.open(file) as image:
            check_size(image, name)
            if draft:
                scale = draft / min(image.size)
                image.draft(None, (max(1, round(image.width * scale)), max(1, round(image.height * scale))))
            image.load()
            turned = exif and image.getexif().get(ORIENTATION, 1) != 1
            return rgb(ImageOps.exif_transpose(image) if turned else image, name)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise unreadable(name, "it is no picture of a known format") from error
    except BROKEN as error:
        raise unreadable(name, error) from error


def check_regular(path: str | Path, name: str) -> None:
    """Raise a DataError if the path exists but is not a regular file: reading a pipe would block."""
    try:
        files.regular(path, what="an image", error=DataError)
    except ProbekitError as error:
        raise unreadable(name, error) from error


def check_size(image: Image.Image, name: str) -> None:
    """A DataError if decoding would take too much memory."""
    depth = {"I": 4, "F": 4}.get(image.mode, 2 if image.mode.startswith("I;16") else 1)
    if image.width * image.height * depth > MAX_PIXELS:
        raise unreadable(
            name,
            f"it has {image.width} x {image.height} pixels of {8 * depth} bits, more than {MAX_PIXELS // depth:,} "
            "are not decoded; reduce it",
        )


OF_A_SET = "Replace or remove it, or leave unreadable images out with on_unreadable='skip'."
"""What to do about an unreadable image of a set."""


def unreadable(name: str, error: Exception | str) -> DataError:
    """The error for an image of a set that cannot be read."""
    reason = str(error).removesuffix(".")
    return DataError(f"Cannot read the image {name}: {reason}. {OF_A_SET}")


@contextmanager
def alone() -> Iterator[None]:
    """For one picture that is of no set: its errors name another way out."""
    try:
        yield
    except DataError as error:
        raise DataError(str(error).replace(OF_A_SET, "Give the path of another picture.")) from error


def decoder_versions() -> dict[str, str]:
    """Versions of what decodes and resizes: with the same ones, the same file gives the same bytes."""
    return {"pillow": PIL.__version__, "jpeg": str(features.version("jpg")), "zlib": str(features.version("zlib"))}
