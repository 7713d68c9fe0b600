"""What other packages bring along: entry points of the groups `probekit.probes`, `probekit.formats`, `probekit.data`.

A package declares them in its pyproject.toml; installing it is all that there is to do:

    [project.entry-points."probekit.probes"]
    feature_norm = "my_package.feature_norm"

    [project.entry-points."probekit.formats"]
    my_trainer = "my_package.trainer_format"

    [project.entry-points."probekit.data"]
    microscope = "my_package.microscope"
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from probekit.errors import ProbekitError


@cache
def installed(group: str) -> dict[str, EntryPoint]:
    """Entry points by name; of one name the first, and a warning for the others.

    Args:
        group: e.g. "probekit.probes".
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        if point.name in found:
            _left_out(point)
        else:
            found[point.name] = point
    return found


def others(group: str, taken: Collection[str]) -> dict[str, EntryPoint]:
    """Entry points whose names are not taken by what probekit has itself; a warning for each that is left out."""
    found = installed(group)
    for name in found:
        if name in taken:
            _left_out(found[name])
    return {name: point for name, point in found.items() if name not in taken}


def loaded(point: EntryPoint, what: str, error: type[ProbekitError]) -> Any:
    """The module of an entry point.

    Args:
        point: from `installed` or `others`.
        what: for the message, e.g. "probe".
        error: class of the error.

    Raises:
        ProbekitError: of that class; it cannot be imported, and which package it is of.
    """
    try:
        return point.load()
    except Exception as cause:
        package = point.dist.name if point.dist else "another package"
        raise error(
            f"The {what} {point.name} ({point.value}) cannot be imported: {type(cause).__name__}: {cause}. It comes "
            f"from {package}: repair or uninstall that."
        ) from cause


def _left_out(point: EntryPoint) -> None:
    warnings.warn(
        f"The entry point {point.value!r} is named {point.name!r}, as another one is: it is left out. Rename it in its "
        "package.",
        RuntimeWarning,
        stacklevel=3,
    )
