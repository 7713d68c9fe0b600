"""A checkpoint in memory: the model, what is known about it, and what reading it found."""

from __future__ import annotations

import copy
import html
import os
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike

from probekit.checks import a_path
from probekit.data import Preprocess
from probekit.errors import CheckpointError
from probekit.models import gaze, identity, writing
from probekit.models.attribution import Attribution, attribution
from probekit.models.card import Card, CheckpointWarning, Verdict, tensor_digest
from probekit.models.contract import TokenModel
from probekit.models.mae import MaskedAutoencoder
from probekit.models.pixels import PixelScale
from probekit.models.reconstruction import Reconstruction, reconstruct


@dataclass(repr=False)
class Checkpoint:
    """What `load` returns.

    Attributes:
        model: in eval mode.
        card: what the checkpoint says about itself. Its `mean`, `std` and `normalised_targets` are the model's own.
        verdict: what was found on reading.
        source: where it came from: the path, hub id or name that was given, or a module's class.

    Raises:
        CheckpointError: card and model disagree on how pixels are scaled.

    Example:
        >>> checkpoint = probekit.load("shipped:quadtree-r0.75-p4-s0")
        >>> checkpoint.card.mask_ratio, checkpoint.card.patch_size, checkpoint.verdict.decoder
        (0.75, 4, True)
    """

    model: TokenModel
    card: Card
    verdict: Verdict
    source: str

    def __post_init__(self) -> None:
        shared = getattr(self.model, "pixels", None)
        if isinstance(shared, PixelScale) and self.card.pixels is not shared:
            if not shared.same(self.card.pixels):
                raise CheckpointError(f"The card says {self.card.pixels}, the model uses {shared}. Give both the same.")
            self.card = copy.copy(self.card)
            self.card.pixels = shared
        if not self.card.digest.given:
            self.card.digest = partial(digest_of, self.model)
        found = identity.look(self.model)
        self.card.digest.speaks_of = self.card.digest.speaks_of or found.sample
        self._changes = found.changes

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _changes=identity.look(state["model"]).changes)

    def look_again(self) -> None:
        """Warn if the weights changed since they were read, and use their own digest from then on.

        Called wherever an open checkpoint is measured or trained on.
        """
        if not self.model.state_dict():  # a function: what it computes may have changed
            self.card = copy.copy(self.card)
            self.card.digest = self.card.digest.make
            return
        now, changes = identity.look(self.model)
        if now == self.card.digest.speaks_of and changes == self._changes:
            return
        warnings.warn(
            f"{self.name}: its weights are no longer those of {self.source}. They are used as they are now, and "
            "known by their own digest.",
            CheckpointWarning,
            stacklevel=4,
        )
        self.card = copy.copy(self.card)
        self.card.digest = partial(digest_of, self.model)
        self.card.digest.speaks_of, self._changes = now, changes

    @property
    def name(self) -> str:
        """What tables and charts call it; from the card."""
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
        target = a_path("directory", directory, "the directory to write", error=CheckpointError)
        return writing.write(self.model, self.card, target, format=format, dtype=dtype, card_text=card_text)

    def reconstruct(
        self, image: Any, mask_ratio: float = 0.75, seed: int = 0, *, statistics: str = "image"
    ) -> Reconstruction:
        """Mask a plain image, and show what the model makes of the rest.

        Args:
            image: a path, a PIL image, or pixels: an array (height, width) or (height, width, channels), uint8 or
                floats in [0, 1]; a torch tensor has channels first. It is resized and cropped as the card says.
            mask_ratio: share of mask units to hide, in (0, 1). Units are those of training, where they are known.
            seed: of the mask.
            statistics: where the scale of patches comes from if targets are normalised: "image", "neighbours", or
                "target", which leaks the answer.

        Returns:
            `Reconstruction`: pictures `image`, `masked`, `predicted` and `pasted`, the mask, and `strip()`.

        Raises:
            CheckpointError: there is no decoder.
            DataError: the image cannot be read, or its values are no pixels.
            MaskError: a ratio that hides everything or nothing.

        Example:
            >>> probekit.load("facebook/vit-mae-base").reconstruct("cat.jpg").save("cat.png")  # doctest: +SKIP
        """
        if not isinstance(self.model, MaskedAutoencoder) or self.model.decoder is None:
            raise CheckpointError(
                f"{self.name} has no decoder, so it cannot reconstruct. Load a file that holds one (for MAE: "
                "*_full, or mae_visualize_*)."
            )
        return reconstruct(self.model, self.card, self.preprocess, image, mask_ratio, seed, statistics)

    def attention(
        self,
        image: Any,
        layer: int = -1,
        *,
        head: int | None = None,
        query: str | tuple[int, int] | None = None,
    ) -> gaze.Attention:
        """Show where a token looks in a plain image.

        Args:
            image: as in `reconstruct`.
            layer: 1 to depth, or negative from the last.
            head: show this head alone, from 0; None for the mean over heads, and each beside it.
            query: who looks: "cls", "mean" (over all patches), or a patch (row, column); None for "cls" where there is
                one, else "mean".

        Returns:
            `Attention`: `heads` (heads, rows, columns), their `mean`, and the pictures, which a notebook shows;
            `strip()` gives them as a PIL image, `save(path)` writes them.

        Raises:
            CheckpointError: the encoder gives no attention.
            DataError: the image cannot be read, or its values are no pixels.
            ProbekitError: a layer, head or query that there is not.

        Example:
            >>> probekit.load("facebook/vit-mae-base").attention("cat.jpg").save("gaze.png")  # doctest: +SKIP
        """
        return gaze.attention(self.model, self.preprocess, image, name=self.name, layer=layer, head=head, query=query)

    def attribution(
        self, image: Any, direction: ArrayLike | None = None, *, pooling: str | None = None, steps: int = 64
    ) -> Attribution:
        """Show which pixels of a plain image a number made of its features depends on (integrated gradients, captum).

        Args:
            image: as in `reconstruct`.
            direction: (width,), e.g. the weights of one class of a linear head: the number is features times direction.
                None: the cosine of the features with those of the whole image, so that the values say which pixels
                take the features from those of a blank picture to those of this image.
            pooling: "cls", "mean" or "native"; None for "cls" where there is one, else "mean".
            steps: points on the path from the mean colour to the image, a forward and a backward pass each.

        Returns:
            `Attribution`: `values` (height, width), `patches` (rows, columns), the score, its error, and the pictures.

        Raises:
            CheckpointError: the encoder's features have no gradient.
            DataError: the image cannot be read, or its values are no pixels.
            ProbekitError: a direction of the wrong length, an unknown pooling.

        Example:
            >>> head = sklearn.linear_model.LogisticRegression().fit(features, labels)  # doctest: +SKIP
            >>> checkpoint.attribution("cat.jpg", head.coef_[3], pooling="mean")  # doctest: +SKIP
        """
        return attribution(
            self.model, self.preprocess, image, name=self.name, direction=direction, pooling=pooling, steps=steps
        )

    def __repr__(self) -> str:
        """Architecture, masking and warnings, a line each. Weights are not read for it."""
        return f"Checkpoint {self.name}\n" + "\n".join(f"  {line}" for line in self._lines())

    def _repr_html_(self) -> str:
        lines = "<br>".join(html.escape(line) for line in self._lines())
        return f"<b>Checkpoint {html.escape(self.name)}</b><br>{lines}"

    def _lines(self) -> tuple[str, str, str]:
        card, model, built = self.card, self.model, self.card.architecture
        height, width = card.image_size
        decoder = built.get("decoder")
        parts = [f"width {model.width}, depth {model.depth}", f"{model.num_heads} heads"]
        parts.append(f"decoder {decoder['width']} x {decoder['depth']}" if decoder else "no decoder")
        parts.append(f"{height} x {width} x {card.channels} pixels in patches of {card.vit_patch_size}")
        targets = {True: "normalised", False: "plain", None: "unknown"}[card.normalised_targets]
        unknown = "unknown"
        ratio = unknown if card.mask_ratio is None else _span(card.mask_ratio)
        unit = unknown if card.patch_size is None else f"{_span(card.patch_size)} pixels"
        masking = f"masking: ratio {ratio}, unit {unit}" + (f", {targets} pixel targets" if decoder else "")
        known = self.verdict.known_warnings
        first = f": {known[0].partition(':')[0].partition('. ')[0]}" if known else ""
        return ", ".join(parts), masking, f"warnings: {len(known) or 'none'}{first}"


def _span(value: Any) -> str:
    """A number, or (low, high)."""
    return f"{value[0]} to {value[1]}" if isinstance(value, tuple) else f"{value}"


def digest_of(model: TokenModel) -> str:
    """sha256 of a model's tensors."""
    return tensor_digest(model.state_dict())
