"""Pictures from one plain image: what a masked autoencoder sees of it, and what it makes of that."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from probekit.data import Preprocess
from probekit.masking import sample_hidden
from probekit.models.card import Card
from probekit.models.mae import MaskedAutoencoder
from probekit.models.pixels import patchify, unpatchify
from probekit.models.sheets import Pixels, Sheet, pixels_of

GREY = 0.5
"""What hidden patches are filled with, of pixels in [0, 1]."""


@dataclass(frozen=True)
class Reconstruction(Sheet):
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

    def parts(self) -> list[tuple[str, Pixels]]:
        """Image, masked, predicted and pasted."""
        hidden = f"masked, {self.mask_ratio:.0%}"
        return [("image", self.image), (hidden, self.masked), ("predicted", self.predicted), ("pasted", self.pasted)]


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
    pixels = preprocess(pixels_of(image, model.channels))
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
