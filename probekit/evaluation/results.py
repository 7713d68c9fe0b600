"""Finished probe results on disk: one `.npz` per probe, checkpoint and image set, read back in a millisecond.

Only what determines the numbers is in the name, so the file is right or absent. It is written whole. A file that cannot
be written or read counts as absent; failing to write is a warning.
"""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from probekit.errors import ProbekitError, StorageError
from probekit.files import read_bytes, write_bytes
from probekit.netcdf import labels
from probekit.seals import sealed, unsealed

Arrays = dict[str, xr.DataArray]


def save(file: Path, arrays: Arrays, reasons: Mapping[str, str], facts: Mapping[str, Any]) -> None:
    """Write a probe's arrays; a failure is a warning, since the caller has the numbers."""
    described = {
        name: {
            "dims": list(array.dims),
            "coords": {dim: array.coords[dim].values.tolist() for dim in array.dims if dim in array.coords},
            "attrs": array.attrs,
        }
        for name, array in arrays.items()
    }
    text = json.dumps({"arrays": described, "reasons": dict(reasons), "facts": facts})
    packed = io.BytesIO()
    values: dict[str, Any] = {f"array_{name}": array.values for name, array in arrays.items()}
    np.savez(packed, description=np.array(text), **values)
    try:
        write_bytes(file, sealed(packed.getbuffer()), kept="The numbers are in this dataset only.", sync=False)
    except StorageError as error:
        warnings.warn(
            f"{error} The next call computes them again. Point PROBEKIT_CACHE at a folder with room to avoid that.",
            RuntimeWarning,
            stacklevel=2,
        )


def load(file: Path) -> tuple[Arrays, dict[str, str]] | None:
    """The arrays of an earlier run and the reasons for variables that it lacks; None if there are none, or if they are
    damaged (with a warning)."""
    if not os.path.lexists(file):
        return None
    try:
        content = unsealed(read_bytes(file))
    except ProbekitError:
        content = None
    if content is None:
        warnings.warn(f"A stored result is damaged: {file} is computed again.", RuntimeWarning, stacklevel=2)
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        description = json.loads(str(stored["description"]))
        arrays = {
            name: xr.DataArray(
                stored[f"array_{name}"],
                coords_of(json.dumps(one["coords"])),
                one["dims"],
                attrs=one["attrs"],
            )
            for name, one in description["arrays"].items()
        }
        return arrays, description["reasons"]


@lru_cache(maxsize=256)
def coords_of(found: str) -> xr.Coordinates:
    """Labels of dims, from JSON (1 and 1.0 differ). Cached, since building them takes most of the reading time."""
    return xr.Coordinates({dim: labels(dim, one) for dim, one in json.loads(found).items()})
