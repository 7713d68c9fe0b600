"""Which image set a text means: `name[:argument][?option=value&...]`, one file per source.

A source is a function `open_split(argument, split, *, spec, count, seed, **options) -> ImageSet`; this table says
where it lives, so that a source's libraries are imported only when it is asked for. Besides texts, `load` takes what
is already in memory: an `ImageSet`, a pair of NumPy arrays, or any torch `Dataset` of (image, label).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

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

        return from_memory(spec, split, count=count, seed=seed, **options)
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
    return _opener(name, str(spec), chosen)(argument, split, spec=str(spec), **chosen)


_PLACES = {"hf": "NAME", "torchvision": "NAME:DIR", "webdataset": "PATTERN"}


def _opener(name: str, spec: str, options: dict[str, Any]) -> Callable[..., ImageSet]:
    """The source's `open_split`, once it is sure that it takes these options."""
    function: Callable[..., ImageSet] = import_module(SOURCES[name]).open_split
    parameters = inspect.signature(function).parameters
    known = [key for key, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY and key != "spec"]
    for key in options:
        if key not in known:
            raise DataError(f"{spec!r}: {name} has no option {key!r}. {did_you_mean(key, known)}")
    return function


def _unknown(spec: str, name: str) -> str:
    if Path(spec).is_dir():
        return f"{spec!r} is a folder, not a spec. Did you mean 'imagefolder:{spec}'?"
    return f"Unknown image set {spec!r}. {did_you_mean(name, SOURCES, limit=20)}"
