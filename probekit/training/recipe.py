"""The settings that all kinds of runs share, how they are read, and their checks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, TypeVar, get_type_hints

import torch

from probekit.errors import TrainingError, did_you_mean
from probekit.training.values import as_declared

PRECISIONS = ("auto", "float32", "tf32", "bfloat16", "float16")
WIDE = 512
"""Width from which bfloat16 is worth its casts."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings that any run has; what a run is a function of is this and what a subclass adds.

    Attributes:
        data, data_fingerprint: the image set's specification or name, and what identifies its content.
        images: training images in all, with repetition; the steps are `images / batch_size`, rounded.
        seed: of everything random.
        preset: the name of the defaults.
        batch_size: images per optimizer step, over all processes and accumulated micro-batches.
        accumulate: micro-batches that one process splits its share of a batch into.
        base_lr: learning rate at 256 images per step; the real one is `base_lr * batch_size / 256`.
        warmup: share of the steps over which the rate rises from 0; after it a half cosine.
        weight_decay: of matrices.
        betas: of AdamW.
        precision: "float32", "tf32" (products of ten-bit mantissas, on a GPU only), or the type of autocast, "bfloat16"
            or "float16"; "auto" follows `choose_precision`.
    """

    data: str
    data_fingerprint: str
    images: int
    seed: int
    preset: str
    batch_size: int
    base_lr: float
    accumulate: int = 1
    warmup: float = 0.05
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    precision: str = "auto"

    not_compared: ClassVar[tuple[str, ...]] = (
        "data", "data_fingerprint", "init", "init_sha256", "init_tensors", "preset", "seed",
    )  # fmt: skip

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return max(1, round(self.images / self.batch_size))

    @property
    def learning_rate(self) -> float:
        """The highest learning rate of the schedule."""
        return self.base_lr * self.batch_size / 256

    def record(self) -> dict[str, Any]:
        """The settings as plain JSON values, to be stored and compared."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def options(self) -> str:
        """The settings that two numbers must agree in to stand side by side, as JSON: all but `not_compared`."""
        return json.dumps({name: value for name, value in self.record().items() if name not in self.not_compared})


Kind = TypeVar("Kind", bound=Recipe)


def resolved(
    kind: type[Kind],
    function: str,
    presets: Mapping[str, Mapping[str, Any]],
    preset: Any,
    overrides: Mapping[str, Any],
    known: Mapping[str, Any],
) -> Kind:
    """Settings of a kind from a preset, with overrides, each of the type that its field declares; not checked further.

    Args:
        kind: a subclass of `Recipe`.
        function: whose settings they are, for messages.
        presets: name -> fields.
        preset: a name among them.
        overrides: any field; None means "as the preset has it".
        known: the fields that a preset does not give.

    Raises:
        TrainingError: an unknown preset or field, or a value of another type.
    """
    if not isinstance(preset, str) or preset not in presets:
        raise TrainingError(f"No preset is called {preset!r}. {did_you_mean(str(preset), presets)}")
    kinds = get_type_hints(kind)
    for name in overrides:
        if name not in kinds:
            raise TrainingError(f"{function}() has no setting {name!r}. {did_you_mean(name, kinds)}")
    given = {name: value for name, value in overrides.items() if value is not None}
    values = {**presets[preset], **given, **known, "preset": preset}
    if "image_size" in values and not isinstance(values["image_size"], tuple | list):
        values["image_size"] = (values["image_size"],) * 2
    return kind(**{name: as_declared(name, value, kinds[name]) for name, value in values.items()})


def check(recipe: Recipe) -> None:
    """Raise for what no run can have.

    Raises:
        TrainingError: numbers out of their range, NaN included, or sizes that do not fit one another.
    """
    check_counts(recipe, ("images", "batch_size", "accumulate"))
    if recipe.images < recipe.batch_size:
        raise TrainingError(
            f"images={recipe.images} is less than one batch (batch_size={recipe.batch_size}). Train on more "
            "images, or with a smaller batch_size."
        )
    if recipe.batch_size % recipe.accumulate:
        raise TrainingError(
            f"batch_size={recipe.batch_size} does not divide into accumulate={recipe.accumulate} equal parts. "
            f"Expected a multiple of {recipe.accumulate}."
        )
    if recipe.precision not in PRECISIONS:
        raise TrainingError(f"precision={recipe.precision!r}. {did_you_mean(recipe.precision, PRECISIONS)}")
    check_ranges(recipe, {
        "base_lr": ("a finite number above 0", 0 < recipe.base_lr < math.inf),
        "weight_decay": ("a finite number, 0 or more", 0 <= recipe.weight_decay < math.inf),
        "betas": ("numbers in [0, 1)", all(0 <= beta < 1 for beta in recipe.betas)),
        "warmup": ("a share of training in [0, 1)", 0 <= recipe.warmup < 1),
        "seed": ("a number from 0 to 2^63 - 1", 0 <= recipe.seed < 2**63),
    })  # fmt: skip


def check_counts(recipe: Recipe, names: tuple[str, ...]) -> None:
    """Raise for a count below 1."""
    for name in names:
        if getattr(recipe, name) < 1:
            raise TrainingError(f"{name}={getattr(recipe, name)}: expected at least 1.")


def check_ranges(recipe: Recipe, expected: Mapping[str, tuple[str, bool]]) -> None:
    """Raise for the first setting that is not as expected: name -> (what is, whether it holds)."""
    for name, (what, holds) in expected.items():
        if not holds:
            raise TrainingError(f"{name}={getattr(recipe, name)}: expected {what}.")


def choose_precision(precision: str, width: int, device: torch.device) -> str:
    """The recorded rule behind "auto": bfloat16 where it is native and the model wide enough to gain, else float32.

    On a processor native means AVX-512 BF16 or AMX. Wide enough is a width of 512: below it, casting costs more than
    the products save. The rule never times anything, so a run that goes on elsewhere chooses the same.

    Raises:
        TrainingError: "tf32" without a GPU.
    """
    if precision == "tf32" and device.type != "cuda":
        raise TrainingError("precision='tf32' needs an NVIDIA GPU, and this run is on a processor. Use float32.")
    if precision != "auto":
        return precision
    native = torch.cuda.is_bf16_supported() if device.type == "cuda" else native_bfloat16()
    return "bfloat16" if width >= WIDE and native else "float32"


def native_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (AVX-512 BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
