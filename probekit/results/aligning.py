"""Arrays and datasets on common labels, filled where they have nothing.

Numbers are sorted, texts keep the order in which they are first seen, and dims without labels are counted. What fills
a gap depends on the dtype alone, so that pictures stay 8-bit and class numbers stay whole: NaN in floats, 0 in unsigned
integers, -1 in signed ones, False, and the empty text.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
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
        labelled = [part.coords[dim].values for part in parts if dim in part.dims and dim in part.coords]
        sizes = [part.sizes[dim] for part in parts if dim in part.dims]
        found[dim] = merged_labels(labelled) if labelled else np.arange(max(sizes))
    return found


def on(ds: xr.Dataset, labels: Mapping[Hashable, np.ndarray]) -> xr.Dataset:
    """`ds` on these labels of its dims; a dim without labels is counted."""
    wanted = {dim: values for dim, values in labels.items() if dim in ds.dims}
    bare = [dim for dim in wanted if dim not in ds.coords]
    moved = {dim: values for dim, values in wanted.items() if dim not in bare and _differ(ds[dim].values, values)}
    moved |= {dim: wanted[dim] for dim in bare if ds.sizes[dim] != len(wanted[dim])}
    if not moved:
        return ds
    counted = ds.assign_coords({dim: np.arange(ds.sizes[dim]) for dim in bare if dim in moved})
    fill = {name: fill_of(array.dtype) for name, array in ds.variables.items() if name not in ds.dims}
    out = counted.reindex(moved, fill_value=fill).drop_vars([dim for dim in bare if dim in moved])
    for dim in moved:
        if dim in out.coords:
            out[dim].attrs = ds[dim].attrs
    return out


def _differ(first: np.ndarray, second: np.ndarray) -> bool:
    return not np.array_equal(first, second)


def merged(arrays: Mapping[str, xr.DataArray]) -> xr.Dataset:
    """Arrays as one dataset, each on the labels of all.

    Example:
        >>> merged({"a": xr.DataArray([1.0], dims="layer"), "b": xr.DataArray([1.0, 2.0], dims="layer")}).a.values
        array([ 1., nan])
    """
    parts = [array.to_dataset(name=name) for name, array in arrays.items()]
    dims = list(dict.fromkeys(dim for part in parts for dim in part.dims))
    labels = common_labels(parts, dims)
    return xr.merge(
        [on(part, labels) for part in parts], compat="override", join="override", combine_attrs="drop_conflicts"
    )
