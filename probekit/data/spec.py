"""Which image set a text means: `name[:argument][?option=value&...]`, one file per source.

A source is a function `open_split(argument, split, *, spec, count, seed, **options) -> ImageSet`; this table says
where it lives, so that a source's libraries are imported only when it is asked for. Sources of stored images are
functions `open_split(argument, request, **options)` instead. Other packages bring sources along as entry points of the
group `probekit.data`. Besides texts, `load` takes what is in memory: an
`ImageSet`, arrays, a torch `Dataset`, or a dict of splits.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import numpy as np

from probekit import plugins
from probekit.data.base import ImageSet, check_count, check_split
from probekit.data.request import Request
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
    "segmentation": "probekit.data.dense",
    "camvid": "probekit.data.dense",
    "depth": "probekit.data.dense",
    "coco": "probekit.data.coco",
    "stereo_motorcycle": "probekit.data.stereo",
}
"""Source name -> module with its `open_split`."""

GROUP = "probekit.data"
"""Entry-point group of sources that other packages bring along: name -> module with an `open_split`."""

SHIPPED = ("quadtree", "photos", "shapes")
"""Image sets that need no file and no download."""

NO_PLACE = (*SHIPPED, "stereo_motorcycle")
"""Sources whose spec names no folder."""


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
    named = {"true": True, "false": False, "on": True, "off": False, "none": None}
    if text.lower() in named:
        return named[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def load(
    spec: Any,
    split: str = "test",
    *,
    count: int | None = None,
    seed: int = 0,
    channels: int | None = None,
    **options: Any,
) -> ImageSet:
    """Opens one split of an image set.

    Args:
        spec: `"quadtree"`, `"photos"`, `"shapes"`, `"imagefolder:DIR"`, `"torchvision:CIFAR10:DIR"`, `"hf:NAME"`,
            `"webdataset:PATTERN"`, `"numpy:PATH"`, `"imagenet:DIR"` and its variants, `"cue-conflict:DIR"`, each with
            options as in `"quadtree?height=3"`; a `Path` of a folder of images; an array of images, a pair (images,
            labels) of arrays or a torch `Dataset`; a dict with any of these for each split, which is then taken as it
            is; or an ImageSet, which is returned unchanged.
        split: "train" (fit), "val" (select) or "test" (report).
        count: how many images; None for the set's own number. A smaller draw is contained in a larger one.
        seed: of generated sets, and of the draw of `count` images of a stored one.
        channels: what models see: 3 shows grey images three times to a model with three channels, which is recorded;
            else such a pair is an error. In a spec: `channels=3`.
        options: as in the spec; these win. For all stored images: `sampling` ("proportional" or "balanced"),
            `classes`, `superclasses`, `on_unreadable`, `exif`, `decode`, `whole` (see `probekit.data.request.Request`);
            for data in memory also `name`, `names` (of the classes) and `value_range`.

    Returns:
        The images. `notes` says what was left out, renamed or drawn; what changes the data is also warned of.

    Raises:
        DataError: for an unknown spec, split or option, and whatever is wrong with the data.

    Example:
        >>> load("shapes", "val", count=8)
        <Shapes 'shapes' val: 8 images, 8 classes>
    """
    check_split(split)
    check_count(count)
    if isinstance(spec, str) and "channels=" in spec:
        channels = parse(spec)[2].get("channels", channels) if channels is None else channels
    opened = _open(spec, split, {"count": count, "seed": seed, **options})
    return opened if channels is None else _shown(opened, channels)


def _shown(images: ImageSet, channels: Any) -> ImageSet:
    """The images, grey ones marked as to be shown to models with three channels."""
    if channels not in (images.channels, 3) or images.channels not in (1, 3) or isinstance(channels, bool):
        raise DataError(
            f"{images.spec}: channels={channels!r}, and the images have {images.channels}. channels=3 shows grey "
            "images three times; select bands before the data is given (for arrays: images[..., [3, 2, 1]])."
        )
    if images.channels == 1 and channels == 3 and not images.grey_as_rgb:
        images.grey_as_rgb, images.facts = True, {**images.facts, "grey_as_rgb": True}
    return images


def _open(spec: Any, split: str, options: dict[str, Any]) -> ImageSet:
    """See `load`."""
    count, seed = options.pop("count"), options.pop("seed")
    if isinstance(spec, ImageSet):
        return spec
    if isinstance(spec, Mapping):
        return _of_splits(spec, split, {"count": count, "seed": seed, **options})
    if isinstance(spec, Path) and spec.is_dir():
        spec = f"imagefolder:{spec}"
    if not isinstance(spec, str | Path):
        return _in_memory({"all": spec}, split, {"count": count, "seed": seed, **options})
    name, argument, written = parse(str(spec))
    theirs = plugins.others(GROUP, SOURCES)
    if name not in SOURCES and name not in theirs:
        raise DataError(_unknown(str(spec), name))
    written.pop("channels", None)
    chosen = {"count": count, "seed": seed, **written, **options}
    if count is not None:
        chosen["count"] = count
    if name in SOURCES and name not in NO_PLACE:
        argument = str(Path(argument).expanduser()) if argument else ""
        if not argument:
            raise DataError(f"{spec!r} does not say where the data is: write {name}:{_PLACES.get(name, 'DIR')}.")
    source = plugins.loaded(theirs[name], "image source", DataError) if name in theirs else import_module(SOURCES[name])
    opener: Callable[..., ImageSet] = source.open_split
    if "request" in inspect.signature(opener).parameters:
        return opener(argument, **_requested(chosen, opener, f"{str(spec)!r}: {name}", str(spec), split))
    exact = bool(chosen.pop("exact", True))
    for key in ("whole", "sampling"):  # generated sets have as many images as are asked for, and no classes to draw
        chosen.pop(key, None)
    given = checked(chosen, f"{str(spec)!r}: {name}", opener)
    try:
        return opener(argument, split, spec=str(spec), **given)
    except DataError:
        everything = None if exact else opener(argument, split, spec=str(spec), **{**given, "count": None})
        if everything is None or len(everything) >= int(count or 0):
            raise
        return everything


def _requested(
    options: dict[str, Any], opener: Callable[..., ImageSet], source: str, spec: str, split: str
) -> dict[str, Any]:
    """Options as a source of stored images takes them: the `Request` and its own."""
    found = checked(options, source, opener, Request)
    common = {key: found.pop(key) for key in list(found) if key in inspect.signature(Request).parameters}
    return {"request": Request(spec=spec, split=split, **common), **found}


def _in_memory(given: Mapping[str, Any], split: str, options: dict[str, Any]) -> ImageSet:
    from probekit.data.memory import open_given
    from probekit.data.torch_dataset import ReadOnce

    first = next(iter(given.values()))
    first = first.dataset if isinstance(first, ReadOnce) else first
    label = "arrays" if isinstance(first, tuple | np.ndarray) else type(first).__name__
    label = str(options.get("name") or label)
    return open_given(given, **_requested(options, open_given, "data in memory", label, split))


def _of_splits(given: Mapping[Any, Any], split: str, options: dict[str, Any]) -> ImageSet:
    """One split of a dict of splits, taken as it is; data in memory is opened together, with the same classes."""
    from probekit.data.memory import by_split, is_array_like

    splits = by_split(given)
    if "all" in splits:
        return load(splits["all"], split, **options)
    if split not in splits:
        raise DataError(f"There is no {split} split; there is {', '.join(splits)}.")
    if isinstance(splits[split], ImageSet):
        return cast(ImageSet, splits[split])
    options = {**options, "whole": True}
    if not is_array_like(splits[split]):
        return load(splits[split], split, **options)
    return _in_memory({key: one for key, one in splits.items() if is_array_like(one)}, split, options)


_PLACES = {"hf": "NAME", "torchvision": "NAME:DIR", "webdataset": "PATTERN"}

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "none"}


def checked(options: dict[str, Any], source: str, *takers: Callable[..., Any]) -> dict[str, Any]:
    """Options as functions (or dataclasses) take them, by the annotations of their keyword-only parameters."""
    hints: dict[str, Any] = {}
    for taker in takers:
        annotated = get_type_hints(taker)
        parameters = inspect.signature(taker).parameters.values()
        hints |= {one.name: annotated.get(one.name, Any) for one in parameters if one.kind is one.KEYWORD_ONLY}
    known = [key for key in hints if key not in ("spec", "split")]
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
