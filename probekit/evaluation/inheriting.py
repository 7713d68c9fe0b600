"""A results file among the checkpoints brings its suite, data, counts, seed and options: a new checkpoint is measured
as the others were, and the numbers line up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import xarray as xr

from probekit import probes, schema
from probekit.collect import Counts
from probekit.errors import ProbeError
from probekit.evaluation import suites
from probekit.evaluation.suite_versions import Plan


@dataclass
class Inherited:
    """The settings that results were measured with.

    Attributes:
        suite: a suite's name, or probes; None if unknown, as the others are then.
        own: each checkpoint took the image sets that fit it.
        counts: spec of an image set -> how many images of it.
        seed, precision, features_dtype: as in `compare`.
        mask_grid, picture_side: what the checkpoints agreed on.
        options: probe -> the options that were not at their defaults.
        defaults: probes of which all other options were at their defaults, on every image set.
    """

    suite: str | list[str] | None = None
    own: bool = False
    counts: dict[str, Counts] = field(default_factory=dict)
    seed: int | None = None
    precision: str | None = None
    features_dtype: str | None = None
    mask_grid: tuple[int, int] | None = None
    picture_side: int | None = None
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    defaults: set[str] = field(default_factory=set)

    def plans(self, suite: Any, data: Any, counts: Counts | None) -> list[Plan]:
        """The plans of a call: what is not given is the file's."""
        data = list(self.counts) if data is None and self.counts and not self.own else data
        chosen = suites.plans(suite, data, counts)
        if counts is not None:
            return chosen
        by_name = {spec.partition("?")[0]: found for spec, found in self.counts.items()} | self.counts
        return [
            replace(plan, counts=by_name.get(plan.data, plan.counts)) if isinstance(plan.data, str) else plan
            for plan in chosen
        ]

    def options_of(self, chosen: Sequence[Plan]) -> dict[str, dict[str, Any]]:
        """The options of the probes that are to be run; a suite's own do not take the place of defaults in the file."""
        running = {name for plan in chosen for name in plan.probes}
        found = {name: dict(options) for name, options in self.options.items() if name in running and options}
        for plan in chosen:
            for name in self.defaults & set(plan.options) & running:
                usual = {key: probes.find(name).options[key] for key in plan.options[name]}
                found[name] = usual | found.get(name, {})
        return found


def inherited(datasets: Sequence[xr.Dataset], given: set[str]) -> Inherited:
    """What results datasets agree on.

    Args:
        datasets: the results among the checkpoints; none if no checkpoint is measured beside them.
        given: of "suite" and "seed", what the caller names.

    Raises:
        ProbeError: they were measured with different suites or seeds, or do not say with which, and none is given.
    """
    out = Inherited()
    for ds in datasets:
        told = schema.provenance(ds)
        found = Inherited(suite=suites.recorded(told), own=told.get("data") == "own")
        for record in _records(told):
            spec, counts, settings = record["data"]["spec"], record["data"]["counts"], record["settings"]
            known = {name: counts[name] for name in Counts.__dataclass_fields__ if name in counts}
            found.counts[spec] = replace(Counts(), **known)
            found.seed, found.precision = settings["seed"], settings["precision"]
            found.features_dtype = settings.get("features_dtype")
            found.mask_grid = tuple(settings["mask_grid"]) if settings.get("mask_grid") else None
            found.picture_side = settings.get("picture_side")
        for name in schema.result_names(ds):
            options, everywhere = _options(ds[name])
            found.options |= options
            found.defaults |= set(options) if everywhere else set()
        out = found if ds is datasets[0] else _agreed(out, found, given)
    if datasets and out.suite is None and "suite" not in given:
        raise ProbeError(
            "The results among the checkpoints do not say what they were measured with (their provenance is gone): "
            "name suite=, data= and seed= for the checkpoints that are to be measured beside them."
        )
    return out


def joined(datasets: Sequence[xr.Dataset]) -> dict[str, Any]:
    """For the record of results that are put together alone: their suite and data, as far as they agree."""
    told = [{key: schema.provenance(ds).get(key) for key in ("suite", "suite_version", "data")} for ds in datasets]
    agreed = {key: value for key, value in told[0].items() if all(one[key] == value for one in told)}
    known = {key: value for key, value in agreed.items() if value is not None}
    return known if {"suite", "suite_version"} <= set(agreed) else {}


def _records(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The records of evaluations in a provenance, those of files that it was put together from too."""
    out: list[dict[str, Any]] = []
    for record in told.get("records", []):
        if "from_results" in record:
            out += _records(record["from_results"])
        elif {"data", "settings"} <= set(record):
            out.append(record)
    return out


def _options(variable: xr.DataArray) -> tuple[dict[str, dict[str, Any]], bool]:
    """Probe -> the options of the variable that were not at their defaults on any image set, and whether these are all
    that were not at their defaults on one of them."""
    probe, told = variable.attrs.get("probe"), variable.attrs.get("options")
    try:
        options = json.loads(told) if probe and told else None
        if isinstance(options, dict) and "by_data" in options:
            each = [json.loads(one) if isinstance(one, str) else one for one in options["by_data"].values()]
            first, *others = [one or {} for one in each]
            shared = {key: value for key, value in first.items() if all(one.get(key) == value for one in others)}
            return {str(probe): shared}, False
    except (ValueError, AttributeError):
        return {}, False
    if not isinstance(options, dict) or "mixed" in options:
        return {}, False
    return {str(probe): options}, True


def _agreed(one: Inherited, other: Inherited, given: set[str]) -> Inherited:
    """Both together."""
    for name in {"suite", "seed"} - given:
        first, second = getattr(one, name), getattr(other, name)
        if first != second:
            raise ProbeError(
                f"The results among the checkpoints were measured with different {name}s ({first!r} and {second!r}): "
                f"name {name}= for the checkpoints that are to be measured beside them."
            )
    counts, options = one.counts | other.counts, one.options | other.options
    return replace(one, counts=counts, options=options, defaults=one.defaults & other.defaults)
