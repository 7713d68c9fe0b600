"""What a checkpoint says about itself (`Card`), and what reading it found (`Verdict`).

Both are cheap to make: the sha256 and the scan for all-zero and non-finite weights are done when asked for, once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from probekit.constants import IMAGENET_MEAN, IMAGENET_STD
from probekit.models.mae import MaskedAutoencoder


@dataclass
class Card:
    """The facts of a checkpoint. None = not recorded anywhere.

    `patch_size` is the mask unit in pixels, `vit_patch_size` the ViT's patch in pixels, `image_size` (height, width).
    `epochs` and `images_seen` are of pretraining. `interpolation` and `crop_fraction` say how images are brought to
    `image_size`: the shorter side is resized to size / crop_fraction, then the centre is cropped.
    """

    name: str
    architecture: dict[str, Any]
    vit_patch_size: int
    image_size: tuple[int, int]
    mask_ratio: float | None = None
    patch_size: int | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    normalisation_known: bool = False
    interpolation: str = "bicubic"
    crop_fraction: float = 1.0
    normalised_targets: bool | None = None
    data: str | None = None
    epochs: float | None = None
    images_seen: int | None = None
    seed: int | None = None
    licence: str | None = None
    digest: Callable[[], str] = field(default=lambda: "", repr=False, compare=False)

    @cached_property
    def sha256(self) -> str:
        """Of the file's bytes (a directory's weights), or of the tensors of a module. Computed on first use."""
        return self.digest()


RECORDED = (
    "mask_ratio", "mean", "std", "normalisation_known", "interpolation", "crop_fraction", "normalised_targets",
    "data", "epochs", "images_seen", "seed", "licence",
)  # fmt: skip
"""Fields of a card that tensors do not tell: a format gives them to the card, and a writer writes them."""


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
    """

    def __init__(
        self,
        format: str,
        model: MaskedAutoencoder,
        *,
        missing: Iterable[str] = (),
        left_over: Iterable[str] = (),
        notes: Iterable[str] = (),
        warnings: Iterable[str] = (),
    ) -> None:
        self.format, self.decoder = format, model.has_decoder
        self.missing, self.left_over, self.notes = tuple(missing), tuple(left_over), tuple(notes)
        self._model, self._warnings = model, tuple(warnings)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        return (*self._warnings, *scan(self._model))

    def without(self, beginning: str) -> Verdict:
        """The same verdict less the warnings that begin so: they have been answered."""
        kept = [warning for warning in self._warnings if not warning.startswith(beginning)]
        return Verdict(
            self.format, self._model, missing=self.missing, left_over=self.left_over, notes=self.notes, warnings=kept
        )

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        names = ("missing", "left_over", "notes", "warnings")
        return {"format": self.format, "decoder": self.decoder} | {name: list(getattr(self, name)) for name in names}

    def __repr__(self) -> str:
        return f"Verdict(format={self.format!r}, decoder={self.decoder}, left_over={len(self.left_over)} keys)"


def scan(model: MaskedAutoencoder) -> list[str]:
    """Warnings that need every weight read: non-finite values, and position embeddings that are all zero."""
    state = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    found = []
    broken = [name for name, tensor in state.items() if not _finite(tensor)]
    if broken:
        found.append(
            f"NaN or infinite weights in {len(broken)} of {len(state)} tensors, the first {broken[0]!r}: the training "
            "diverged, or the file was damaged. Every number measured on it will be NaN or meaningless."
        )
    for part in ("encoder", "decoder"):
        table = state.get(f"{part}.pos_embed")
        if table is not None and not table.any():
            found.append(
                f"The position embeddings of the {part} are all zero, so it cannot tell one place from another. "
                "transformers 5.23 builds ViTMAEForPreTraining(config) with zeros in encoder and decoder (4.57: in "
                "the decoder), frozen: a model trained from that never saw positions. If it was trained elsewhere, "
                "they were lost in saving."
            )
    return found


def _finite(tensor: Tensor) -> bool:
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
        total.update(tensor.flatten().view(torch.uint8).numpy())
    return total.hexdigest()
