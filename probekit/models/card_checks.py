"""What may stand in each field of a checkpoint's card, checked wherever a value comes from."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from probekit.data.preprocess import FILTERS
from probekit.errors import CheckpointError


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
