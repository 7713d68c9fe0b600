"""Where each checkpoint's last layer lies: models of unequal depth share one dimension `layer`, padded with NaN."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray as xr


def deepest(ds: xr.Dataset, names: Iterable[str]) -> np.ndarray:
    """Position along `layer` of each checkpoint's last measured layer, (checkpoints,).

    A quantity without a number there has none at the last layer, whatever it has below.

    Args:
        ds: results; where they lack `relative_depth`, layers with any number of any result are those measured.
        names: of the results.
    """
    measured = ["relative_depth"] if "relative_depth" in ds.variables else [*names]
    alive = np.zeros((ds.sizes["checkpoint"], ds.sizes["layer"]), dtype=bool)
    for array in (ds.variables[name] for name in measured if "layer" in ds.variables[name].dims):
        finite = np.isfinite(array.transpose("checkpoint", "layer", ...).values)
        alive |= finite.reshape(*alive.shape, -1).any(axis=-1)
    return np.asarray(alive.shape[1] - 1 - alive[:, ::-1].argmax(axis=1))


def at_last(last: np.ndarray, values: np.ndarray, axis: int) -> np.ndarray:
    """Values of each checkpoint (first axis) at its own last layer, whether it has a number there or not."""
    return np.asarray(np.moveaxis(values, axis, 1)[np.arange(len(last)), last])
