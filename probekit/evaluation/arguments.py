"""What callers pass to `evaluate` and `compare`, checked before anything is measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from probekit import probes, schema
from probekit.checks import as_whole, whole
from probekit.collect import Counts
from probekit.collect.pass_settings import Preparation
from probekit.data import Preprocess
from probekit.data.request import SAMPLINGS
from probekit.errors import ProbeError, did_you_mean, printable
from probekit.evaluation import suites
from probekit.evaluation.suite_versions import Plan

POOLINGS = ("cls", "mean", "native")


def counts_of(counts: Counts | Mapping[str, int] | None) -> Counts | None:
    """How many images to use; None for the suite's own numbers."""
    if counts is None or isinstance(counts, Counts):
        return counts
    known = Counts.__dataclass_fields__
    if not isinstance(counts, Mapping):
        raise ProbeError(f"counts={counts!r}: expected a dict with some of {', '.join(known)}.")
    checked = {}
    for name, value in counts.items():
        if name not in known:
            raise ProbeError(f"counts has no {name!r}. {did_you_mean(str(name), known)}")
        least = 2 if name == "views" else 1
        checked[name] = whole(f"counts: {name}", value, least=least, error=ProbeError)
    return replace(Counts(), **checked)


def check_sources(ckpts: Any) -> None:
    """A `ProbeError` unless this is a list of checkpoints with something in it."""
    if isinstance(ckpts, str | Path) or not isinstance(ckpts, Sequence):
        raise ProbeError("compare takes a list of checkpoints; for a single one call evaluate.")
    if not ckpts:
        raise ProbeError("compare was given no checkpoint.")


def is_own(data: Any) -> bool:
    """Whether each checkpoint takes the image sets that fit it; a `ProbeError` for "own" among others."""
    if isinstance(data, list | tuple) and any(isinstance(one, str) and one == "own" for one in data):
        raise ProbeError("data='own' goes alone: it takes those of the suite's image sets that fit the checkpoint.")
    return isinstance(data, str) and data == "own"


def preparation_of(image_size: Any, crop_fraction: Any, interpolation: Any) -> Preparation:
    """The preprocessing, checked; None = as the checkpoint's card says."""
    size = None
    if image_size is not None:
        sides = tuple(image_size) if isinstance(image_size, Sequence | np.ndarray) else (image_size, image_size)
        numbers = [as_whole(side) for side in sides]
        if len(numbers) != 2 or not all(side is not None and side > 0 for side in numbers):
            raise ProbeError(f"image_size={image_size!r}: expected a number of pixels, or (height, width).")
        size = int(sides[0]), int(sides[1])
    trial = {"crop_fraction": crop_fraction, "interpolation": interpolation}
    Preprocess(*(size or (1, 1)), **{name: value for name, value in trial.items() if value is not None})
    return Preparation(size, crop_fraction, interpolation)


def layers_of(layers: Any) -> tuple[int, ...] | None:
    """Numbers of the layers to fit, checked; None = all. What a checkpoint has is checked when it is measured."""
    if layers is None:
        return None
    if isinstance(layers, str) or not isinstance(layers, Iterable):
        raise ProbeError(f"layers={layers!r}: expected a list of layer numbers, such as [0, 6, -1].")
    found = tuple(whole("layers", layer, error=ProbeError) for layer in layers)
    if not found:
        raise ProbeError("layers is an empty list; expected some layer numbers, or None for all.")
    return found


def poolings_of(poolings: Any) -> tuple[str, ...] | None:
    """Names of the poolings to fit, checked; None = all."""
    if poolings is None:
        return None
    if isinstance(poolings, str) or not isinstance(poolings, Iterable):
        raise ProbeError(f"poolings={poolings!r}: expected a list of some of {', '.join(POOLINGS)}.")
    found = tuple(poolings)
    for name in found:
        if name not in POOLINGS:
            raise ProbeError(f"poolings={list(found)}: no pooling is called {name!r}. {did_you_mean(name, POOLINGS)}")
    if not found:
        raise ProbeError(f"poolings is an empty list; expected some of {', '.join(POOLINGS)}, or None for all.")
    return found


def shards_of(shards: Any, elsewhere: bool, cache: bool) -> int:
    """How many workers share a checkpoint, checked."""
    count = whole("shards", shards, least=1, error=ProbeError)
    if count > 1 and not (elsewhere and cache):
        raise ProbeError(
            f"shards={count}: workers share a checkpoint through the cache. Name an executor, such as 'local:{count}', "
            "and leave the cache on."
        )
    return count


def sampling_of(sampling: Any) -> str:
    """How a subset of the images is drawn, checked."""
    if sampling not in SAMPLINGS:
        raise ProbeError(f"sampling={sampling!r}: expected {' or '.join(SAMPLINGS)}.")
    return str(sampling)


def coords_of_one(coords: Any) -> Any:
    """Own coordinates of one checkpoint as `compare` takes them: name -> a list of one value."""
    if not isinstance(coords, Mapping):
        return coords  # `coords_of` says what is expected
    listed = {}
    for name, value in coords.items():
        values = np.asarray(value, dtype=object).ravel().tolist()
        if len(values) != 1:
            raise ProbeError(f"coords: {name} has {len(values)} values for one checkpoint.")
        listed[name] = values
    return listed


def coords_of(coords: Any, measured: int) -> dict[str, list[Any]]:
    """Own coordinates, checked: name -> a number or text for each checkpoint that is measured."""
    if coords is not None and not isinstance(coords, Mapping):
        raise ProbeError(f"coords={coords!r}: expected a dict: name -> a value for each checkpoint.")
    checked: dict[str, list[Any]] = {}
    for name, given in (coords or {}).items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ProbeError(f"coords: {name!r} is no name; expected letters, digits and underscores, such as 'loss'.")
        if name in (*schema.COORDS, *schema.DIMS):
            raise ProbeError(f"coords: {name!r} is a coordinate of probekit's own. Choose another name.")
        if isinstance(given, str) or not isinstance(given, Sequence | np.ndarray) or len(given) != measured:
            raise ProbeError(
                f"coords: {name}={given!r}: expected a list with a value for each of the {measured} checkpoints that "
                "are measured. Those in results keep the coordinates that they have."
            )
        values = [one.item() if isinstance(one, np.generic) else one for one in given]
        if not all(isinstance(one, str | int | float) for one in values):
            raise ProbeError(f"coords: {name}={given!r}: expected numbers or texts.")
        if any(isinstance(one, str) for one in values):
            checked[name] = [printable(str(one), line=True) for one in values]
            continue
        try:
            checked[name] = [float(one) for one in values]
        except OverflowError as error:
            raise ProbeError(f"coords: {name} has a number of more than 308 digits; give it as a text.") from error
    return checked


def options_of(options: Any, chosen: Sequence[Plan]) -> dict[str, dict[str, Any]]:
    """Probe -> the options that it was given, checked before anything is measured."""
    if options is not None and not isinstance(options, Mapping):
        raise ProbeError(
            f"options={options!r}; expected a dict: probe -> its options, such as {{'knn': {{'ks': [5]}}}}."
        )
    running = {name for plan in chosen for name in plan.probes}
    checked: dict[str, dict[str, Any]] = {}
    for name, given in (options or {}).items():
        if name not in running:
            suites.listed([name])
            raise ProbeError(
                f"options were given for {name}, which is not among the probes to run: {', '.join(sorted(running))}."
            )
        if not isinstance(given, Mapping):
            raise ProbeError(f"options of {name}: {given!r}; expected a dict of its options, such as {{'ks': [5]}}.")
        settings = probes.find(name).settings(given)
        checked[name] = {key: settings[key] for key in given}
    return checked


def check_names(names: Any, measured: int) -> None:
    """A `ProbeError` unless these are texts, one for each checkpoint that is measured."""
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
        raise ProbeError(f"names={names!r}: expected a list of texts, one for each checkpoint.")
    if len(names) != measured:
        raise ProbeError(
            f"{len(names)} names for {measured} checkpoints to measure. Those in results keep the names that they have."
        )
