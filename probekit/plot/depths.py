"""Where each checkpoint's last layer lies: models of unequal depth share one dimension `layer`, padded with NaN."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray as xr


def relative(ds: xr.Dataset) -> np.ndarray:
    """Layer over number of blocks, (checkpoints, layers); NaN where it is unknown or there is no such layer."""
    known = ds.variables.get("relative_depth")
    if known is None or set(known.dims) != {"checkpoint", "layer"}:
        return np.full((ds.sizes["checkpoint"], ds.sizes["layer"]), np.nan)
    return np.asarray(known.transpose("checkpoint", "layer").values, dtype=np.float64)


def deepest(ds: xr.Dataset, names: Iterable[str]) -> np.ndarray:
    """Position along `layer` of each checkpoint's last measured layer, (checkpoints,).

    A quantity without a number there has none at the last layer, whatever it has below.

    Args:
        ds: results; of a checkpoint without `relative_depth`, layers with any number of any result are those measured.
        names: of the results.
    """
    alive = np.isfinite(relative(ds))
    unknown = ~alive.any(axis=1)
    for array in (ds.variables[name] for name in names if unknown.any()):
        if {"checkpoint", "layer"} <= set(array.dims):
            finite = np.isfinite(array.transpose("checkpoint", "layer", ...).values)
            alive |= finite.reshape(*alive.shape, -1).any(axis=-1) & unknown[:, None]
    return np.asarray(alive.shape[1] - 1 - alive[:, ::-1].argmax(axis=1))


def whole(ds: xr.Dataset, last: np.ndarray) -> bool:
    """Whether the last measured layer is the last one of every checkpoint, as far as `relative_depth` says."""
    found = relative(ds)[np.arange(len(last)), last]
    return bool((np.isnan(found) | (found == 1)).all())


def at_last(last: np.ndarray, values: np.ndarray, axis: int) -> np.ndarray:
    """Values of each checkpoint (first axis) at its own last layer, whether it has a number there or not."""
    return np.asarray(np.moveaxis(values, axis, 1)[np.arange(len(last)), last])
