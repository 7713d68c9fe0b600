"""Probes: one file each in this folder, found by its presence; or a module of your own, registered or installed.

A probe module has a docstring (its first line is the probe's line in `probekit probes`) and

- `VARIABLES`: the `probekit.schema.Variable`s that `run` returns;
- `NEEDS`: names of measurements that must have been taken (`probekit.collect.needs.NEEDS` and `EXTRA`);
- `REQUIRES`: what the checkpoint and the image set must have, from `REQUIREMENTS`;
- `OPTIONS`: its settings with their defaults, JSON-able; other values must be of the same kind, and go into the
  variables' attribute `options`; `CHOICES`, if it has any: option -> the texts that it may be;
- `AFTER`, if it measures more while it runs: option -> the names of those measurements, for the cost beforehand;
- `run(measurements, **options) -> {name: xr.DataArray}`, from `Variable.arrays`; further arrays (pictures) may come
  along. `measurements` is a `probekit.collect.Measurements`: it documents all that a probe can read.

A file that holds several probes lists them as `PROBES`, a tuple of `Probe`. Files without either are shared helpers:
`intervals` (means, R² and their intervals), `linear_head`, `pictures`.

A module of your own becomes a probe in one of two ways: `probekit.probes.register(module)`, for this process; or an
entry point of the group `probekit.probes` in its package's pyproject.toml, wherever that package is installed:

    [project.entry-points."probekit.probes"]
    feature_norm = "my_package.feature_norm"
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import Any

from probekit import plugins
from probekit.collect import Measurements
from probekit.errors import ProbeError, did_you_mean
from probekit.probes.definition import ATTRIBUTES, Probe, described
from probekit.probes.requirements import REQUIREMENTS

GROUP = "probekit.probes"
"""Entry-point group of probes that other packages bring along."""

_registered: dict[str, Probe] = {}


@cache
def _shipped() -> dict[str, Probe]:
    """The probes of this folder."""
    found: dict[str, Probe] = {}
    for file in pkgutil.iter_modules(__path__):
        module = import_module(f"{__name__}.{file.name}")
        if hasattr(module, "PROBES"):
            found |= {probe.name: probe for probe in module.PROBES}
        elif any(hasattr(module, attribute) for attribute in ATTRIBUTES[:1]):
            found[file.name] = described(file.name, module)
    return found


@cache
def _installed() -> dict[str, EntryPoint]:
    """Entry points of other packages by probe name."""
    return plugins.others(GROUP, _shipped())


def register(module: Any, name: str | None = None) -> Probe:
    """Make a module of your own a probe, for this process.

    Args:
        module: a module with `VARIABLES`, `NEEDS`, `REQUIRES`, `OPTIONS`, `run` and a docstring; see this package.
        name: what to ask for it by; the last part of the module's name if None.

    Returns:
        The probe. Registering the same module again replaces it.

    Raises:
        ProbeError: something is missing, or another probe has the name, or one of its variables.

    Example:
        >>> import probekit, my_package.feature_norm  # doctest: +SKIP
        >>> probekit.probes.register(my_package.feature_norm)  # doctest: +SKIP
        >>> probekit.evaluate("model.pth", "feature_norm", data="imagefolder:/data/val")  # doctest: +SKIP
    """
    probe = described(name or module.__name__.rpartition(".")[2], module)
    if probe.name in _shipped():
        raise ProbeError(
            f"probekit has a probe {probe.name!r} of its own: give yours another name, register(..., name=)."
        )
    taken = {
        variable.name: other.name
        for other in (*_shipped().values(), *_registered.values())
        if other.name != probe.name
        for variable in other.variables
    }
    for variable in probe.variables:
        if variable.name in taken:
            raise ProbeError(
                f"The probe {probe.name} measures {variable.name!r}, as {taken[variable.name]} does: give the variable "
                "another name."
            )
    _registered[probe.name] = probe
    return probe


def names() -> list[str]:
    """Names of all probes: those that ship, that were registered, and that other packages bring along.

    Returns:
        The names, sorted.

    Example:
        >>> "knn" in names()
        True
    """
    return sorted({*_shipped(), *_registered, *_installed()})


def find(name: str) -> Probe:
    """The probe of this name.

    Args:
        name: as in `names`.

    Returns:
        The `Probe`: its variables, needs, requirements and options, and `run`.

    Raises:
        ProbeError: there is none, or its package cannot be imported.

    Example:
        >>> [variable.name for variable in find("knn").variables][0]
        'knn_accuracy'
    """
    known = _shipped() | _registered
    if name in known:
        return known[name]
    if name in _installed():
        return _loaded(name)
    raise ProbeError(f"No probe is called {name!r}. {did_you_mean(name, names(), limit=30)}")


def _loaded(name: str) -> Probe:
    """A probe of another package, imported and registered."""
    module = plugins.loaded(_installed()[name], "probe", ProbeError)
    return register(module, name)


def describe(name: str) -> str:
    """A probe's one line.

    Args:
        name: as in `names`.

    Returns:
        The first line of its docstring.

    Raises:
        ProbeError: as in `find`.

    Example:
        >>> print(describe("low_level"))
        How well mean colour, contrast, edge orientation and local texture are read linearly.
    """
    return find(name).summary


__all__ = ["GROUP", "REQUIREMENTS", "Measurements", "Probe", "describe", "find", "names", "register"]
