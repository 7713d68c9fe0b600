"""Read a results file quickly: straight from HDF5, where the general reader spends most of a report's time.

A file of a hundred variables takes xarray's netCDF backend about 3 s, of which 0.1 s is reading. What probekit writes
needs little of netCDF, so that little is read here. Whatever is not of that kind, and every file with something wrong
in it, is left to `schema.read`, whose dataset or error is then the answer.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from probekit import schema
from probekit.errors import ResultsError
from probekit.results.settling import settled

ONLY_A_DIMENSION = "This is a netCDF dimension but not a netCDF variable"
HOUSEKEEPING = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS", "_FillValue", "coordinates")
ENCODED = ("scale_factor", "add_offset", "missing_value", "calendar")


class Unfamiliar(Exception):
    """The file uses something that the quick reader does not know."""


def read(path: str | Path) -> xr.Dataset:
    """A results dataset from a file: the same as `schema.read`, in a fraction of the time.

    Raises:
        ResultsError: as `schema.read`.
    """
    try:
        ds = quick(Path(path))
    except (Unfamiliar, OSError, KeyError, ValueError, TypeError, RuntimeError):
        return schema.read(path)  # reads what is merely unusual, and says what is wrong
    return schema.upgrade(settled(ds), str(path))


def opened(source: xr.Dataset | str | os.PathLike[str], who: str) -> xr.Dataset:
    """A checked dataset from one, or from the path of one.

    Args:
        source: the dataset or path.
        who: the function that was called, for the error.

    Raises:
        ResultsError: neither, or no results.
    """
    if isinstance(source, xr.Dataset):
        return schema.validate(settled(source))
    if isinstance(source, str | os.PathLike):
        return read(Path(source))
    raise ResultsError(f"{who} was given a {type(source).__name__}; expected a results dataset or the path of one.")


def quick(path: Path) -> xr.Dataset:
    """The dataset of a file written by `schema.write`."""
    import h5py

    variables: dict[str, xr.Variable] = {}
    coordinates: set[str] = set()
    with h5py.File(path, "r") as file:
        for name, stored in file.items():
            if not isinstance(stored, h5py.Dataset):
                raise Unfamiliar(name)
            if text(stored.attrs.get("NAME", "")).startswith(ONLY_A_DIMENSION):
                continue
            variables[name] = variable(file, name, stored)
            coordinates |= set(text(stored.attrs.get("coordinates", "")).split())
        attributes = plain_attributes(file)
        coordinates |= set(text(file.attrs.get("coordinates", "")).split())
    coordinates |= {name for name, one in variables.items() if one.dims == (name,)}
    data = {name: one for name, one in variables.items() if name not in coordinates}
    return xr.Dataset(data, {name: variables[name] for name in coordinates if name in variables}, attributes)


def variable(file: Any, name: str, stored: Any) -> xr.Variable:
    """One variable with its dims, values and attributes."""
    attrs = stored.attrs
    if any(key in attrs for key in ENCODED) or " since " in text(attrs.get("units", "")):
        raise Unfamiliar(name)
    if "DIMENSION_LIST" in attrs:
        dims = [file[references[0]].name.lstrip("/") for references in attrs["DIMENSION_LIST"]]
    else:
        dims = [name] if stored.ndim else []
    if len(dims) != stored.ndim:
        raise Unfamiliar(name)
    if stored.dtype.kind == "O":
        values = np.asarray(stored.asstr()[()], dtype=str)
    else:
        values = stored[()]
        if "_FillValue" in attrs and np.asarray(values).dtype.kind != "f":
            raise Unfamiliar(name)
    described = plain_attributes(stored)
    if described.pop("dtype", "") == "bool":
        values = values.astype(bool)
    return xr.Variable(dims, values, described)


def plain_attributes(stored: Any) -> dict[str, Any]:
    """Attributes as xarray gives them: texts, numbers and lists of them, without netCDF's own."""
    found = {}
    for key, value in stored.attrs.items():
        if key in HOUSEKEEPING or key.startswith(("_Netcdf4", "_NC")):
            continue
        if isinstance(value, bytes):
            value = value.decode()
        elif isinstance(value, np.ndarray) and value.dtype.kind == "O":
            value = [text(item) for item in value]
        elif isinstance(value, np.ndarray) and value.size == 1:
            value = value.reshape(-1)[0]
        found[key] = value
    return found


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
