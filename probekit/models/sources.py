"""A checkpoint's options in one string: `PATH?num_heads=4&mean=0.5,0.5,0.5`, so that several on a line can differ."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from probekit.errors import CheckpointError, did_you_mean
from probekit.models.card_checks import STATED, checked


def _reals(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _one_or_more(text: str, kind: Callable[[str], Any]) -> Any:
    numbers = tuple(kind(part) for part in text.split(","))
    return numbers[0] if len(numbers) == 1 else numbers


_whole, _real = (partial(_one_or_more, kind=kind) for kind in (int, float))


def _truth(text: str) -> bool:
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]


OPTIONS: dict[str, tuple[Callable[[str], Any], str]] = {
    "num_heads": (int, "a whole number"),
    "decoder_num_heads": (int, "a whole number"),
    "image_size": (_whole, "pixels, or height,width"),
    "layer_norm_eps": (float, "a number"),
    "normalised_targets": (_truth, "true or false"),
    "mean": (_reals, "numbers such as 0.5,0.5,0.5"),
    "std": (_reals, "numbers such as 0.5,0.5,0.5"),
    "interpolation": (str, "the name of a filter"),
    "crop_fraction": (float, "a number"),
    "mask_ratio": (_real, "a number, or low,high"),
    "patch_size": (_whole, "pixels, or low,high"),
    "epochs": (float, "a number"),
    "key": (str, "an entry or a prefix"),
    "rotary": (str, "timm's name of a model with such positions"),
    "name": (str, "a name"),
}
"""What a string may carry: how it is read, and what was expected."""


def parse_source(text: str) -> tuple[str, dict[str, Any]]:
    """Split a source from its options.

    A path that exists is taken as it is, whatever characters it has.

    Args:
        text: "PATH", or "PATH?option=value&option=value"; options are keywords of `load`.

    Returns:
        (path, hub id or name; options with their values).

    Raises:
        CheckpointError: no such option, or a value that is none.

    Example:
        >>> parse_source("mae.pth?num_heads=4&mean=0.5,0.5,0.5")
        ('mae.pth', {'num_heads': 4, 'mean': (0.5, 0.5, 0.5)})
    """
    path, mark, query = text.partition("?")
    if not mark or (len(text) < 4096 and os.path.lexists(os.path.expanduser(text))):
        return text, {}
    options: dict[str, Any] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        name = name.replace("-", "_")
        if name not in OPTIONS:
            raise CheckpointError(f"{text!r}: no option {name!r}. {did_you_mean(name, OPTIONS)}")
        if name in options:
            raise CheckpointError(f"{text!r}: {name} is given twice. Give it once.")
        read, expected = OPTIONS[name]
        try:
            options[name] = read(value)
        except (ValueError, KeyError, OverflowError) as error:
            raise CheckpointError(f"{text!r}: {name} is {value!r}; expected {expected}.") from error
    return path, options


def merged(asked: Mapping[str, Any], options: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Keywords and the options of the string together; CheckpointError where the two differ."""
    for name, value in options.items():
        if asked[name] is not None and asked[name] != value:
            raise CheckpointError(
                f"{path}: {name} is {asked[name]!r} as a keyword and {value!r} in the string. Give one."
            )
    return dict(asked) | dict(options)


def check_options(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The caller's options, checked by kind and in the form in which they are compared.

    Raises:
        CheckpointError: a value of the wrong kind, or one of mean and std alone.
    """
    given = dict(asked)
    for name in ("mean", "std"):
        given[name] = _as_tuple(given[name])
    if isinstance(given["image_size"], int):
        given["image_size"] = (given["image_size"], given["image_size"])
    for name, value in given.items():
        if name in STATED:
            given[name] = checked(name, value, "load")
    if given["key"] is not None and not isinstance(given["key"], str):
        raise CheckpointError(f"load: key is {given['key']!r}; expected the name of a network, such as 'model_ema'.")
    if given["rotary"] is not None and not isinstance(given["rotary"], str):
        raise CheckpointError(
            f"load: rotary is {given['rotary']!r}; expected timm's name of a model with the same rotary positions, "
            "such as 'vit_base_patch16_dinov3'."
        )
    for name in ("num_heads", "decoder_num_heads"):
        if given[name] is not None and not (type(given[name]) is int and given[name] > 0):
            raise CheckpointError(f"load: {name} is {given[name]!r}; expected a whole number above 0.")
    size, epsilon = given["image_size"], given["layer_norm_eps"]
    pair = isinstance(size, Sequence) and len(size) == 2 and all(type(edge) is int and edge > 0 for edge in size)
    if size is not None and not pair:
        raise CheckpointError(f"load: image_size is {size!r}; expected (height, width) in pixels, or one side.")
    if epsilon is not None and not (isinstance(epsilon, int | float) and 0 < epsilon < 1):
        raise CheckpointError(f"load: layer_norm_eps is {epsilon!r}; expected a number from 0 to 1.")
    if (given["mean"] is None) != (given["std"] is None):
        raise CheckpointError("load: mean and std belong together. Give both, one number for each channel.")
    return given


def _as_tuple(value: Any) -> Any:
    """One number, or several in anything that holds them, as a tuple; what is neither as it is, to be refused."""
    if value is None or isinstance(value, str):
        return value
    if getattr(value, "ndim", 1) == 0:  # of NumPy or torch
        value = value.item()
    if isinstance(value, int | float):
        return (value,)
    try:
        return tuple(value)
    except TypeError:
        return value
