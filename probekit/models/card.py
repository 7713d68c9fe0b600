"""What a checkpoint says about itself (`Card`), and what reading it found (`Verdict`).

Both are cheap to make: the sha256 and the scan for all-zero and non-finite weights are done when asked for, once.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from probekit.data.preprocess import FILTERS
from probekit.errors import CheckpointError
from probekit.models.contract import TokenModel
from probekit.models.pixels import PixelScale


class Fact(NamedTuple):
    """One field of a card: what a value must be, how to test it, and the form in which it is kept."""

    expected: str
    accepts: Callable[[Any], bool]
    keep: Callable[[Any], Any] = lambda value: value


def _finite(value: Any, low: float = -math.inf) -> bool:
    """Whether a value is a finite number of at least `low`; a bool is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= low


def _whole(value: Any, low: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value < 2**63


def _positive(value: Any) -> bool:
    return _whole(value, 1)


def _ratio(value: Any) -> bool:
    return _finite(value, 0) and value < 1


def _pair_or_one(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """One value, or (low, high)."""
    return lambda value: (
        (len(value) == 2 and all(map(test, value)) and value[0] <= value[1])
        if isinstance(value, list | tuple)
        else test(value)
    )


def _numbers(low: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and len(value) > 0 and all(_finite(x, low) for x in value)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


def _floats(value: Any) -> tuple[float, ...]:
    return tuple(float(x) for x in value)


def _printable(value: str) -> str:
    """Text without control characters, at most 1,000 characters."""
    return "".join(character if character.isprintable() else " " for character in value[:1000])


TEXT = Fact("text", lambda value: isinstance(value, str), _printable)
FACTS = {
    "name": TEXT,
    "architecture": Fact("a dict", lambda value: isinstance(value, dict)),
    "vit_patch_size": Fact("a whole number above 0", _positive),
    "image_size": Fact("(height, width) in pixels", lambda v: len(v) == 2 and all(map(_positive, v)), tuple),
    "mask_ratio": Fact("a number from 0 to 1, below 1, or (low, high)", _pair_or_one(_ratio), _tuple),
    "patch_size": Fact("a whole number of pixels above 0, or (low, high)", _pair_or_one(_positive), _tuple),
    "mean": Fact("finite numbers, one for each channel", _numbers(-math.inf), _floats),
    "std": Fact("numbers above 0, one for each channel", _numbers(math.nextafter(0, 1)), _floats),
    "normalisation_known": Fact("true or false", lambda value: isinstance(value, bool)),
    "interpolation": Fact(f"one of {', '.join(FILTERS)}", lambda value: isinstance(value, str) and value in FILTERS),
    "crop_fraction": Fact("a number above 0 and at most 1", lambda v: _finite(v, 0) and 0 < v <= 1, float),
    "normalised_targets": Fact("true or false", lambda value: isinstance(value, bool)),
    "data": TEXT,
    "epochs": Fact("a number of at least 0", lambda value: _finite(value, 0)),
    "images_seen": Fact("a whole number of at least 0", _whole),
    "seed": Fact("a whole number", lambda value: _whole(value, -(2**63))),
    "licence": TEXT,
    "finetuned": TEXT,
    "finetuned_from": TEXT,
}  # fmt: skip
"""Every fact of a card, checked here wherever it comes from: a file, a caller, or code."""

RECORDED = (
    "mask_ratio", "mean", "std", "normalisation_known", "interpolation", "crop_fraction", "normalised_targets",
    "data", "epochs", "images_seen", "seed", "licence", "finetuned", "finetuned_from",
)  # fmt: skip
"""Fields of a card that tensors do not tell: a format gives them to the card, and a writer writes them."""

STATED = (*RECORDED, "patch_size", "name")
"""All that a file or a caller may state of a card."""


def acceptable(name: str, value: Any) -> bool:
    """Whether a value may stand in this field of a card; None (not recorded) may."""
    try:
        return value is None or FACTS[name].accepts(value)
    except (TypeError, ValueError, OverflowError):
        return False


def checked(name: str, value: Any, label: str = "The card") -> Any:
    """The value as a card keeps it.

    Raises:
        CheckpointError: the value is of the wrong kind; the message names the field and what was expected.
    """
    if not acceptable(name, value):
        shown = repr(value)
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        raise CheckpointError(f"{label}: {name} is {shown}; expected {FACTS[name].expected}. Correct it.")
    return value if value is None else FACTS[name].keep(value)


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

    `patch_size` is the mask unit in pixels, `vit_patch_size` the ViT's patch in pixels, `image_size` (height, width).
    `mask_ratio` and `patch_size` are (low, high) where they varied in training. `epochs`, `images_seen`, `data` and
    `seed` are of pretraining; `finetuned` says how and on what the encoder was fine-tuned after it (None: not known to
    be), `finetuned_from` which checkpoint that began with. `interpolation` and `crop_fraction` say how images are
    brought to `image_size`: the shorter side is resized to size / crop_fraction, then the centre is cropped. `mean`,
    `std` and `normalised_targets` are the model's own (`MaskedAutoencoder.pixels`): setting one here changes what the
    model uses.

    Raises:
        CheckpointError: a value of the wrong kind, at any time.
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
