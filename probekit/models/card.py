"""What a checkpoint says about itself (`Card`), and what reading it found (`Verdict`).

Both are cheap to make: the sha256 and the scan for all-zero and non-finite weights are done when asked for, once.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from probekit.models.card_checks import FACTS, STATED, checked
from probekit.models.contract import TokenModel
from probekit.models.pixels import PixelScale

UNSET: Any = object()


def _nothing() -> str:
    return ""


class _Once:
    """A function without arguments that runs on its first call; copies of a card share the result.

    Attributes:
        given: whether somebody gave the function.
        speaks_of: the sample (`identity.look`) of the weights that it is the digest of; empty = not known yet.
    """

    def __init__(self, make: Callable[[], str]) -> None:
        self.make, self.value, self.speaks_of = make, "", ""
        self.given = make is not _nothing

    def __call__(self) -> str:
        self.value = self.value or self.make()
        return self.value


class _Shared:
    """A field of the card that lives in its `pixels`, which the model shares: the two cannot disagree."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, card: Any, owner: type | None = None) -> Any:
        return UNSET if card is None else getattr(card.pixels, self.name)

    def __set__(self, card: Any, value: Any) -> None:
        if value is not UNSET:
            setattr(card.pixels, self.name, value)


@dataclass
class Card:
    """The facts of a checkpoint. None = not recorded anywhere.

    Attributes:
        name: in results.
        architecture: the model's shape, by name of the setting.
        vit_patch_size: side of the ViT's patch, in pixels.
        image_size: (height, width) in pixels.
        pixels: mean, deviation and targets, shared with the model (`MaskedAutoencoder.pixels`).
        mask_ratio: share of the units that was hidden in pretraining; (low, high) where it varied.
        patch_size: side of the mask unit in pixels; (low, high) where it varied.
        mean, std: of pixels in [0, 1], one number for each channel. Setting one here changes what the model uses.
        normalisation_known: whether the file or the caller told `mean` and `std`.
        interpolation, crop_fraction: how images are brought to `image_size`: the shorter side is resized to size /
            crop_fraction, then the centre is cropped.
        normalised_targets: whether the decoder predicts pixels normalised per patch. Setting it changes the model.
        data, epochs, images_seen, seed: of pretraining.
        licence: of the weights.
        finetuned: how and on what the encoder was fine-tuned after pretraining; None: not known to be.
        finetuned_from: the checkpoint that fine-tuning began with.
        digest: a function without arguments that gives the sha256 of the weights, computed on its first call.

    Raises:
        CheckpointError: a value of the wrong kind, at any time.

    Example:
        >>> card = Card("mine", {}, vit_patch_size=16, image_size=(224, 224), mask_ratio=0.75, seed=0)
        >>> card.mask_ratio, card.patch_size is None
        (0.75, True)
    """

    name: str
    architecture: dict[str, Any]
    vit_patch_size: int
    image_size: tuple[int, int]
    pixels: PixelScale = field(default_factory=PixelScale, repr=False, compare=False, kw_only=True)
    mask_ratio: float | tuple[float, float] | None = None
    patch_size: int | tuple[int, int] | None = None
    mean: Any = _Shared()
    std: Any = _Shared()
    normalisation_known: bool = False
    interpolation: str = "bicubic"
    crop_fraction: float = 1.0
    normalised_targets: Any = _Shared()
    data: str | None = None
    epochs: float | None = None
    images_seen: int | None = None
    seed: int | None = None
    licence: str | None = None
    finetuned: str | None = None
    finetuned_from: str | None = None
    digest: Any = field(default=_nothing, repr=False, compare=False)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "digest" and not isinstance(value, _Once):
            value = _Once(value or _nothing)
        if name in FACTS and value is not UNSET:
            value = checked(name, value)
        object.__setattr__(self, name, value)

    @property
    def channels(self) -> int:
        """Number of channels of the images."""
        return len(self.mean)

    @property
    def sha256(self) -> str:
        """Of the file's bytes (a directory's weights), or of the tensors of a module. Computed on first use."""
        return str(self.digest())

    def recorded(self) -> dict[str, Any]:
        """The facts that tensors do not tell, as JSON takes them."""
        facts = {name: getattr(self, name) for name in STATED}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in facts.items()}


class CheckpointWarning(UserWarning):
    """Something about a checkpoint was guessed or assumed, and numbers depend on it."""


class Verdict:
    """What was found on reading.

    Attributes:
        format: name of the format that was recognised.
        decoder: whether a decoder was found.
        missing: keys that were expected and absent. A key without which the model would be half-loaded raises instead,
            so these are only such as a format may lack (the key biases of BEiT-like attention).
        left_over: keys of the checkpoint that no part of the model takes (heads, other networks, running statistics).
        notes: how what is not stored was settled (heads of a known variant, assumed epsilon).
        warnings: what a user should know before trusting numbers; made on first use, since it reads every weight.
        taken: the name of the network that was read, where the file has names for it.
        networks: the names of the other networks in the file; `load(key=)` reads one of them.

    Example:
        >>> verdict = probekit.load("shipped:untrained-s0", device="cpu").verdict
        >>> verdict.format, verdict.decoder
        ('transformers ViTMAE', True)
    """

    def __init__(
        self,
        format: str,
        model: TokenModel,
        *,
        missing: Iterable[str] = (),
        left_over: Iterable[str] = (),
        notes: Iterable[str] = (),
        warnings: Iterable[str] = (),
        taken: str = "",
        networks: Iterable[str] = (),
    ) -> None:
        self.format, self.decoder = format, bool(getattr(model, "has_decoder", False))
        self.missing, self.left_over, self.notes = tuple(missing), tuple(left_over), tuple(notes)
        self.taken, self.networks = taken, tuple(networks)
        self._model, self._warnings = model, tuple(warnings)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        return (*self._warnings, *scan(self._model))

    @property
    def known_warnings(self) -> tuple[str, ...]:
        """The warnings that are known without reading every weight."""
        return (*self._warnings, *blind(self._model))

    def without(self, beginning: str) -> Verdict:
        """A copy without the warnings that start with `beginning`."""
        kept = [text for text in self._warnings if not text.startswith(beginning)]
        return Verdict(
            self.format, self._model, missing=self.missing, left_over=self.left_over, notes=self.notes, warnings=kept,
            taken=self.taken, networks=self.networks,
        )  # fmt: skip

    def warn(self) -> None:
        """Emit as Python warnings what can change numbers and is known without reading every weight."""
        for text in self.known_warnings:
            warnings.warn(text, CheckpointWarning, stacklevel=3)

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        names = ("missing", "left_over", "notes", "warnings", "networks")
        return {"format": self.format, "decoder": self.decoder} | {name: list(getattr(self, name)) for name in names}

    def __repr__(self) -> str:
        return f"Verdict(format={self.format!r}, decoder={self.decoder}, left_over={len(self.left_over)} keys)"


def scan(model: TokenModel) -> list[str]:
    """Warnings that need every weight read: non-finite values, and position embeddings that are all zero."""
    state = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    found = []
    broken = [name for name, tensor in state.items() if not _all_finite(tensor)]
    if broken:
        found.append(
            f"NaN or infinite weights in {len(broken)} of {len(state)} tensors, the first {broken[0]!r}: the training "
            "diverged, or the file was damaged. Every number measured on it will be NaN or meaningless."
        )
    return found + blind(model)


def blind(model: TokenModel) -> list[str]:
    """Warnings of position embeddings that are all zero."""
    found = []
    for part in ("encoder", "decoder"):
        table = getattr(getattr(model, part, None), "pos_embed", None)
        if isinstance(table, Tensor) and not table.any():
            found.append(
                f"The position embeddings of the {part} are all zero, so it cannot tell one place from another. "
                "transformers 5.23 builds ViTMAEForPreTraining(config) with zeros in encoder and decoder (4.57: in "
                "the decoder), frozen: a model trained from that never saw positions. If it was trained elsewhere, "
                "they were lost in saving."
            )
    return found


def _all_finite(tensor: Tensor) -> bool:
    """Whether all values are finite. A finite sum proves it in one cheap read; otherwise each value is looked at."""
    return bool(torch.isfinite(tensor.detach().sum())) or bool(torch.isfinite(tensor).all())


def file_digest(paths: Iterable[Path]) -> str:
    """sha256 of the bytes of one file, or of several in the order given."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                total.update(chunk)
    return total.hexdigest()


def tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes of tensors, in the order of names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        values: Any = tensor.flatten().view(torch.uint8).numpy()
        total.update(values)
    return total.hexdigest()
