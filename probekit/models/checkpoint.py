"""A checkpoint in memory: the model, what is known about it, and what reading it found."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from probekit.data import Preprocess
from probekit.errors import CheckpointError
from probekit.models import writing
from probekit.models.card import Card, Verdict
from probekit.models.contract import TokenModel
from probekit.models.mae import MaskedAutoencoder
from probekit.models.pixels import PixelScale


@dataclass
class Checkpoint:
    """What `load` returns.

    Attributes:
        model: in eval mode.
        card: what the checkpoint says about itself. Its `mean`, `std` and `normalised_targets` are the model's own.
        verdict: what was found on reading.
        source: where it came from: the path, hub id or name that was given, or a module's class.

    Raises:
        CheckpointError: card and model disagree on how pixels are scaled.
    """

    model: TokenModel
    card: Card
    verdict: Verdict
    source: str

    def __post_init__(self) -> None:
        shared = getattr(self.model, "pixels", None)
        if not isinstance(shared, PixelScale) or self.card.pixels is shared:
            return
        if not shared.same(self.card.pixels):
            raise CheckpointError(f"The card says {self.card.pixels}, the model uses {shared}. Give both the same.")
        self.card = copy.copy(self.card)
        self.card.pixels = shared

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def preprocess(self) -> Preprocess:
        """How images are brought to this model."""
        card = self.card
        height, width = card.image_size
        return Preprocess(
            height, width, card.mean, card.std, interpolation=card.interpolation, crop_fraction=card.crop_fraction
        )

    def save(
        self,
        directory: str | os.PathLike[str],
        *,
        format: str = "transformers",
        dtype: torch.dtype | None = None,
        card_text: str = "",
    ) -> Path:
        """Write a directory, whole or not at all; one that holds a checkpoint and nothing else is replaced.

        Args:
            directory: gets `config.json`, `model.safetensors`, `README.md` (the card), and for transformers
                `preprocessor_config.json`.
            format: `transformers` is read by `transformers.ViTMAEForPreTraining.from_pretrained`; `probekit` holds any
                model of this class (registers, `fc_norm`, no [CLS], images that are not square).
            dtype: of the stored weights; None keeps float32. Loading computes in float32 in any case.
            card_text: Markdown for the card, after the facts.

        Returns:
            The directory.

        Raises:
            CheckpointError: the format cannot hold the model (it says what, and names `format="probekit"`), or the
                directory holds other things.

        Example:
            >>> probekit.load("mae.pth").save("mae", dtype=torch.float16)  # doctest: +SKIP
        """
        if not isinstance(self.model, MaskedAutoencoder):
            raise CheckpointError(
                f"{self.name} is an encoder of another kind ({type(self.model).__name__}) and cannot be saved "
                "here. Save it with its own library, which `load` reads."
            )
        return writing.write(self.model, self.card, Path(directory), format=format, dtype=dtype, card_text=card_text)
