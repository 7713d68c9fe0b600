"""Probes: each is one file in this folder, and its presence registers it. Adding one touches nothing else.

A probe file has a docstring (its first line is the probe's line in `probekit probes`) and

- `VARIABLES`: the `schema.Variable`s that `run` returns;
- `NEEDS`: names of measurements (`collect.measurements.NEEDS` and `EXTRA`) that must have been taken;
- `REQUIRES`: what the checkpoint and the image set must have, from `REQUIREMENTS` below;
- `OPTIONS`: its settings with their defaults, JSON-able; other values must be of the same kind (`options.checked`),
  and go into the variables' attribute `options`; `CHOICES`, if it has any: option -> the texts that it may be;
- `run(measurements, **options) -> dict name -> xr.DataArray`, from `Variable.arrays`; further arrays (pictures) may
come along.

A file whose name starts with an underscore is shared code, not a probe.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.collect.image_sets import Splits
from probekit.collect.prepared import PreparedModel
from probekit.errors import ProbeError, did_you_mean
from probekit.probes.options import checked
from probekit.schema import Variable


@dataclass(frozen=True)
class Probe:
    """A probe as its file describes it."""

    name: str
    summary: str
    variables: tuple[Variable, ...]
    needs: tuple[str, ...]
    requires: tuple[str, ...]
    options: Mapping[str, Any]
    choices: Mapping[str, Sequence[str]]
    run: Callable[..., dict[str, xr.DataArray]]

    @property
    def version(self) -> list[int]:
        return [variable.version for variable in self.variables]

    def settings(self, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """Its options with the defaults filled in; an unknown one, or a value of another kind, is an error."""
        given = dict(options or {})
        for name, value in given.items():
            if name not in self.options:
                raise ProbeError(f"The probe {self.name} has no option {name!r}. {did_you_mean(name, self.options)}")
            given[name] = checked(self.name, name, value, self.options[name], self.choices.get(name, ()))
        return {**self.options, **given}

    def lacking(self, prepared: PreparedModel, sets: Splits) -> str | None:
        """Why this probe has no number for this checkpoint on this image set; None if it has."""
        for name in self.requires:
            reason = REQUIREMENTS[name](prepared, sets)
            if reason:
                return reason
        return None


def _decoder(prepared: PreparedModel, sets: Splits) -> str | None:
    return (
        None
        if prepared.model.has_decoder
        else "the checkpoint is an encoder alone: it has no decoder to reconstruct with"
    )


def _attention(prepared: PreparedModel, sets: Splits) -> str | None:
    kind = type(prepared.model.encoder.blocks[0]).__name__
    return None if prepared.model.has_attention else f"the attention of {kind} blocks cannot be read"


def _cls(prepared: PreparedModel, sets: Splits) -> str | None:
    return None if "cls" in prepared.poolings else "the checkpoint has no [CLS] token"


def _splits(prepared: PreparedModel, sets: Splits) -> str | None:
    missing = [split for split in ("train", "val", "test") if not sets.has(split)]
    return (
        f"the image set has no {' and no '.join(missing)} split; give a dict of image sets with all three"
        if missing
        else None
    )


def _test(prepared: PreparedModel, sets: Splits) -> str | None:
    return None if sets.has("test") else "the image set has no test split"


def _classes(prepared: PreparedModel, sets: Splits) -> str | None:
    if isinstance(sets.source, Mapping) and len({tuple(images.classes) for images in sets.source.values()}) > 1:
        return "its splits name different classes; all must list the same ones in the same order"
    labels = sets.any.labels
    found = len(np.unique(labels))
    if found < 2:
        return (
            f"the image set has one class only ({sets.any.classes[int(labels[0])]!r}); a classifier needs two or more"
        )
    return None


def _latents(prepared: PreparedModel, sets: Splits) -> str | None:
    return None if sets.any.height is not None else "the latents of these images are not known (they are on 'quadtree')"


def _masks(prepared: PreparedModel, sets: Splits) -> str | None:
    return None if sets.any.object_masks is not None else "the image set has no object masks (it has on 'shapes')"


def _conflict(prepared: PreparedModel, sets: Splits) -> str | None:
    return (
        None if sets.conflict else "no version of the image set has conflicting shape and texture (one of 'shapes' has)"
    )


def _shifts(prepared: PreparedModel, sets: Splits) -> str | None:
    return None if sets.shifts else "the image set has no shifted versions (it has on 'shapes')"


REQUIREMENTS: dict[str, Callable[[PreparedModel, Splits], str | None]] = {
    "decoder": _decoder,
    "attention": _attention,
    "cls": _cls,
    "splits": _splits,
    "test": _test,
    "classes": _classes,
    "latents": _latents,
    "object_masks": _masks,
    "conflict": _conflict,
    "shifts": _shifts,
}
"""Name -> function that gives the reason why it is not met, or None."""


def names() -> list[str]:
    """Names of all probes, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


@cache
def find(name: str) -> Probe:
    """The probe of this name.

    Raises:
        ProbeError: there is none.
    """
    if name not in names():
        raise ProbeError(f"No probe is called {name!r}. {did_you_mean(name, names(), limit=20)}")
    module = import_module(f"{__name__}.{name}")
    summary = inspect.cleandoc(module.__doc__ or "").splitlines()[0]
    return Probe(
        name,
        summary,
        tuple(module.VARIABLES),
        tuple(module.NEEDS),
        tuple(module.REQUIRES),
        dict(module.OPTIONS),
        getattr(module, "CHOICES", {}),
        module.run,
    )


def describe(name: str) -> str:
    """A probe's one line."""
    return find(name).summary


__all__ = ["REQUIREMENTS", "Measurements", "Probe", "describe", "find", "names"]
