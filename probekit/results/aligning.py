"""Arrays and datasets on common labels, filled where they have nothing.

Numbers are sorted, texts keep the order in which they are first seen, and dims without labels are counted. What fills
a gap depends on the dtype alone, so that pictures stay 8-bit and class numbers stay whole: NaN in floats, 0 in unsigned
integers, -1 in signed ones, False, and the empty text.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

FILL: dict[str, Any] = {"f": np.nan, "c": np.nan, "u": 0, "i": -1, "b": False, "M": "NaT", "m": "NaT"}
"""What stands for "nothing", by kind of dtype; the empty text for texts."""

Labels = dict[Hashable, np.ndarray]


def fill_of(dtype: np.dtype[Any]) -> Any:
    """The value of that dtype that stands for "nothing"."""
    return dtype.type(FILL.get(dtype.kind, np.nan)) if dtype.kind not in "UOS" else ""


def merged_labels(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Labels of a dim over several arrays: numbers sorted, texts as first seen."""
    if all(np.array_equal(parts[0], other) for other in parts[1:]):
        return np.asarray(parts[0])
    values = np.concatenate(parts)
    return np.unique(values) if values.dtype.kind in "iuf" else np.array(list(dict.fromkeys(values.tolist())))


def common_labels(parts: Sequence[xr.Dataset | xr.DataArray], dims: Sequence[Hashable]) -> Labels:
    """Labels of some dims over all parts; 0, 1, ... for a dim that has none."""
    found: Labels = {}
    for dim in dims:
        labelled = [part.coords.variables[dim].values for part in parts if dim in part.dims and dim in part.coords]
        sizes = [part.sizes[dim] for part in parts if dim in part.dims]
        found[dim] = merged_labels(labelled) if labelled else np.arange(max(sizes))
    return found


def on(ds: xr.Dataset, labels: Mapping[Hashable, np.ndarray]) -> xr.Dataset:
    """`ds` on these labels of its dims; a dim without labels is counted."""
    own = {dim: ds.variables[dim].values if dim in ds.coords else None for dim in labels if dim in ds.dims}
    sources = _sources(own, ds.sizes, labels)
    if not sources:
        return ds
    found = {
        name: xr.Variable((name,), labels[name], array.attrs) if name in sources else _moved(array, sources)
        for name, array in ds.variables.items()
    }
    return xr.Dataset(
        {name: array for name, array in found.items() if name not in ds.coords},
        {name: array for name, array in found.items() if name in ds.coords},
        ds.attrs,
    )


Sources = dict[Hashable, np.ndarray]
"""Dim -> for each wanted label its position among the present ones, -1 where there is none."""


def _sources(
    own: Mapping[Hashable, np.ndarray | None], sizes: Mapping[Hashable, int], labels: Mapping[Hashable, np.ndarray]
) -> Sources:
    """Where the wanted labels of dims lie, for those dims whose labels are others; `own` is None for a counted dim."""
    found: Sources = {}
    for dim, present in own.items():
        wanted = labels[dim]
        if present is None and sizes[dim] != len(wanted):
            found[dim] = pd.Index(np.arange(sizes[dim])).get_indexer(pd.Index(wanted))
        elif present is not None and not np.array_equal(present, wanted):
            found[dim] = pd.Index(present).get_indexer(pd.Index(wanted))
    return found


def _moved(array: xr.Variable, sources: Sources) -> xr.Variable:
    """The variable at these positions of its dims, with "nothing" where there is none."""
    values = array.values
    for axis, dim in enumerate(array.dims):
        if dim in sources:
            if not values.shape[axis]:  # nothing is there to be moved
                values = np.empty((*values.shape[:axis], len(sources[dim]), *values.shape[axis + 1 :]), values.dtype)
            else:
                values = values.take(sources[dim], axis)
            values[(slice(None),) * axis + (sources[dim] < 0,)] = fill_of(values.dtype)
    return xr.Variable(array.dims, values, array.attrs, array.encoding)


def merged(arrays: Mapping[str, xr.DataArray]) -> xr.Dataset:
    """Arrays as one dataset, each on the labels of all.

    Example:
        >>> merged({"a": xr.DataArray([1.0], dims="layer"), "b": xr.DataArray([1.0, 2.0], dims="layer")}).a.values
        array([ 1., nan])
    """
    parts = list(arrays.values())
    labels = common_labels(parts, list(dict.fromkeys(dim for part in parts for dim in part.dims)))
    found: dict[str, xr.Variable] = {}
    coords: dict[Hashable, xr.Variable] = {}
    for name, part in arrays.items():
        given = part.coords.variables  # of `part.coords[dim]` each would be a new array with indexes of its own
        own = {dim: given[dim].values if dim in given else None for dim in part.dims}
        sources = _sources(own, part.sizes, labels)
        found[name] = _moved(part.variable, sources)
        for key in [key for key in given if key not in coords]:
            coord = given[key]
            coords[key] = xr.Variable((key,), labels[key], coord.attrs) if key in own else _moved(coord, sources)
    return xr.Dataset(found, coords)
