"""A plain image given by a user, and what is shown of it: pictures side by side, with a caption each."""

from __future__ import annotations

import abc
import base64
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from probekit.data.bands import is_multiband, open_bands
from probekit.data.decode import alone, open_rgb, rgb
from probekit.errors import DataError, a_kind
from probekit.measures.colours import painted

Pixels = NDArray[np.uint8]

SIDE = 160
"""Small pictures are enlarged by a whole factor until their longer side has so many pixels."""

ACROSS = 6
"""Most pictures in a row."""

GAP, LINE = 6, 18
"""Pixels between pictures, and for a caption."""


class Sheet(abc.ABC):
    """Pictures of one image side by side: `sheet()` as a picture, `save(path)`, and what a notebook shows."""

    @abc.abstractmethod
    def parts(self) -> list[tuple[str, Pixels]]:
        """Captions and pictures, uint8 (height, width, channels), all of one size."""

    def strip(self) -> Image.Image:
        """The pictures side by side under their captions. More than three channels: the first three."""
        parts = [(words, _enlarged(_shown(picture))) for words, picture in self.parts()]
        width, height = parts[0][1].size
        columns = min(len(parts), ACROSS)
        rows = -(-len(parts) // columns)
        size = (columns * (width + GAP) - GAP, rows * (height + LINE + GAP) - GAP)
        sheet, font = Image.new("RGB", size, "white"), ImageFont.load_default(12)
        draw = ImageDraw.Draw(sheet)
        for place, (words, picture) in enumerate(parts):
            left, top = place % columns * (width + GAP), place // columns * (height + LINE + GAP)
            draw.text((left, top + 2), words, fill="black", font=font)
            sheet.paste(picture, (left, top + LINE))
        return sheet

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the strip as a picture; the ending names the format."""
        self.strip().save(path)
        return Path(path)

    def _repr_html_(self) -> str:
        stream = io.BytesIO()
        self.strip().save(stream, format="PNG")
        data = base64.b64encode(stream.getvalue()).decode()
        words = ", ".join(words for words, _ in self.parts())
        return f'<img src="data:image/png;base64,{data}" alt="Side by side: {words}">'


def _shown(picture: Pixels) -> Pixels:
    """Three channels of a picture with any number of them."""
    return picture[..., :3] if picture.shape[-1] >= 3 else np.repeat(picture[..., :1], 3, axis=-1)


def _enlarged(picture: Pixels) -> Image.Image:
    factor = max(1, -(-SIDE // max(picture.shape[:2])))
    return Image.fromarray(np.ascontiguousarray(picture.repeat(factor, 0).repeat(factor, 1)))


def overlaid(image: Pixels, values: NDArray[np.floating[Any]]) -> Pixels:
    """A map over an image: the image in dim grey, the map in colours, bright where it is high.

    Args:
        image: uint8 (height, width, channels).
        values: not negative, (rows, columns) of a grid that divides the image.
    """
    height, width = image.shape[:2]
    where = np.arange(height) * values.shape[0] // height, np.arange(width) * values.shape[1] // width
    grey = _shown(image).mean(axis=-1, keepdims=True)
    return np.asarray(0.4 * grey + 0.6 * painted(values)[np.ix_(*where)], dtype=np.uint8)


def pixels_of(image: Any, channels: int) -> Pixels:
    """uint8 (height, width, channels) from a path, a picture, or an array of pixels.

    Raises:
        DataError: no picture, or numbers that are no pixels.
    """
    if isinstance(image, str | os.PathLike):
        path = Path(image)
        with alone():
            return open_bands(path) if channels != 3 and is_multiband(path) else np.asarray(open_rgb(path))
    if isinstance(image, Image.Image):
        return np.asarray(rgb(image, "the image"))
    values = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else image
    if not isinstance(values, np.ndarray):
        raise DataError(f"The image is {a_kind(image)}. Expected a path, a PIL image, or an array of pixels.")
    if isinstance(image, torch.Tensor) and values.ndim == 3:  # torch's pictures have channels first
        values = values.transpose(1, 2, 0)
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise DataError(
            f"The image has the shape {values.shape}; expected (height, width) or (height, width, channels)."
        )
    if channels == 3 and (values.ndim == 2 or values.shape[2] == 1):
        raise DataError(
            f"The image has one channel (shape {values.shape}) and the model takes 3. To show it three times: "
            "numpy.repeat(image.reshape(height, width, 1), 3, axis=2)."
        )
    if values.dtype == np.uint8:
        return np.asarray(values)
    if not np.issubdtype(values.dtype, np.floating):
        raise DataError(f"The image is of type {values.dtype}; expected uint8, or floats in [0, 1]. Scale it first.")
    low, high = (float(values.min()), float(values.max())) if np.isfinite(values).all() else (float("nan"),) * 2
    if not (low >= 0 and high <= 1):
        raise DataError(
            f"The image holds values from {low:g} to {high:g}, which are no pixels; expected uint8, or floats in "
            "[0, 1], not normalised."
        )
    return np.asarray((values * 255).round().astype(np.uint8))
