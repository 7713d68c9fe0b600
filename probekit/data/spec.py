"""Which image set a text means: `name[:argument][?option=value&...]`, one file per source.

A source is a function `open_split(argument, split, *, spec, count, seed, **options) -> ImageSet`; this table says
where it lives, so that a source's libraries are imported only when it is asked for. Besides texts, `load` takes what
is already in memory: an `ImageSet`, a pair of NumPy arrays, or any torch `Dataset` of (image, label).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np

from probekit.data.base import ImageSet, check_count, check_split
from probekit.errors import DataError, did_you_mean

SOURCES = {
    "quadtree": "probekit.data.quadtree",
    "photos": "probekit.data.photos",
    "shapes": "probekit.data.shapes",
    "imagefolder": "probekit.data.folder",
    "torchvision": "probekit.data.torchvision",
    "hf": "probekit.data.huggingface",
    "webdataset": "probekit.data.webdataset",
    "numpy": "probekit.data.arrays",
    "imagenet": "probekit.data.imagenet",
    "imagenet-v2": "probekit.data.imagenet",
    "imagenet-r": "probekit.data.imagenet",
    "imagenet-a": "probekit.data.imagenet",
    "imagenet-sketch": "probekit.data.imagenet",
    "objectnet": "probekit.data.objectnet",
    "cue-conflict": "probekit.data.cue_conflict",
}
"""Source name -> module with its `open_split`."""

SHIPPED = ("quadtree", "photos", "shapes")
"""Sources that need no file and no download."""


def parse(spec: str) -> tuple[str, str, dict[str, Any]]:
    """`"quadtree?height=3&noise=0.5"` -> ("quadtree", "", {"height": 3, "noise": 0.5})."""
    head, mark, tail = spec.rpartition("?")
    if not mark or not all("=" in part for part in tail.split("&")):
        head, tail = spec, ""
    name, _, argument = head.partition(":")
    options = {}
    for part in tail.split("&") if tail else ():
        key, _, text = part.partition("=")
        if key in options:
            raise DataError(f"{spec!r} gives the option {key!r} twice.")
        options[key] = _value(text)
    return name, argument, options


def _value(text: str) -> Any:
    """An option's value as the number, truth value or None that it reads as, else the text."""
    named = {"true": True, "false": False, "none": None}
    if text.lower() in named:
        return named[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def load(spec: Any, split: str = "test", *, count: int | None = None, seed: int = 0, **options: Any) -> ImageSet:
    """Open an image set.

    Args:
        spec: `"quadtree"`, `"photos"`, `"shapes"`, `"imagefolder:DIR"`, `"torchvision:CIFAR10:DIR"`, `"hf:NAME"`,
            `"webdataset:PATTERN"`, `"numpy:DIR"`, `"imagenet:DIR"` and its variants, `"cue-conflict:DIR"`, each with
            options as in `"quadtree?height=3"`; or an ImageSet (returned as it is), a pair (images, labels) of NumPy
            arrays, or a torch `Dataset` of (image, label).
        split: "train" (fit), "val" (select) or "test" (report).
        count: how many images; None for the set's own number. A smaller count is part of a larger one.
        seed: of generated sets, and of the choice of `count` images of a stored one.
        options: as in the spec; these win.

    Raises:
        DataError: for an unknown spec, split or option, and whatever is wrong with the data.
    """
    check_split(split)
    check_count(count)
    if isinstance(spec, ImageSet):
        return spec
    if not isinstance(spec, str | Path):
        from probekit.data.arrays import from_memory

        given = checked({"count": count, "seed": seed, **options}, from_memory, "data in memory")
        return from_memory(spec, split, **given)
    name, argument, written = parse(str(spec))
    if name not in SOURCES:
        raise DataError(_unknown(str(spec), name))
    chosen = {"count": count, "seed": seed, **written, **options}
    if count is not None:
        chosen["count"] = count
    if name not in SHIPPED:
        argument = str(Path(argument).expanduser()) if argument else ""
        if not argument:
            raise DataError(f"{spec!r} does not say where the data is: write {name}:{_PLACES.get(name, 'DIR')}.")
    opener: Callable[..., ImageSet] = import_module(SOURCES[name]).open_split
    return opener(argument, split, spec=str(spec), **checked(chosen, opener, f"{str(spec)!r}: {name}"))


_PLACES = {"hf": "NAME", "torchvision": "NAME:DIR", "webdataset": "PATTERN"}

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "none"}


def checked(options: dict[str, Any], function: Callable[..., ImageSet], source: str) -> dict[str, Any]:
    """Options as `function` takes them, by the annotations of its keyword-only parameters."""
    parameters = inspect.signature(function).parameters
    known = [key for key, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY and key != "spec"]
    hints = get_type_hints(function)
    out = {}
    for key, value in options.items():
        if key not in known:
            raise DataError(f"{source} has no option {key!r}. {did_you_mean(key, known)}")
        kinds = set(get_args(hints[key]) or (hints[key],))
        out[key] = _as_one_of(kinds, value, f"{source}: {key}={value!r}") if kinds <= set(_KINDS) else value
    check_count(out.get("count"))
    return out


def _as_one_of(kinds: set[type], value: Any, written: str) -> Any:
    """`value` as one of the kinds that an option takes; NumPy's numbers count as Python's."""
    value = value.item() if isinstance(value, np.generic) else value
    if type(value) in kinds and not (isinstance(value, float) and not math.isfinite(value)):
        return value
    if type(value) is int and float in kinds:
        return float(value) if str not in kinds else value
    if type(value) in (int, float) and kinds & {int, float} == set() and str in kinds:
        return str(value)  # a name such as 2024
    expected = " or ".join(text for kind, text in _KINDS.items() if kind in kinds)
    raise DataError(f"{written}; {expected} is expected.")


def _unknown(spec: str, name: str) -> str:
    if spec and Path(spec).is_dir():
        return f"{spec!r} is a folder, not a spec. Did you mean 'imagefolder:{spec}'?"
    return f"Unknown image set {spec!r}. {did_you_mean(name, SOURCES, limit=20)}"
