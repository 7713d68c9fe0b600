"""Labelled arrays without xarray's machinery, which takes most of the time of a call that finds all in its caches.

What stands where there is nothing depends on the dtype alone, so that pictures stay 8-bit and labels whole numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

LABELS: dict[str, Any] = {"u": 0, "b": False, "i": -1}
"""What stands where there is nothing, by kind of dtype; NaN for floats, "" for texts."""


def fill_of(dtype: np.dtype[Any]) -> Any:
    return LABELS.get(dtype.kind, "" if dtype.kind in "UOS" else np.nan)


def merged_labels(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Labels of a dim over several arrays: numbers sorted, texts as first seen."""
    if all(np.array_equal(parts[0], other) for other in parts[1:]):
        return np.asarray(parts[0])
    values = np.concatenate(parts)
    return np.unique(values) if values.dtype.kind in "iuf" else np.array(list(dict.fromkeys(values.tolist())))


class Plain(NamedTuple):
    """A labelled array without xarray's machinery, which would take most of a call that finds everything."""

    dims: tuple[str, ...]
    coords: dict[str, np.ndarray]
    values: np.ndarray
    attrs: dict[str, Any]

    @classmethod
    def of(cls, array: xr.DataArray) -> Plain:
        dims = tuple(str(dim) for dim in array.dims)
        return cls(
            dims, {dim: array.coords[dim].values for dim in dims if dim in array.coords}, array.values, array.attrs
        )

    def on(self, labels: Mapping[str, np.ndarray]) -> np.ndarray:
        """The values on these labels of its dims, filled where it has nothing; a dim without labels is counted."""
        own = [self.coords.get(dim, np.arange(size)) for dim, size in zip(self.dims, self.values.shape, strict=True)]
        if all(np.array_equal(ours, labels[dim]) for ours, dim in zip(own, self.dims, strict=True)):
            return self.values
        shape = [len(labels[dim]) for dim in self.dims]
        out = np.full(shape, fill_of(self.values.dtype), dtype=self.values.dtype)
        where = [{label: place for place, label in enumerate(labels[dim].tolist())} for dim in self.dims]
        places = [[table[label] for label in ours.tolist()] for table, ours in zip(where, own, strict=True)]
        out[np.ix_(*places)] = self.values
        return out
