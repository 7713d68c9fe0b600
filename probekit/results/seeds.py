"""Spread between training runs that differ in nothing but their seed.

An interval over images says how well one checkpoint is known. Whether a *masking setting* does something is another
question, and only checkpoints trained anew can answer it: here the unit is a training run, the interval Student's t,
and its degrees of freedom are given with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy import stats

from probekit import schema
from probekit.constants import CONFIDENCE
from probekit.errors import ResultsError, did_you_mean

SETTING = ("trained_on", "vit_patch_size", "mask_ratio", "patch_size", "images_seen")
"""Coordinates that make up a setting: runs that agree in these differ by their seed alone."""


def seed_spread(ds: xr.Dataset, variable: str, *, by: Sequence[str] = SETTING, pooled: bool = True) -> xr.Dataset:
    """Mean of a result over seeds for each setting, with its between-seed t-interval.

    Args:
        ds: a results dataset with several seeds of some settings.
        variable: a result's name.
        by: coordinates on `checkpoint` that define a setting.
        pooled: one between-seed variance for all settings (more degrees of freedom, assumes that they spread alike);
            otherwise each setting its own.

    Returns:
        Dims `setting` (with the coordinates `by`) and the variable's own: `<variable>` (mean over seeds),
        `<variable>_ci` (bound), `<variable>_sd` (between seeds); `seeds` (setting); `degrees_of_freedom` (setting).

    Raises:
        ResultsError: an unknown variable or coordinate, or no setting with two seeds.
    """
    if variable not in schema.result_names(ds):
        raise ResultsError(
            f"No result is called {variable!r}. {did_you_mean(variable, schema.result_names(ds), limit=30)}"
        )
    for name in by:
        if name not in ds.coords or ds[name].dims != ("checkpoint",):
            known = [str(key) for key, coord in ds.coords.items() if coord.dims == ("checkpoint",)]
            raise ResultsError(f"{name!r} is no coordinate along checkpoint. {did_you_mean(name, known)}")
    groups = _groups(ds, by)
    if not groups:
        raise ResultsError(
            "No setting was trained with two seeds or more, so nothing is known of the spread between training runs. "
            "Train "
            "the same setting with other seeds, or speak of these checkpoints only."
        )
    values = ds[variable].transpose("checkpoint", ...)
    means = np.stack([values.values[rows].mean(axis=0) for rows in groups.values()])
    squares = np.stack(
        [((values.values[rows] - values.values[rows].mean(axis=0)) ** 2).sum(axis=0) for rows in groups.values()]
    )
    runs = np.array([len(rows) for rows in groups.values()])
    freedom = np.full(len(runs), (runs - 1).sum()) if pooled else runs - 1
    wide = (slice(None),) + (None,) * (means.ndim - 1)
    variance = (
        np.broadcast_to(squares.sum(axis=0), squares.shape) / freedom[wide] if pooled else squares / freedom[wide]
    )
    half = stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)[wide] * np.sqrt(variance / runs[wide])
    return _labelled(values, by, list(groups), means, half, np.sqrt(variance), runs, freedom, pooled)


def _groups(ds: xr.Dataset, by: Sequence[str]) -> dict[tuple[str, ...], list[int]]:
    """Setting -> positions of its checkpoints, those with two distinct known seeds or more."""
    found: dict[tuple[str, ...], list[int]] = {}
    for position in range(ds.sizes["checkpoint"]):
        if np.isfinite(ds["seed"].values[position]):
            found.setdefault(tuple(str(ds[name].values[position]) for name in by), []).append(position)
    return {key: rows for key, rows in found.items() if len(set(ds["seed"].values[rows])) == len(rows) > 1}


def _labelled(
    values: xr.DataArray,
    by: Sequence[str],
    keys: list[tuple[str, ...]],
    means: np.ndarray,
    half: np.ndarray,
    deviation: np.ndarray,
    runs: np.ndarray,
    freedom: np.ndarray,
    pooled: bool,
) -> xr.Dataset:
    dims = ("setting", *values.dims[1:])
    name, title, units = str(values.name), values.attrs["long_name"], values.attrs["units"]
    of = "one variance for all settings" if pooled else "each setting its own variance"
    around = {
        "long_name": f"95 % interval between seeds: {title}",
        "units": units,
        "resamples": f"Student's t over training runs that differ in their seed alone, {of}",
    }
    spread = {"long_name": f"Standard deviation between seeds: {title}", "units": units}
    ends = np.stack([means - half, means + half], axis=-1)
    ds = xr.Dataset(
        {
            name: (dims, means, {**values.attrs, "long_name": f"{title}, mean over seeds"}),
            f"{name}_ci": ((*dims, "bound"), ends, around),
            f"{name}_sd": (dims, deviation, spread),
            "seeds": ("setting", runs, {"long_name": "Training runs of the setting"}),
            "degrees_of_freedom": ("setting", freedom, {"long_name": "Degrees of freedom of the interval"}),
        },
        coords={dim: values[dim] for dim in values.dims[1:] if dim in values.coords} | {"bound": ["lower", "upper"]},
    )
    for place, coordinate in enumerate(by):
        texts = [key[place] for key in keys]
        column = texts if coordinate == "trained_on" else [float(text) for text in texts]
        ds = ds.assign_coords({coordinate: ("setting", column)})
    return ds
