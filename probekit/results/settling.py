"""What xarray's own verbs do to a results dataset, undone where nothing is lost.

`sel` drops a dim, `where` turns whole numbers and pictures into floats and repeats facts of an image set for every
checkpoint, `concat` does so too, files of other kinds bring texts as bytes, and merging can drop attributes. The
numbers are unharmed; only the layout is not that of the schema. `settled` restores it. What it cannot restore,
`schema.problems` names with its cure.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from probekit import schema
from probekit.results.aligning import fill_of

KINDS: dict[str, np.dtype[Any]] = {
    "label": np.dtype(np.int64),
    "group": np.dtype(np.int64),
    "example_image": np.dtype(np.uint8),
    "example_hidden": np.dtype(np.bool_),
    "example_truth": np.dtype(np.uint8),
    "example_detection": np.dtype(np.uint8),
    "example_other": np.dtype(np.uint8),
    "example_reconstruction": np.dtype(np.uint8),
    "example_reconstruction_full": np.dtype(np.uint8),
}
"""Variables that are no floats; `where` and `concat` make floats of them, with NaN where there is nothing."""


OWN = ("checkpoint", "data")


def settled(ds: xr.Dataset) -> xr.Dataset:
    """A dataset in the layout of the schema, as far as xarray's verbs changed no more than that; never raises.

    Example:
        >>> settled(ds.sel(data="shapes")).sizes["data"]  # doctest: +SKIP
        1
    """
    if any(len(index.names) > 1 for index in ds.indexes.values()):
        return ds  # `schema.problems` says what to do
    ds = _loaded(ds)
    ds = ds.set_coords([name for name in schema.COORDS if name in ds.variables and name not in ds.coords])
    for dim in ("checkpoint", "data"):
        if dim in ds.coords and dim not in ds.dims and ds[dim].ndim == 0:
            ds = _with_dim(ds, dim)
    if "checkpoint" in ds.dims:
        ds = _facts(ds)
    return _attributes(_ordered(_of_their_kind(_shared(ds))))


def _ordered(ds: xr.Dataset) -> xr.Dataset:
    """Dims in the order of the schema: checkpoint and data first, what an interval or an image adds last."""
    wanted: dict[Hashable, tuple[Hashable, ...]] = {}
    for name in schema.result_names(ds):
        dims = sorted(ds.variables[name].dims, key=lambda dim: OWN.index(str(dim)) if dim in OWN else len(OWN))
        wanted |= {name: tuple(dims), f"{name}_ci": (*dims, "bound"), f"{name}_image": (*dims, "image")}
    wanted |= {name: (*needed, *optional) for name, (needed, optional) in schema.BESIDE.items()}
    moved = {}
    for key, order in wanted.items():
        own = ds.variables[key].dims if key in ds.variables else ()
        present = tuple(dim for dim in order if dim in own)
        if own and own != present and len(present) == len(own):
            moved[key] = ds.variables[key].load().transpose(*present)  # read as it lies, which is quicker
    return ds.assign(moved) if moved else ds


def _loaded(ds: xr.Dataset) -> xr.Dataset:
    """Computed (what is not yet read is read where it is used), with texts as Python's: no bytes, no strings of fixed
    length."""
    ds = ds.compute() if any(array.chunks for array in ds.variables.values()) else ds
    for name, array in ds.variables.items():
        if array.dtype.kind in "ST" or (array.dtype.kind == "O" and array.size and isinstance(_first(array), bytes)):
            texts = [each.decode(errors="replace") if isinstance(each, bytes) else each for each in array.values.flat]
            values = np.array(texts, dtype=object).reshape(array.shape)
            ds = (ds.assign_coords if name in ds.coords else ds.assign)({name: (array.dims, values, array.attrs)})
    return ds


def _first(array: xr.Variable) -> object:
    return array.values.flat[0]


def _with_dim(ds: xr.Dataset, dim: str) -> xr.Dataset:
    """A dim that was picked away, put back with its one label."""
    along = [name for name in ds.data_vars if not (dim == "checkpoint" and name in schema.SHARED)]
    beside = [name for name in ds.coords if name not in (dim, *schema.DIMS) and _belongs(ds, name, dim)]
    label = ds[dim].values.item() if ds[dim].dtype.kind != "O" else ds[dim].values[()]
    bare = ds.drop_vars(dim)
    whole = bare.assign({name: bare[name].reset_coords(drop=True).expand_dims(dim, 0) for name in along})
    whole = whole.assign_coords({name: bare[name].reset_coords(drop=True).expand_dims(dim, 0) for name in beside})
    return whole.assign_coords({dim: [label]})


def _belongs(ds: xr.Dataset, name: Hashable, dim: str) -> bool:
    """Whether a coordinate without that dim is a fact along it: the data's fingerprint, else a checkpoint's."""
    if dim == "data":
        return name == "data_fingerprint"
    return name != "data_fingerprint" and (ds[name].ndim == 0 or name == "relative_depth")


def _facts(ds: xr.Dataset) -> xr.Dataset:
    """Facts of checkpoints along `checkpoint` alone; those that the schema asks for are unknown where they are gone."""
    count = ds.sizes["checkpoint"]
    for fact in schema.CHECKPOINT_COORDS:
        if fact not in ds.variables:
            ds = ds.assign_coords({fact: ("checkpoint", np.full(count, np.nan), schema.COORDS[fact])})
        elif ds.variables[fact].ndim == 0:
            ds = ds.assign_coords({fact: ("checkpoint", np.full(count, ds[fact].values), ds[fact].attrs)})
    for name in ds.coords:
        array = ds.variables[name]
        if name in ds.dims or "data" not in array.dims or "checkpoint" not in array.dims:
            continue
        ds = ds.assign_coords({name: _first_along(array, "data")})
    return ds


def _shared(ds: xr.Dataset) -> xr.Dataset:
    """Facts of image sets without the dim `checkpoint`, which `where` and `concat` repeat them along."""
    for name in schema.SHARED:
        if name in ds.variables and "checkpoint" in ds.variables[name].dims:
            ds = ds.assign({name: _first_along(ds[name].variable, "checkpoint")})
    return ds


def _first_along(array: xr.Variable, dim: Hashable) -> xr.Variable:
    """The first value along a dim that is something."""
    attrs, (first, *rest) = array.attrs, [array.isel({dim: i}) for i in range(array.sizes[dim])]
    for other in rest:
        gaps = ~first.notnull().values
        if not gaps.any():
            break
        first = xr.Variable(first.dims, np.where(gaps, other.values, first.values))
    first.attrs = attrs
    return first


def _of_their_kind(ds: xr.Dataset) -> xr.Dataset:
    """Whole numbers, bytes and booleans again, where `where` and `concat` made floats of them."""
    for name, kind in KINDS.items():
        if name not in ds.variables or ds.variables[name].dtype.kind in (kind.kind, *"USMmc"):
            continue
        values = ds[name].values
        missing = ~ds[name].notnull().values
        try:
            filled = np.where(missing, fill_of(kind), values).astype(kind)
        except (TypeError, ValueError, OverflowError):
            continue  # `schema.problems` says what they are
        ds = ds.assign({name: (ds[name].dims, filled, ds[name].attrs)})
    return ds


def _attributes(ds: xr.Dataset) -> xr.Dataset:
    """The dataset's attributes; those that a merge dropped are empty, and the record says so."""
    if not schema.result_names(ds):
        return ds
    lost = [name for name in ("schema_version", "not_applicable", "provenance") if name not in ds.attrs]
    if not lost:
        return ds
    note = f"{', '.join(lost)}: dropped by the program that joined or changed this dataset"
    empty = {"schema_version": 1, "not_applicable": "{}", "provenance": json.dumps({"lost": note})}
    return ds.assign_attrs({name: empty[name] for name in lost})
