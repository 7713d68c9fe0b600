"""netCDF files, written whole and read with care.

A file is built in memory (HDF5 crashes the interpreter where a disk fills under it) and ends in a seal, a digest of
everything before it: a changed bit is found. HDF5 ignores what follows its own end, so any netCDF program reads the
file, and one that changes it drops the seal.

HDF5 can point out of the file and declare terabytes in a few bytes. Links to other files, external storage and virtual
datasets are refused by name, and sizes are checked before anything is read.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from probekit.errors import ProbekitError, ResultsError, ResultsWarning, printable
from probekit.files import opened, regular, write_bytes
from probekit.seals import sealed, unsealed_size

LIMIT = 2**30
"""Most bytes that a file, and all of its arrays together, may have."""

FREE = 64 * 2**20
"""Bytes that arrays may have however few bytes they take in the file."""

RATIO = 2000
"""Most bytes of arrays for each byte in the file, beyond `FREE`: deflate reaches about 1,000."""

ATTRIBUTES = 64 * 2**20
"""Most bytes of attributes, and of texts, in a file."""

MAGIC = b"\x89HDF\r\n\x1a\n"

ONLY_A_DIMENSION = "This is a netCDF dimension but not a netCDF variable"
HOUSEKEEPING = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS", "_FillValue", "coordinates")
ENCODED = ("scale_factor", "add_offset", "missing_value", "calendar")


class Unfamiliar(Exception):
    """The file uses something that the quick reader does not know."""


def write(ds: xr.Dataset, path: str | os.PathLike[str]) -> Path:
    """Write a dataset as a sealed netCDF file, whole or not at all; returns its path.

    Raises:
        StorageError: the file cannot be written; what was there before is unchanged.
    """
    # Per-image outcomes and pictures compress well; strings cannot be compressed by HDF5 filters.
    encoding: dict[Hashable, dict[str, Any]] = {
        key: {"zlib": True, "complevel": 4}
        for key, array in ds.variables.items()
        if array.dtype.kind in "fiub" and array.ndim
    }
    content = ds.to_netcdf(None, engine="h5netcdf", encoding=encoding)
    return write_bytes(path, sealed(content))


def read(path: str | os.PathLike[str], advice: str) -> xr.Dataset:
    """Read a netCDF file into memory.

    Args:
        path: the file.
        advice: how to get a good one; the end of error messages.

    Raises:
        ResultsError: no regular file, empty, damaged, no netCDF 4, too large, or with data outside the file.
    """
    found = regular(path, what="a results file", limit=LIMIT, error=ResultsError)
    if not found.st_size:
        raise ResultsError(f"{path} is empty: the run that wrote it did not finish. {advice}")
    with opened(path, error=ResultsError) as stream:
        head = stream.read(len(MAGIC))
        if head != MAGIC:
            raise ResultsError(
                f"{path} cannot be read as netCDF (it begins with {head!r}). Expected netCDF 4. {advice}"
            )
        size = unsealed_size(stream)
        if size is None:
            raise ResultsError(f"{path} is damaged: its contents do not match the digest at its end. {advice}")
    try:
        _check(Path(path))
        ds = _read(Path(path))
    except ProbekitError:
        raise
    except Exception as error:  # HDF5 and its readers raise anything on damaged files
        raise ResultsError(
            f"{path} cannot be read as netCDF ({type(error).__name__}: {str(error)[:300]}). It may be truncated, or of "
            f"another kind. {advice}"
        ) from error
    if size == found.st_size:
        warnings.warn(
            f"{path} has no digest at its end: another program or an earlier version wrote it, so damage to its "
            "numbers would not be noticed.",
            ResultsWarning,
            stacklevel=2,
        )
    return ds


def _read(path: Path) -> xr.Dataset:
    try:
        return quick(path)
    except (Unfamiliar, KeyError, ValueError, TypeError, AttributeError):
        with xr.open_dataset(path, engine="h5netcdf", decode_times=False) as lazy:
            return _shown(lazy.load())


def _shown(ds: xr.Dataset) -> xr.Dataset:
    """The dataset with control characters of its labels made visible: labels become titles, names and lines."""
    for name, coord in ds.coords.items():
        texts = coord.values.tolist() if coord.dtype.kind in "OU" else []
        if coord.ndim == 1 and any(isinstance(text, str) and printable(text, line=True) != text for text in texts):
            clean = [printable(text, line=True) if isinstance(text, str) else text for text in texts]
            ds = ds.assign_coords({name: (coord.dims, np.array(clean, dtype=object), coord.attrs)})
    return ds


def _check(path: Path) -> None:
    """Refuse what reads other files, and what would take more memory than the file can fill."""
    import h5py

    with h5py.File(path, "r") as file:
        total = stored = attributes = texts = 0
        attributes += _attributes(file)
        for name in file:
            link = file.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                target = getattr(link, "filename", "") or getattr(link, "path", "")
                raise ResultsError(
                    f"{path}: {name!r} is a link to {target!r}. A results file holds its numbers itself; links are not "
                    "followed. Write the dataset again with xarray."
                )
            item = file[name]
            if not isinstance(item, h5py.Dataset):
                continue  # a group: not read
            total += _declared(path, name, item)
            stored += item.id.get_storage_size()
            attributes += _attributes(item)
            if total > LIMIT or total > FREE + RATIO * stored:
                raise ResultsError(
                    f"{path}: up to {name!r}, its arrays have {total:,} bytes, of which the file holds {stored:,}. It "
                    f"is damaged, or too large (at most {LIMIT:,} bytes): open it with xarray and keep a part."
                )
            if attributes > ATTRIBUTES:
                raise ResultsError(f"{path}: the attributes up to {name!r} have {attributes:,} bytes. It is damaged.")
            if item.dtype.kind == "O":
                texts += _texts(item, path, ATTRIBUTES - texts)


def _declared(path: Path, name: str, item: Any) -> int:
    """Bytes that an array takes in memory; refuses arrays whose data lie elsewhere, or that are no numbers or texts."""
    import h5py

    if item.is_virtual or item.external:
        kind = "a virtual dataset" if item.is_virtual else "external storage"
        raise ResultsError(
            f"{path}: {name!r} is {kind}: its numbers lie in other files, which are not read. Write the dataset again "
            "with xarray."
        )
    texts = h5py.check_string_dtype(item.dtype) is not None
    if item.dtype.kind not in "iufbSU" and not texts and h5py.check_enum_dtype(item.dtype) is None:
        raise ResultsError(f"{path}: {name!r} has the type {item.dtype}; expected numbers or texts.")
    return math.prod(item.shape or ()) * (64 if item.dtype.kind == "O" else item.dtype.itemsize)


def _attributes(item: Any) -> int:
    """Bytes of the attributes of a dataset or file."""
    total = 0
    for name in item.attrs:
        attribute = item.attrs.get_id(name)
        total += math.prod(attribute.shape) * max(attribute.dtype.itemsize, 1)
    return total


def _texts(item: Any, path: Path, budget: int) -> int:
    """Bytes of the texts of an array, read one by one: many elements may point to one long text."""
    total = 0
    for place in np.ndindex(item.shape or ()):
        total += len(item[place])
        if total > budget:
            raise ResultsError(
                f"{path}: the texts of {item.name!r} have more than {ATTRIBUTES:,} bytes. It is damaged."
            )
    return total


def quick(path: Path) -> xr.Dataset:
    """The dataset of a file that was written by `write`, or much like one.

    A file of a hundred variables takes xarray's backend about 3 s, of which 0.1 s is reading. What is written here
    needs little of netCDF, so that little is read; whatever is not of that kind is left to xarray.
    """
    import h5py

    variables: dict[str, xr.Variable] = {}
    coordinates: set[str] = set()
    with h5py.File(path, "r") as file:
        for name, stored in file.items():
            if not isinstance(stored, h5py.Dataset):
                raise Unfamiliar(name)
            if _text(stored.attrs.get("NAME", "")).startswith(ONLY_A_DIMENSION):
                continue
            variables[name] = _variable(file, name, stored)
            coordinates |= set(_text(stored.attrs.get("coordinates", "")).split())
        attributes = _plain_attributes(file)
        coordinates |= set(_text(file.attrs.get("coordinates", "")).split())
    coordinates |= {name for name, one in variables.items() if one.dims == (name,)}
    data = {name: one for name, one in variables.items() if name not in coordinates}
    return xr.Dataset(data, {name: variables[name] for name in coordinates if name in variables}, attributes)


def _variable(file: Any, name: str, stored: Any) -> xr.Variable:
    """One variable with its dims, values and attributes."""
    attrs = stored.attrs
    if any(key in attrs for key in ENCODED) or " since " in _text(attrs.get("units", "")):
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
    described = _plain_attributes(stored)
    if described.pop("dtype", "") == "bool":
        values = values.astype(bool)
    return xr.Variable(dims, np.asarray(values), described, fastpath=True)


def _plain_attributes(stored: Any) -> dict[str, Any]:
    """Attributes as xarray gives them: texts, numbers and lists of them, without netCDF's own."""
    found = {}
    for key, value in stored.attrs.items():
        if key in HOUSEKEEPING or key.startswith(("_Netcdf4", "_NC")):
            continue
        if isinstance(value, bytes):
            value = value.decode()
        elif isinstance(value, np.ndarray) and value.dtype.kind == "O":
            value = [_text(item) for item in value]
        elif isinstance(value, np.ndarray) and value.size == 1:
            value = value.reshape(-1)[0]
        found[key] = value
    return found


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
