"""Spread between training runs that differ in nothing but their seed.

An interval over images says how well one checkpoint is known. Whether a *masking setting* does something is another
question, and only checkpoints trained anew can answer it: here the unit is a training run, the interval Student's t,
and its degrees of freedom are given with it. What a setting is, `results.settings` says.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import xarray as xr

from probekit import schema
from probekit.constants import CONFIDENCE
from probekit.errors import ResultsError, did_you_mean
from probekit.measures import inference
from probekit.results.reading import opened
from probekit.results.settings import Setting, settings_of

UNEQUAL = 0.1
"""Level of Bartlett's test below which variances of settings are not pooled: with few seeds it misses much."""


def seed_spread(
    ds: xr.Dataset | str | os.PathLike[str],
    variable: str,
    *,
    by: Sequence[str] | None = None,
    pooled: bool | None = None,
) -> xr.Dataset:
    """Mean of a result over seeds for each setting, with its between-seed t-interval.

    Args:
        ds: a results dataset with several seeds of some settings, or the path of one.
        variable: a result's name.
        by: coordinates on `checkpoint` that define a setting; None for `results.settings.SETTING` and the user's own.
        pooled: one between-seed variance for all settings (more degrees of freedom, assumes that they spread alike);
            False: each setting its own; None: pooled unless Bartlett's test finds that they differ in any cell.

    Returns:
        Dims `setting` (with the coordinates `by`) and the variable's own: `<variable>` (mean over seeds),
        `<variable>_ci` (bound), `<variable>_sd` (between seeds), `<variable>_seeds` and
        `<variable>_degrees_of_freedom`, which count the runs that have a number there; `seeds` (setting);
        `degrees_of_freedom` (setting), where nothing is missing; `equal_variances_p`, dims of the variable: p-value of
        Bartlett's test that settings spread alike.

    Raises:
        ResultsError: an unknown variable or coordinate, or no setting with two seeds.

    Example:
        >>> seed_spread(ds, "representation_level").representation_level_ci  # doctest: +SKIP
    """
    if not isinstance(ds, xr.Dataset):
        ds = opened(ds, "seed_spread", lazily=True)
    if variable not in schema.result_names(ds):
        raise ResultsError(
            f"No result is called {variable!r}. {did_you_mean(variable, schema.result_names(ds), limit=30)}"
        )
    if by is not None and (isinstance(by, str) or not isinstance(by, Sequence) or not by):
        raise ResultsError(f"by={by!r}: expected a list of coordinates along checkpoint, such as ['mask_ratio'].")
    for name in by or ():
        if name not in ds.coords or ds[name].dims != ("checkpoint",):
            known = [str(key) for key, coord in ds.coords.items() if coord.dims == ("checkpoint",)]
            raise ResultsError(f"{name!r} is no coordinate along checkpoint. {did_you_mean(name, known)}")
    found = settings_of(ds, by)
    replicated = [setting for setting in found if setting.seeds]
    if not replicated:
        raise ResultsError(_unreplicated(found))
    values = ds[variable].astype(np.float64).transpose("checkpoint", ...)
    samples = [values.values[[run.index for run in setting.runs]] for setting in replicated]
    equal = _equal_variances(samples)
    together = bool(pooled) if pooled is not None else not (equal < UNEQUAL).any()
    return _labelled(values, replicated, _statistics(samples, together), equal, together)


def _unreplicated(found: Sequence[Setting]) -> str:
    """Why no spread is known, and what is needed for it."""
    unknown = list(dict.fromkeys(name for setting in found if not setting.untrained for name in setting.unknown))
    lacking = f" Not known of some checkpoints: {', '.join(unknown)}; state them with assign_coords." if unknown else ""
    return (
        "No setting was trained with two seeds or more that are known, so nothing is known of the spread between "
        f"training runs.{lacking} Train the same setting with other seeds, or speak of these checkpoints only."
    )


def _equal_variances(samples: Sequence[np.ndarray]) -> np.ndarray:
    """p-value of Bartlett's test in each cell."""
    out = np.full(samples[0].shape[1:], np.nan)
    for cell in np.ndindex(out.shape):
        columns = [rows[(slice(None), *cell)] for rows in samples]
        out[cell] = inference.equal_variances([column[np.isfinite(column)] for column in columns])
    return out


def _statistics(samples: Sequence[np.ndarray], pooled: bool) -> dict[str, np.ndarray]:
    """Mean, standard deviation, runs, degrees of freedom and half width, each (setting, ...); runs without a number in
    a cell are left out there."""
    runs = np.stack([np.isfinite(rows).sum(axis=0) for rows in samples])
    mean = np.stack([np.where(np.isfinite(rows), rows, 0.0).sum(axis=0) for rows in samples]) / np.maximum(runs, 1)
    mean = np.where(runs > 0, mean, np.nan)
    squares = np.stack([np.nansum((rows - centre) ** 2, axis=0) for rows, centre in zip(samples, mean, strict=True)])
    freedom = np.maximum(runs - 1, 0)
    if pooled:
        squares = np.broadcast_to(squares.sum(axis=0), squares.shape)
        freedom = np.where(runs > 0, freedom.sum(axis=0), 0)
    deviation = np.where(freedom > 0, np.sqrt(squares / np.maximum(freedom, 1)), np.nan)
    half = inference.t_quantile(CONFIDENCE, np.maximum(freedom, 1)) * deviation / np.sqrt(np.maximum(runs, 1))
    return {"mean": mean, "sd": deviation, "runs": runs, "freedom": freedom, "half": half}


def _labelled(
    values: xr.DataArray, found: Sequence[Setting], numbers: dict[str, np.ndarray], equal: np.ndarray, pooled: bool
) -> xr.Dataset:
    dims = ("setting", *values.dims[1:])
    name, title, units = str(values.name), values.attrs["long_name"], values.attrs["units"]
    of = "one variance for all settings" if pooled else "each setting its own variance"
    around = {
        "long_name": f"95 % interval between seeds: {title}",
        "units": units,
        "resamples": f"Student's t over training runs that differ in their seed alone, {of}",
    }
    mean, half = numbers["mean"], numbers["half"]
    spread = {"long_name": f"Standard deviation between seeds: {title}", "units": units}
    test = {"long_name": f"p that settings spread alike (Bartlett): {title}", "units": "1"}
    most = numbers["freedom"].max(axis=tuple(range(1, mean.ndim)), initial=0)
    ds = xr.Dataset(
        {
            name: (dims, mean, {**values.attrs, "long_name": f"{title}, mean over seeds"}),
            f"{name}_ci": ((*dims, "bound"), np.stack([mean - half, mean + half], axis=-1), around),
            f"{name}_sd": (dims, numbers["sd"], spread),
            f"{name}_seeds": (dims, numbers["runs"], {"long_name": "Training runs with a number"}),
            f"{name}_degrees_of_freedom": (dims, numbers["freedom"], {"long_name": "Degrees of freedom"}),
            "seeds": ("setting", [len(setting.runs) for setting in found], {"long_name": "Training runs"}),
            "degrees_of_freedom": ("setting", most, {"long_name": "Degrees of freedom"}),
            "equal_variances_p": (dims[1:], equal, test),
        },
        coords={dim: values[dim] for dim in values.dims[1:] if dim in values.coords} | {"bound": ["lower", "upper"]},
    )
    for fact in found[0].facts:
        column = [setting.facts[fact] for setting in found]
        texts = any(isinstance(value, str) for value in column)
        filled = [("" if texts else np.nan) if value is None else value for value in column]
        ds = ds.assign_coords({fact: ("setting", filled)})
    return ds
