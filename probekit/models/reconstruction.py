"""Pictures from one plain image: what a masked autoencoder sees of it, and what it makes of that."""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from probekit.data import Preprocess
from probekit.data.bands import is_multiband, open_bands
from probekit.data.decode import open_rgb, rgb
from probekit.errors import DataError
from probekit.masking import sample_hidden
from probekit.models.card import Card
from probekit.models.mae import MaskedAutoencoder
from probekit.models.pixels import patchify, unpatchify

Pixels = NDArray[np.uint8]
GREY = 0.5
"""What hidden patches are filled with, of pixels in [0, 1]."""


@dataclass(frozen=True)
class Reconstruction:
    """Four pictures of one image, uint8 (height, width, channels), and the mask between them.

    Attributes:
        image: as the model gets it, resized and cropped.
        masked: with hidden patches in grey.
        predicted: every patch as the model predicts it.
        pasted: visible patches of the image, hidden ones as predicted.
        hidden: bool (rows, columns), True = hidden.
        mask_ratio: the real ratio of hidden mask units.
        statistics: what undid normalised pixel targets (see `MaskedAutoencoder.reconstruct`).
    """

    image: Pixels = field(repr=False)
    masked: Pixels = field(repr=False)
    predicted: Pixels = field(repr=False)
    pasted: Pixels = field(repr=False)
    hidden: NDArray[np.bool_] = field(repr=False)
    mask_ratio: float
    statistics: str

    def strip(self) -> Image.Image:
        """Image, masked, predicted and pasted side by side, as a picture. More than three channels: the first three."""
        shown = [part[..., :3] if part.shape[-1] >= 3 else part[..., :1] for part in self._parts()]
        wide = np.concatenate(shown, axis=1)
        return Image.fromarray(wide if wide.shape[-1] == 3 else wide[..., 0])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the strip as a picture; the ending names the format."""
        self.strip().save(path)
        return Path(path)

    def _parts(self) -> tuple[Pixels, ...]:
        return self.image, self.masked, self.predicted, self.pasted

    def _repr_html_(self) -> str:
        stream = io.BytesIO()
        self.strip().save(stream, format="PNG")
        data = base64.b64encode(stream.getvalue()).decode()
        return f'<img src="data:image/png;base64,{data}" alt="Image, masked, predicted and pasted side by side">'


def reconstruct(
    model: MaskedAutoencoder,
    card: Card,
    preprocess: Preprocess,
    image: Any,
    mask_ratio: float,
    seed: int,
    statistics: str,
) -> Reconstruction:
    """See `Checkpoint.reconstruct`."""
    pixels = preprocess(_bands(image, model.channels))
    picture = torch.tensor(pixels).permute(2, 0, 1)[None]
    grid, unit = model.grid(*picture.shape[-2:]), card.patch_size
    hidden, ratio = sample_hidden(
        1, grid, mask_ratio=mask_ratio, patch_size=unit if isinstance(unit, int) else model.vit_patch_size,
        vit_patch_size=model.vit_patch_size, generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    with torch.inference_mode():
        images = preprocess.normalise(picture.to(model.device))
        predicted = model.reconstruct(images, hidden, statistics=statistics).cpu()
    plain = picture.float() / 255
    patches, made = (patchify(part, model.vit_patch_size) for part in (plain, predicted))
    where = hidden[..., None]
    grey, pasted = torch.where(where, GREY, patches), torch.where(where, made, patches)
    masked, together = (unpatchify(part, model.vit_patch_size, grid) for part in (grey, pasted))
    return Reconstruction(
        pixels, _eight_bits(masked), _eight_bits(predicted), _eight_bits(together), hidden[0].reshape(grid).numpy(),
        ratio, statistics,
    )  # fmt: skip


def _eight_bits(picture: torch.Tensor) -> Pixels:
    values: Pixels = (picture[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return values


def _bands(image: Any, channels: int) -> Pixels:
    """uint8 (height, width, channels) from a path, a picture, or an array of pixels.

    Raises:
        DataError: no picture, or numbers that are no pixels.
    """
    if isinstance(image, str | os.PathLike):
        path = Path(image)
        return open_bands(path) if channels != 3 and is_multiband(path) else np.asarray(open_rgb(path))
    if isinstance(image, Image.Image):
        return np.asarray(rgb(image, "the image"))
    values = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else image
    if not isinstance(values, np.ndarray):
        raise DataError(f"A {type(image).__name__} is no image. Expected a path, a PIL image, or an array of pixels.")
    if isinstance(image, torch.Tensor) and values.ndim == 3:  # torch's pictures have channels first
        values = values.transpose(1, 2, 0)
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise DataError(
            f"The image has the shape {values.shape}; expected (height, width) or (height, width, channels)."
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
