"""netCDF files, written whole and read with care.

A file is built in memory (HDF5 crashes the interpreter where a disk fills under it) and ends in a seal, a digest of
everything before it: a changed bit is found. HDF5 ignores what follows its own end, so any netCDF program reads the
file, and one that changes it drops the seal.

What the file declares is checked before anything is read (`hdf5_checks`). Results of many checkpoints are larger than
what is read at once: their large arrays stay packed until they are asked for, one by one.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Hashable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from probekit.errors import ProbekitError, ResultsError, ResultsWarning, printable
from probekit.files import opened, read_bytes, regular, write_bytes
from probekit.hdf5_checks import LIMIT, attributes_of, check, may_wait
from probekit.seals import sealed, unsealed_size

MAGIC = b"\x89HDF\r\n\x1a\n"

MARGIN = 4096
"""Most bytes that may follow the end of HDF5's own content; a seal takes 84."""

ONLY_A_DIMENSION = "This is a netCDF dimension but not a netCDF variable"
HOUSEKEEPING = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS", "_FillValue", "coordinates")
ENCODED = ("scale_factor", "add_offset", "missing_value", "calendar")


class Unfamiliar(Exception):
    """The file uses something that the quick reader does not know."""


def write(ds: xr.Dataset, path: str | os.PathLike[str]) -> Path:
    """Write a dataset as a sealed netCDF file, whole or not at all; returns its path.

    Raises:
        ResultsError: the dataset holds values that netCDF has no type for.
        StorageError: the file cannot be written; what was there before is unchanged.
    """
    # Per-image outcomes and pictures compress well; strings cannot be compressed by HDF5 filters. Of the shipped grid,
    # level 4 takes 1.6 times as long as level 1 and spares a tenth of the bytes.
    encoding: dict[Hashable, dict[str, Any]] = {
        key: {"zlib": True, "complevel": 1, "chunksizes": chunk_shape(array)}
        for key, array in ds.variables.items()
        if array.dtype.kind in "fiub" and array.size and array.ndim
    }
    try:
        content = shown(ds).to_netcdf(None, engine="h5netcdf", encoding=encoding)
    except (ValueError, TypeError, OverflowError) as error:  # what is not written is the dataset's fault, not a disk's
        raise ResultsError(
            f"{path} cannot be written: the dataset holds what netCDF cannot ({str(error)[:300]}). Give variables and "
            "attributes plain numbers and texts."
        ) from error
    return write_bytes(path, sealed(content))


CHUNK = 2**20
"""Most bytes of a chunk: small enough to read a part of an array, large enough that there are few."""

WHOLE = ("image", "layer", "checkpoint")
"""Dims that are read whole, so that a chunk grows along them first; of the others, one value is often picked."""


def chunk_shape(array: xr.Variable) -> tuple[int, ...]:
    """The shape of an array's chunks: along `WHOLE`, then along the other dims from the last, up to `CHUNK` bytes.

    Example:
        >>> chunk_shape(xr.Variable(("checkpoint", "data", "layer", "image"), np.zeros((50, 3, 7, 500), "f4")))
        (50, 1, 7, 500)
    """
    names = [*(dim for dim in WHOLE if dim in array.dims), *(dim for dim in array.dims[::-1] if dim not in WHOLE)]
    shape, room = dict.fromkeys(array.dims, 1), CHUNK // array.dtype.itemsize
    for dim in names:
        parts = -(-array.sizes[dim] // max(1, room))
        shape[dim] = -(-array.sizes[dim] // parts)
        room //= shape[dim]
    return tuple(shape.values())


def read(path: str | os.PathLike[str], advice: str, *, lazily: bool = False) -> xr.Dataset:
    """Read a netCDF file.

    Args:
        path: the file. Its bytes are taken into memory first: what is checked is what is read.
        advice: how to get a good one; the end of error messages.
        lazily: leave large arrays of numbers packed until they are asked for, and then unpack the part that is. Done in
            any case where all arrays together have more than 1 GiB.

    Raises:
        ResultsError: no regular file, empty, damaged, no netCDF 4, too large, or with data outside the file.
    """
    size = regular(path, what="a results file", limit=LIMIT, error=ResultsError).st_size
    if not size:
        raise ResultsError(f"{path} is empty: the run that wrote it did not finish. {advice}")
    with opened(path, what="a results file", error=ResultsError) as file:  # before all of it is read
        head = file.read(48)
    if not head.startswith(MAGIC):
        begins = head[: len(MAGIC)]
        raise ResultsError(f"{path} cannot be read as netCDF (it begins with {begins!r}). Expected netCDF 4. {advice}")
    end = _end(head)
    if end is not None and size > end + MARGIN:
        raise ResultsError(f"{path} is damaged: it has {size:,} bytes and says that it ends after {end:,}. {advice}")
    content = read_bytes(path, what="a results file", limit=LIMIT, error=ResultsError)
    stream = io.BytesIO(content)
    size = unsealed_size(stream) or 0
    if not size:
        raise ResultsError(f"{path} is damaged: its contents do not match the digest at its end. {advice}")
    try:
        ds = _read(stream, path, lazily)
    except ProbekitError:
        raise
    except Exception as error:  # HDF5 and its readers raise anything on damaged files
        raise ResultsError(
            f"{path} cannot be read as netCDF ({type(error).__name__}: {str(error)[:300]}). It may be truncated, or of "
            f"another kind. {advice}"
        ) from error
    if size == len(content):
        warnings.warn(
            f"{path} has no digest at its end: another program or an earlier version wrote it, so damage to its "
            "numbers would not be noticed.",
            ResultsWarning,
            stacklevel=2,
        )
    return ds


def _end(head: bytes) -> int | None:
    """Where a file says that its HDF5 content ends; None where its first bytes are of a kind that is not known here."""
    version = head[8] if len(head) == 48 else 255
    place = 28 if version in (2, 3) else 40
    if version > 3 or version == 1 or head[9 if place == 28 else 13] != 8:
        return None
    return int.from_bytes(head[place : place + 8], "little")


def _read(stream: BinaryIO, path: str | os.PathLike[str], lazily: bool) -> xr.Dataset:
    import h5py

    file = h5py.File(stream, "r")
    with ExitStack() as stack:
        stack.enter_context(file)
        checked = check(file, path)
        try:
            ds = shown(quick(file, checked.attributes, lazily=lazily or not checked.at_once))
        except (Unfamiliar, KeyError, ValueError, TypeError, AttributeError) as error:
            if not checked.at_once:
                raise ValueError(
                    "it is too large to be read at once, and not written so that it is read in parts"
                ) from error
        else:
            if lazily or not checked.at_once:
                stack.pop_all()  # arrays that are in the file keep it open
            return ds
    with xr.open_dataset(stream, engine="h5netcdf", decode_times=False) as lazy:
        return shown(lazy.load())


def shown(ds: xr.Dataset) -> xr.Dataset:
    """The dataset with control characters of its labels made visible: labels become titles, names and lines."""
    for name, coord in ds.coords.items():
        texts = coord.values.tolist() if coord.dtype.kind in "OU" else []
        if coord.ndim == 1 and any(isinstance(text, str) and printable(text, line=True) != text for text in texts):
            clean = [printable(text, line=True) if isinstance(text, str) else text for text in texts]
            ds = ds.assign_coords({name: (coord.dims, np.array(clean, dtype=object), coord.attrs)})
    return ds


def quick(file: Any, attributes: Mapping[str, Mapping[str, Any]] | None = None, *, lazily: bool = False) -> xr.Dataset:
    """The dataset of a file that was written by `write`, or much like one.

    A file of a hundred variables takes xarray's backend about 3 s, of which 0.1 s is reading. What is written here
    needs little of netCDF, so that little is read; whatever is not of that kind is left to xarray.

    Args:
        file: an open `h5py.File`.
        attributes: as `check` has read them; None to read them here.
        lazily: leave large arrays in the file, which is to stay open as long as one of them is referred to.

    Returns:
        The dataset.

    Raises:
        Unfamiliar: the file uses more of netCDF than is known here.
    """
    import h5py
    from h5py import h5o

    items = dict(file.items())
    for name, stored in items.items():
        if not isinstance(stored, h5py.Dataset):
            raise Unfamiliar(name)
    read = attributes or {name: attributes_of(item)[0] for name, item in {"": file, **items}.items()}
    variables: dict[str, xr.Variable] = {}
    coordinates = set(_text(read[""].get("coordinates", "")).split())
    names = {h5o.get_info(stored.id).addr: name for name, stored in items.items()}
    for name, stored in items.items():
        attrs = read[name]
        if _text(attrs.get("NAME", "")).startswith(ONLY_A_DIMENSION):
            continue
        variables[name] = _variable(name, stored, attrs, names, lazily)
        coordinates |= set(_text(attrs.get("coordinates", "")).split())
    coordinates |= {name for name, one in variables.items() if one.dims == (name,)}
    data = {name: one for name, one in variables.items() if name not in coordinates}
    kept = {name: variables[name] for name in coordinates if name in variables}
    return xr.Dataset(data, kept, _plain_attributes(read[""]))


def _variable(name: str, stored: Any, attrs: Mapping[str, Any], names: Mapping[int, str], lazily: bool) -> xr.Variable:
    """One variable with its dims, values and attributes; `names` tells the dims by their addresses in the file."""
    from h5py import h5o, h5r

    if any(key in attrs for key in ENCODED) or " since " in _text(attrs.get("units", "")):
        raise Unfamiliar(name)
    if "DIMENSION_LIST" in attrs:
        dims = [names[h5o.get_info(h5r.dereference(each[0], stored.id)).addr] for each in attrs["DIMENSION_LIST"]]
    else:
        dims = [name] if stored.ndim else []
    if len(dims) != stored.ndim:
        raise Unfamiliar(name)
    if "_FillValue" in attrs and (stored.dtype.kind != "f" or not np.isnan(attrs["_FillValue"]).all()):
        raise Unfamiliar(name)
    described = _plain_attributes(attrs)
    boolean = described.pop("dtype", "") == "bool"
    if lazily and may_wait(stored, attrs):
        return xr.Variable(dims, indexing.LazilyIndexedArray(Stored(stored)), described, fastpath=True)
    values = np.asarray(stored.asstr()[()], dtype=str) if stored.dtype.kind == "O" else np.asarray(stored[()])
    if dims == [name] and values.dtype.kind in "iufU" and values.dtype.isnative:
        return labels(name, values, described)
    return xr.Variable(dims, values.astype(bool) if boolean else values, described, fastpath=True)


def labels(dim: str, values: Any, attrs: Mapping[str, Any] | None = None) -> xr.IndexVariable:
    """Labels of a dim, of which xarray need not ask whether they are of another array library (it imports all)."""
    array = np.asarray(values)
    index = pd.Index(array.astype(object) if array.dtype.kind == "U" else array)
    return xr.IndexVariable(dim, indexing.PandasIndexingAdapter(index, dtype=array.dtype), attrs)


class Stored(BackendArray):
    """An array that is in an open file, of which each use reads the part that it asks for."""

    def __init__(self, stored: Any) -> None:
        self.stored, self.shape, self.dtype = stored, stored.shape, stored.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        support = indexing.IndexingSupport.OUTER_1VECTOR
        return np.asarray(indexing.explicit_indexing_adapter(key, self.shape, support, self._part))

    def _part(self, key: tuple[Any, ...]) -> np.ndarray:
        lengths = [len(np.arange(n)[one]) for n, one in zip(self.shape, key, strict=True) if not np.isscalar(one)]
        if (size := math.prod(lengths) * self.dtype.itemsize) > LIMIT:
            raise ResultsError(
                f"{self.stored.name!r} of a results file has {size:,} bytes, and at most {LIMIT:,} are read at once. "
                "Take a part first, e.g. `ds.isel(checkpoint=slice(10))`."
            )
        try:
            return np.asarray(self.stored[key])
        except Exception as error:  # as in `read`
            raise ResultsError(
                f"{self.stored.name!r} of a results file cannot be read ({type(error).__name__}: {str(error)[:300]}). "
                "The file is damaged: copy it again, or run the evaluation again."
            ) from error


def _plain_attributes(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as xarray gives them: texts, numbers and lists of them, without netCDF's own."""
    found = {}
    for key, value in attrs.items():
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
