"""The results dataset as plain rows: which number to show where a variable has many, and what a checkpoint is called.

A variable has a value for every layer, pooling, number of neighbours and so on. Charts and sentences need one of them,
so this module fixes *one* default choice for each dimension (`DEFAULTS`), says in words what it chose
(`Choice.words`), and never averages silently: attention heads are the only dimension averaged, and then the words say
so. The table of all numbers shows every choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from probekit import schema
from probekit.errors import ResultsError, did_you_mean
from probekit.plot import baselines, depths
from probekit.plot.baselines import Row as Row
from probekit.results import settings
from probekit.results.reading import opened
from probekit.schema import by_label
from probekit.schema import plain as plain

DEFAULTS: dict[str, tuple[Any, ...]] = {
    "pooling": ("mean", "cls", "native", "token"),
    "scaling": ("raw", "standardised", "whitened"),
    "k": (20, 10),
    "readout": ("global", "local"),
    "regressor": ("nonlinear", "linear"),
    "target": ("latent", "noise"),
    "eval_mask_ratio": (0.75, 0.5, 0.9, 0.25, 0.1),
}
"""Which label of a dimension a chart shows, first found; a dimension not listed shows its first label."""

LAST = ("level", "frequency", "layer_other")
"""Dimensions in which a chart shows the last label: the highest level, the highest frequency, the last layer."""

SPOKEN = {"layer_other": "against layer", "k": "k ="}
"""How a dimension reads before its label, where its name does not."""

AVERAGED = ("head",)
OWN = ("checkpoint", "data")


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint as the report names and groups it. Numbers are None where unknown.

    `setting` is what it was trained with, in words; `setting_index` tells settings apart, also where words are alike.
    `family` is what else training differs in (data, architecture, images seen), as far as it differs among these
    checkpoints.
    """

    index: int
    name: str
    ratio: float | None
    patch: float | None
    seed: float | None
    untrained: bool
    family: str = ""
    setting: str = ""
    setting_index: int = 0


@dataclass(frozen=True)
class Choice:
    """The labels that were fixed to get one number per checkpoint (and layer)."""

    labels: Mapping[str, Any]
    averaged: tuple[str, ...] = ()
    layer: str | None = None

    @property
    def words(self) -> str:
        """E.g. "last layer, pooling mean, scaling raw"."""
        parts = [self.layer] if self.layer else []
        parts += [f"{SPOKEN.get(dim, dim.replace('_', ' '))} {plain(label)}" for dim, label in self.labels.items()]
        parts += [f"mean over {dim}s" for dim in self.averaged]
        return ", ".join(parts)


def number(value: Any) -> float | None:
    """A float, or None where it is not finite."""
    return float(value) if np.isfinite(value) else None


def rounded(value: Any, digits: int = 5) -> float | None:
    """`value` with that many significant digits, which is what a chart or table can show; None where not finite."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


class Results:
    """A results dataset, read once."""

    def __init__(self, ds: Any, *, by: str | None = None, shown: Mapping[str, Any] | None = None) -> None:
        """`by` is a coordinate along checkpoint that groups and colours; `shown` the labels to show of dimensions."""
        self.ds = ds = opened(ds, "A plot or report", lazily=True)
        self.by, self.shown = by, dict(shown or {})
        self.by_values = [None] * ds.sizes["checkpoint"] if by is None else settings.facts(ds, _grouping(ds, by))
        for dim, label in self.shown.items():
            if dim not in ds.dims or label not in ds[dim].values:
                known = ", ".join(map(plain, ds[dim].values)) if dim in ds.dims else ", ".join(map(str, ds.dims))
                raise ResultsError(f"These results have nothing at {dim}={label!r}. Known: {known}.")
        for dim, noun in (("checkpoint", "a checkpoint"), ("data", "an image set")):
            if not ds.sizes[dim]:
                raise ResultsError(f"There is nothing to report: the results hold no {dim}; expected at least {noun}.")
        self.names = schema.result_names(ds)
        self.data = [plain(name) for name in self.labels("data")]
        self.reasons = schema.not_applicable(ds)
        self.provenance = schema.provenance(ds)
        self.arrays: dict[str, np.ndarray] = {}
        self.stored: dict[str, np.ndarray] = {}

    @cached_property
    def _labels(self) -> dict[str, list[Any]]:
        known = self.ds.variables
        return {str(dim): list(known[dim].values if dim in known else range(n)) for dim, n in self.ds.sizes.items()}

    def labels(self, dim: str) -> list[Any]:
        """Labels along a dimension; positions where the file has none."""
        return list(self._labels[dim])

    @cached_property
    def checkpoints(self) -> list[Checkpoint]:
        families = settings.families(self.settings)
        found = [
            Checkpoint(
                run.index, run.name, setting.ratio, setting.patch, run.seed, run.untrained, families[run.index],
                setting.words, place,
            )
            for place, setting in enumerate(self.settings)
            for run in setting.runs
        ]  # fmt: skip
        return sorted(found, key=lambda checkpoint: checkpoint.index)

    @cached_property
    def settings(self) -> list[settings.Setting]:
        return settings.settings_of(self.ds)

    @cached_property
    def architectures(self) -> list[tuple[Any, ...] | None]:
        """Of each checkpoint, as far as it is known."""
        return baselines.architectures(self.ds)

    @cached_property
    def whole(self) -> bool:
        """Whether every checkpoint was measured at its last layer, as far as the file says."""
        return depths.whole(self.ds, self.deepest)

    @cached_property
    def deepest(self) -> np.ndarray:
        """Position along `layer` of each checkpoint's last layer."""
        return depths.deepest(self.ds, self.names)

    def array(self, name: str) -> np.ndarray:
        """Values with dims (checkpoint, data, the rest in stored order)."""
        return self.kept(name, *OWN, ...)

    def kept(self, name: str, *dims: Any) -> np.ndarray:
        """A variable as floats with its dims in that order, made once."""
        if name not in self.arrays:
            self.arrays[name] = np.asarray(self.picked(name).transpose(*dims).values, dtype=float)
        return self.arrays[name]

    def picked(self, name: str, **where: int) -> xr.Variable:
        """A variable of the dataset, as it is stored and read once, at these positions of its dims."""
        array = self.ds.variables[name]
        if name not in self.stored:
            self.stored[name] = np.asarray(array.values)
        kept = [dim for dim in array.dims if dim not in where]
        values = self.stored[name][tuple(where.get(str(dim), slice(None)) for dim in array.dims)]
        return xr.Variable(kept, values, array.attrs, fastpath=True)

    def dims(self, name: str) -> list[str]:
        """Dimensions besides checkpoint and data, in the order of `array`."""
        return [str(dim) for dim in self.ds.variables[name].dims if dim not in OWN]

    def interval(self, name: str) -> np.ndarray | None:
        """Like `array` with a last axis (lower, upper); None where the variable has no interval."""
        twin = f"{name}_ci"
        return self.kept(twin, *OWN, ..., "bound") if twin in self.ds else None

    def no_interval(self, name: str) -> str:
        return self.attribute(name, "no_interval")

    def title(self, name: str) -> str:
        return str(self.ds.variables[name].attrs["long_name"])

    def attribute(self, name: str, key: str) -> str:
        """An attribute as text; where it was stored for each image set or checkpoint, one sentence for each."""
        value = self.ds.variables[name].attrs.get(key, "")
        each = by_label(value)
        if each is not None:
            return "; ".join(f"on {label}: {one}" for label, one in each.items())
        return plain(value)

    def units(self, name: str) -> str:
        units = str(self.ds.variables[name].attrs["units"])
        return "" if units == "1" else units

    def axis_title(self, name: str) -> str:
        units = self.units(name)
        return f"{self.title(name)} ({units})" if units else self.title(name)

    def measured(self, name: str) -> bool:
        return bool(np.isfinite(self.array(name)).any())

    def where(self, name: str) -> list[str]:
        """Image sets on which `name` has any number."""
        found = np.isfinite(self.array(name))
        return [label for j, label in enumerate(self.data) if found[:, j].any()]

    def choose(self, name: str, keep: Iterable[str] = ()) -> Choice:
        """The default labels of every dimension of `name` but those in `keep`; for `layer` the last one of each
        model."""
        labels, averaged, layer = {}, [], None
        for dim in self.dims(name):
            if dim in keep:
                continue
            if dim == "layer":
                layer = "last layer" if self.whole else "last measured layer"
            elif dim in AVERAGED:
                averaged.append(dim)
            else:
                labels[dim] = self.default_label(name, dim)
        return Choice(labels, tuple(averaged), layer)

    def default_label(self, name: str, dim: str) -> Any:
        """The first preferred label that has any number."""
        labels = self.labels(dim)
        axis = 2 + self.dims(name).index(dim)
        finite = np.isfinite(self.array(name))
        alive = [label for i, label in enumerate(labels) if finite.take(i, axis).any()] or labels
        if dim in self.shown:
            return self.shown[dim]
        if dim in LAST:
            return alive[-1]
        return next((label for label in DEFAULTS.get(dim, ()) if label in alive), alive[0])

    def rows(self, name: str, data: str, keep: tuple[str, ...] = ()) -> list[Row]:
        """One row per checkpoint (and per label of the dims in `keep`) that has a number on the image set `data`.

        Keys: checkpoint, setting, ratio, patch, seed, untrained, architecture, value, lower, upper (None
        without an interval), and the dims in `keep`.
        """
        values, bounds = self.values(name, data, keep)
        kept = [dim for dim in self.dims(name) if dim in keep]
        labels = [self.labels(dim) for dim in kept]
        rows = []
        for place in zip(*np.nonzero(np.isfinite(values)), strict=True):
            row = self.describe(self.checkpoints[place[0]])
            for dim, at, names in zip(kept, place[1:], labels, strict=True):
                label = names[at]
                row[dim] = label.item() if isinstance(label, np.generic) else label
            row["value"] = rounded(values[place])
            row["lower"], row["upper"] = (None, None) if bounds is None else map(rounded, bounds[place])
            rows.append(row)
        others = {
            label: self.rows(name + ending, data, keep)
            for ending, label in baselines.BASELINES.items()
            if name + ending in self.names
            and data in self.where(name + ending)
            and set(keep) <= set(self.dims(name + ending))
        }
        return baselines.with_baselines(rows, baselines.twins(others))

    @property
    def own_names(self) -> list[str]:
        """Result names without those that are baselines of another."""
        endings = {name + ending for name in self.names for ending in baselines.BASELINES}
        return [name for name in self.names if name not in endings]

    def describe(self, checkpoint: Checkpoint) -> Row:
        return {
            "checkpoint": checkpoint.name, "setting": checkpoint.setting, "ratio": checkpoint.ratio,
            "patch": checkpoint.patch, "seed": checkpoint.seed, "family": checkpoint.family,
            "setting_index": checkpoint.setting_index, "untrained": checkpoint.untrained,
            "by": self.by_values[checkpoint.index], "architecture": self.architectures[checkpoint.index],
        }  # fmt: skip

    def values(self, name: str, data: str, keep: tuple[str, ...] = ()) -> tuple[np.ndarray, np.ndarray | None]:
        """Values (checkpoint, *keep) and bounds (checkpoint, *keep, 2) on one image set after the default choice."""
        choice = self.choose(name, keep)
        j = self.data.index(data)
        values, bounds = self.array(name)[:, j], self.interval(name)
        bounds = None if bounds is None else bounds[:, j]
        dims = self.dims(name)
        for dim in list(dims):
            axis = 1 + dims.index(dim)
            if dim in choice.labels:
                at = self.labels(dim).index(choice.labels[dim])
                values = values.take(at, axis)
                bounds = None if bounds is None else bounds.take(at, axis)
            elif dim in choice.averaged:
                values, bounds = nanmean(values, axis), None
            elif dim == "layer" and choice.layer:
                values = depths.at_last(self.deepest, values, axis)
                bounds = None if bounds is None else depths.at_last(self.deepest, bounds, axis)
            else:
                continue
            dims.remove(dim)
        return values, bounds

    def per_image(self, name: str, data: str) -> np.ndarray | None:
        """Per-image contributions (checkpoint, image) after the default choice; None where the file has none."""
        twin = f"{name}_image"
        if twin not in self.ds.variables or "image" not in self.ds.variables[twin].dims:
            return None
        choice, array = self.choose(name), self.ds.variables[twin]
        place = {dim: self.labels(dim).index(label) for dim, label in choice.labels.items() if dim in array.dims}
        array = array.isel({"data": self.data.index(data), **place})
        dims = [str(dim) for dim in array.dims]
        if set(dims) - {"checkpoint", "image", "layer", *choice.averaged}:
            return None
        order = [dim for dim in ("checkpoint", "layer", *choice.averaged, "image") if dim in dims]
        values = np.asarray(array.values).transpose([dims.index(dim) for dim in order])
        if "layer" in order:
            values = depths.at_last(self.deepest, values, 1)
        values = np.asarray(values, dtype=float)
        while values.ndim > 2:
            values = nanmean(values, 1)
        return values


def _grouping(ds: xr.Dataset, by: str) -> str:
    """`by`, if it is a coordinate along checkpoint."""
    known = [str(name) for name, coord in ds.coords.items() if coord.dims == ("checkpoint",)]
    if by not in known:
        raise ResultsError(f"by={by!r} is no coordinate along checkpoint. {did_you_mean(by, known)}")
    return by


def nanmean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean of what is finite; NaN (without a warning) where nothing is."""
    finite = np.isfinite(values)
    count = finite.sum(axis)
    return np.where(count > 0, np.where(finite, values, 0).sum(axis) / np.maximum(count, 1), np.nan)
