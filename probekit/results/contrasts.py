"""Differences between checkpoints on the same images, with intervals: from stored per-image contributions alone.

Pairing removes what images contribute to both, so a difference can be clear where two intervals overlap. The interval
speaks of these two checkpoints on new images; whether a *masking setting* differs is a question for `seed_spread`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from scipy import stats

from probekit import schema
from probekit.checks import whole
from probekit.errors import ResultsError, did_you_mean
from probekit.measures import resample

CORRECTIONS = (None, "bonferroni", "holm")


def contrast(
    ds: xr.Dataset | str | os.PathLike[str],
    *,
    baseline: str,
    variables: Sequence[str] | None = None,
    correction: str | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Every checkpoint minus the baseline, on the same images.

    Args:
        ds: a results dataset, or the path of one.
        baseline: name of a checkpoint.
        variables: which results; None for all that have per-image contributions.
        correction: None; "bonferroni" (intervals that hold jointly, p-values multiplied); "holm" (p-values by Holm's
            step-down, intervals as for Bonferroni). The family is all comparisons returned: narrow it with `variables`.
        seed: of the bootstrap.

    Returns:
        `<name>_difference` with dims of `<name>` (the baseline itself left out), `<name>_difference_ci`, and
        `<name>_difference_p`, two-sided. It is the mean over images of which both checkpoints have something: of a
        shape bias, over images that both decide, which is not the difference of the two biases.

    Raises:
        ResultsError: an unknown checkpoint, variable or correction, or nothing per image to compare.
    """
    if not isinstance(ds, xr.Dataset | str | os.PathLike):
        raise ResultsError(f"contrast was given a {type(ds).__name__}; expected a results dataset or the path of one.")
    ds = schema.validate(ds) if isinstance(ds, xr.Dataset) else schema.read(Path(ds))
    if correction not in CORRECTIONS:
        raise ResultsError(f"correction={correction!r}: expected one of {', '.join(map(str, CORRECTIONS))}.")
    names = [str(name) for name in ds.checkpoint.values]
    if baseline not in names:
        raise ResultsError(f"No checkpoint is called {baseline!r}. {did_you_mean(baseline, names)}")
    if len(set(names)) < len(names):
        raise ResultsError(f"Two checkpoints have one name ({', '.join(names)}): rename one with assign_coords.")
    seed = whole("seed", seed, least=0, error=ResultsError)
    if len(names) < 2:
        raise ResultsError("A contrast needs two checkpoints or more; this dataset has one.")
    chosen = _variables(ds, variables)
    others = [name for name in names if name != baseline]
    differences = {}
    for name in chosen:
        values = _images(ds, name)
        differences[name] = values.sel(checkpoint=others) - values.sel(checkpoint=baseline, drop=True)
    comparisons = sum(int(values.notnull().any("image").sum()) for values in differences.values())
    joint = resample.corrected_confidence(schema.CONFIDENCE, comparisons) if correction else schema.CONFIDENCE
    out: dict[str, xr.DataArray] = {}
    tested = {
        name: _tested(ds, values, joint, seed, "images_of" not in ds[name].attrs)
        for name, values in differences.items()
    }
    p_values = _corrected([p for _, _, p in tested.values()], correction, comparisons)
    for (name, (mean, interval, _)), p in zip(tested.items(), p_values, strict=True):
        out |= _labelled(ds[name], mean, interval, joint, baseline, correction)
        attrs = {"long_name": f"p of: {out[f'{name}_difference'].attrs['long_name']}", "correction": str(correction)}
        out[f"{name}_difference_p"] = xr.DataArray(p, dims=ds[name].dims, attrs=attrs)
    keep = [key for key in ds.coords if key == "data" or "checkpoint" in ds[key].dims]
    result = xr.Dataset(out).assign_coords(
        {key: ds[key].sel(checkpoint=others) if "checkpoint" in ds[key].dims else ds[key] for key in keep}
    )
    result.attrs = {
        "schema_version": schema.SCHEMA_VERSION,
        "not_applicable": "{}",
        "provenance": schema.stamp(
            contrast_with=baseline, correction=str(correction), comparisons=comparisons, of=schema.provenance(ds)
        ),
    }
    return schema.validate(result)


def _variables(ds: xr.Dataset, asked: Sequence[str] | None) -> list[str]:
    have = [name for name in schema.result_names(ds) if f"{name}_image" in ds]
    apart = [name for name in have if "images" in json.loads(ds[name].attrs.get("mixed_protocols", "{}"))]
    if asked is None:
        asked = [name for name in have if name not in apart]
        if apart and not asked:
            asked = apart  # to say why there is nothing
    elif isinstance(asked, str):
        asked = [asked]
    elif not isinstance(asked, Sequence) or not asked:
        raise ResultsError(f"variables={asked!r}: expected a list, of some of {', '.join(have)}.")
    for name in asked:
        if name in apart:
            raise ResultsError(f"{name} was measured on different images for different checkpoints: nothing is paired.")
        if name not in have:
            results = schema.result_names(ds)
            if name in results:
                raise ResultsError(
                    f"{name} has no per-image contributions, so checkpoints cannot be compared image by image."
                )
            raise ResultsError(f"No result is called {name!r}. {did_you_mean(name, results, limit=30)}")
    if not asked:
        raise ResultsError("This dataset holds no per-image contributions (`<name>_image`): it cannot be contrasted.")
    return list(asked)


def _images(ds: xr.Dataset, name: str) -> xr.DataArray:
    """Contributions of all checkpoints, float64, image last."""
    return ds[f"{name}_image"].astype(np.float64).transpose(*ds[name].dims, "image")


def _tested(
    ds: xr.Dataset, values: xr.DataArray, confidence: float, seed: int, own: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean difference, its interval, and the two-sided p-value, image set by image set.

    `own`: the images are the test images, whose groups the dataset holds. The p-value is the normal one for the
    interval's own standard error, so that it knows of groups as the interval does.
    """
    where = values.dims.index("data")
    parts = []
    for position in range(values.sizes["data"]):
        array = values.isel(data=position).values
        used = ~np.isnan(array).reshape(-1, array.shape[-1]).all(axis=0)
        array = array[..., used]
        groups = None
        if "group" in ds and own:
            found = ds["group"].isel(data=position).values[: len(used)][used]
            groups = found if (found >= 0).any() else None
        parts.append(_paired(array, groups, confidence, seed))
    mean, interval, p = (np.stack(part, axis=where) for part in zip(*parts, strict=True))
    return mean, interval, p


def _paired(array: np.ndarray, groups: np.ndarray | None, confidence: float, seed: int) -> tuple[np.ndarray, ...]:
    if not array.shape[-1]:
        nothing = np.full(array.shape[:-1], np.nan)
        return nothing, np.stack([nothing, nothing], axis=-1), nothing
    interval = resample.mean_interval(array, groups=groups, confidence=confidence, seed=seed)
    counted = ~np.isnan(array)
    mean = np.where(counted.any(axis=-1), np.nansum(array, axis=-1) / np.maximum(counted.sum(axis=-1), 1), np.nan)
    error = (interval[..., 1] - interval[..., 0]) / (2 * stats.norm.ppf(0.5 + confidence / 2))
    score = np.divide(np.abs(mean), error, out=np.where(mean == 0, 0.0, np.inf), where=error > 0)
    return mean, interval, np.where(np.isnan(mean), np.nan, 2 * stats.norm.sf(score))


def _corrected(p_values: list[np.ndarray], correction: str | None, comparisons: int) -> list[np.ndarray]:
    if correction is None:
        return p_values
    flat = np.concatenate([p.ravel() for p in p_values])
    real = ~np.isnan(flat)
    flat[real] = np.minimum(1.0, flat[real] * comparisons) if correction == "bonferroni" else resample.holm(flat[real])
    edges = np.cumsum([p.size for p in p_values])[:-1]
    return [part.reshape(p.shape) for part, p in zip(np.split(flat, edges), p_values, strict=True)]


def _labelled(
    variable: xr.DataArray,
    mean: np.ndarray,
    interval: np.ndarray,
    confidence: float,
    baseline: str,
    correction: str | None,
) -> dict[str, xr.DataArray]:
    """`<name>_difference` and its interval."""
    name, title = f"{variable.name}_difference", f"{variable.attrs['long_name']}, minus {baseline}"
    coords = {dim: variable[dim] for dim in variable.dims if dim in variable.coords and dim != "checkpoint"}
    attrs = {**variable.attrs, "long_name": title, "baseline": baseline, "mean_over": "images that both have"}
    bounds = {
        "long_name": f"{confidence:.5%} interval of: {title}",
        "units": variable.attrs["units"],
        "resamples": "bootstrap over images, paired between checkpoints (their groups where the image set has groups)",
        "correction": str(correction),
        "confidence": confidence,
    }
    whole = xr.DataArray(
        interval, dims=(*variable.dims, "bound"), coords={**coords, "bound": ["lower", "upper"]}, attrs=bounds
    )
    return {name: xr.DataArray(mean, dims=variable.dims, coords=coords, attrs=attrs), f"{name}_ci": whole}
