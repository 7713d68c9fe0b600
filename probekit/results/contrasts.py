"""Differences between checkpoints on the same images, with intervals: from stored per-image contributions alone.

Pairing removes what images contribute to both, so a difference can be clear where two intervals overlap. The interval
speaks of these two checkpoints on new images; whether a *masking setting* differs is a question for `seed_spread`.

The standard error is that of a mean of per-image differences (of sums over groups, where the image set has groups), and
interval and p-value are Student's t with that error. A corrected p-value of one comparison among thousands lies far in
the tail, where a bootstrap has no draws.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import xarray as xr

from probekit import schema
from probekit.checks import whole
from probekit.constants import CONFIDENCE
from probekit.errors import ResultsError, did_you_mean
from probekit.measures import inference
from probekit.results import protocols
from probekit.results.reading import opened
from probekit.schema import plain

VERSION = 2
"""Of the arithmetic; results of another version are not lined up. 1: bootstrap intervals, p-values from their width."""


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
            step-down, intervals as for Bonferroni); "bh" (p-values by Benjamini and Hochberg, which bound the expected
            share of false findings; intervals that cover so among the findings). The family is all comparisons
            returned: narrow it with `variables`.
        seed: without effect, since nothing is drawn; accepted for older calls.

    Returns:
        `<name>_difference` with dims of `<name>` (the baseline itself left out), `<name>_difference_ci`, and
        `<name>_difference_p`, two-sided. It is the mean over images of which both checkpoints have something: of a
        shape bias, over images that both decide, which is not the difference of the two biases.

    Raises:
        ResultsError: an unknown checkpoint, variable or correction, nothing per image to compare, or no number where
            the baseline has one.

    Warns:
        UserWarning: a checkpoint was measured on the baseline's images, but not at its layers, for example.

    Example:
        >>> contrast("results.nc", baseline="quadtree-r0.75-p4-s0", correction="holm")  # doctest: +SKIP
    """
    ds = opened(ds, "contrast", lazily=True)
    names = _checked(ds, baseline, correction, seed)
    chosen = _variables(ds, variables)
    others = [name for name in names if name != baseline]
    found = _compared(ds, chosen, baseline, others)
    p = _corrected([each.p for each in found.values()], correction)
    comparisons = sum(int(np.isfinite(each.mean).sum()) for each in found.values())
    _check_pairs(ds, found, baseline, others)
    confidence = _confidence(p, correction, comparisons)
    out: dict[str, xr.Variable] = {}
    for (name, each), p_values in zip(found.items(), p, strict=True):
        out |= _labelled(name, ds.variables[name], each, p_values, confidence, baseline, correction)
    result = xr.Dataset(out, _coordinates(ds, [names.index(other) for other in others], out))
    result.attrs = {
        "schema_version": schema.SCHEMA_VERSION,
        "not_applicable": "{}",
        "provenance": schema.stamp(
            contrast_with=baseline, correction=str(correction), comparisons=comparisons, of=schema.provenance(ds)
        ),
    }
    return schema.validate(result)


def _coordinates(ds: xr.Dataset, rows: list[int], arrays: Mapping[str, xr.Variable]) -> dict[Hashable, xr.Variable]:
    """Labels of the dims of these arrays, and all facts of the checkpoints in these rows, the user's own among them."""
    dims = {dim for array in arrays.values() for dim in array.dims}
    coords: dict[Hashable, xr.Variable] = {"bound": schema.labels("bound", ["lower", "upper"])}
    for name in ds.coords:
        coord = ds.variables[name]
        if name != "bound" and set(coord.dims) <= dims and (name in dims or "checkpoint" in coord.dims):
            coords[name] = coord.isel(checkpoint=rows) if "checkpoint" in coord.dims else coord
    return coords


def _checked(ds: xr.Dataset, baseline: str, correction: str | None, seed: int) -> list[str]:
    """Names of the checkpoints, where the arguments fit them."""
    if correction not in (None, *inference.CORRECTIONS):
        expected = ", ".join(map(str, (None, *inference.CORRECTIONS)))
        raise ResultsError(f"correction={correction!r}: expected one of {expected}.")
    names = [str(name) for name in ds.checkpoint.values]
    if baseline not in names:
        raise ResultsError(f"No checkpoint is called {baseline!r}. {did_you_mean(baseline, names)}")
    if len(set(names)) < len(names):
        raise ResultsError(f"Two checkpoints have one name ({', '.join(names)}): rename one with assign_coords.")
    whole("seed", seed, least=0, error=ResultsError)
    if len(names) < 2:
        raise ResultsError("A contrast needs two checkpoints or more; this dataset has one.")
    return names


def _variables(ds: xr.Dataset, asked: Sequence[str] | None) -> list[str]:
    have = [name for name in schema.result_names(ds) if f"{name}_image" in ds]
    apart = [name for name in have if "images" in protocols.marks(ds.variables[name])]
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


def _check_pairs(ds: xr.Dataset, found: Mapping[str, Compared], baseline: str, others: Sequence[str]) -> None:
    """Refuse a contrast without a single difference; warn of checkpoints that meet the baseline on images alone."""
    names = ds["checkpoint"].values.tolist()
    rows, base = [names.index(other) for other in others], names.index(baseline)
    compared, met = np.zeros(len(others), dtype=bool), np.zeros(len(others), dtype=bool)
    for name, each in found.items():
        array = ds.variables[name]
        finite = np.moveaxis(
            np.isfinite(array.values), [array.dims.index(dim) for dim in ("checkpoint", "data")], (0, 1)
        )
        measured = np.asarray(finite.reshape(*finite.shape[:2], -1).any(axis=-1))
        met |= (measured[rows] & measured[base]).any(axis=1)
        differs = np.moveaxis(np.isfinite(each.mean), array.dims.index("checkpoint"), 0)
        compared |= differs.reshape(len(others), -1).any(axis=1)
    depths = sorted(set(ds["depth"].values.tolist())) if "depth" in ds.coords else []
    cure = "Measure both on the same image sets and layers"
    if len(depths) > 1:
        cure = f"Depths differ ({', '.join(map(plain, depths))}): measure layers that all have"
    said = f"a number where the baseline {baseline!r} has one. {cure}, or choose another baseline."
    if not compared.any():
        raise ResultsError(f"There is nothing to contrast: no checkpoint has {said}")
    lacking = [other for other, bad in zip(others, met & ~compared, strict=True) if bad]
    if lacking:
        warnings.warn(f"No difference for {', '.join(map(str, lacking))}: without {said}", UserWarning, stacklevel=3)


@dataclass(frozen=True)
class Compared:
    """Mean differences of one variable with their standard errors, degrees of freedom and p-values, dims as its own."""

    mean: np.ndarray
    error: np.ndarray
    freedom: np.ndarray

    @property
    def p(self) -> np.ndarray:
        """Two-sided p-values, not corrected."""
        return inference.t_test(self.mean, self.error, self.freedom)


def groups_of(ds: xr.Dataset, name: str, data: int) -> np.ndarray | None:
    """Group of each image of an image set; None where images are independent, or are not the test images."""
    if "group" not in ds.variables or "images_of" in ds.variables[name].attrs:
        return None
    found = np.asarray(ds.variables["group"].isel(data=data).values)
    return found if (found >= 0).any() else None


def _compared(ds: xr.Dataset, names: Sequence[str], baseline: str, others: Sequence[str]) -> dict[str, Compared]:
    """Every other checkpoint minus the baseline, of each variable, image set by image set, which may have groups of
    their own. The next array is read while one is compared."""
    known = ds["checkpoint"].values.tolist()
    base, rows = known.index(baseline), [known.index(other) for other in others]
    cells = [(name, position) for name in names for position in range(ds.sizes["data"])]
    parts: dict[str, list[tuple[np.ndarray, ...]]] = {name: [] for name in names}
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(_per_image, ds, *cells[0], base)
        for (name, position), then in zip(cells, [*cells[1:], None], strict=True):
            values = coming.result()
            if then is not None:
                coming = pool.submit(_per_image, ds, *then, base)
            parts[name].append(_differences(values, rows, base, groups_of(ds, name, position)))
    found = {}
    for name, each in parts.items():
        stored = ("checkpoint", "data", *(dim for dim in _image_dims(ds, name) if dim in ds.variables[name].dims))
        order = [stored.index(dim) for dim in ds.variables[name].dims]
        found[name] = Compared(*(np.stack(part, axis=1).transpose(order) for part in zip(*each, strict=True)))
    return found


def _image_dims(ds: xr.Dataset, name: str) -> list[Hashable]:
    """Dims of the per-image values besides checkpoint and data, `image` last."""
    own = [dim for dim in ds.variables[f"{name}_image"].dims if dim not in ("checkpoint", "data", "image")]
    return [*own, "image"]


def _per_image(ds: xr.Dataset, name: str, position: int, baseline: int) -> np.ndarray:
    """Per-image values (checkpoint, ..., image) on one image set. Where the baseline has none there is nothing to
    compare, and those of the others are not read: they are NaN."""
    stored = ds.variables[f"{name}_image"].transpose("checkpoint", "data", ..., "image").isel(data=position)
    if not np.isfinite(ds.variables[name].isel(checkpoint=baseline, data=position).values).any():
        own = stored.isel(checkpoint=baseline).values
        if np.isnan(own).all():
            return np.broadcast_to(np.array(np.nan, own.dtype), stored.shape)
    return np.asarray(stored.values)


def _differences(
    values: np.ndarray, rows: Sequence[int], baseline: int, groups: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`mean_error` of some rows of per-image values minus another, computed only where both have something."""
    known = ~np.isnan(values[..., :1] if values.strides[-1] == 0 else values).all(axis=-1)
    both = known[rows] & known[baseline]
    mean, error, freedom = np.full(both.shape, np.nan), np.full(both.shape, np.nan), np.zeros(both.shape)
    checkpoint, *place = np.nonzero(both)
    differences = np.subtract(
        values[(np.asarray(rows)[checkpoint], *place)], values[(baseline, *place)], dtype=np.float64
    )
    mean[both], error[both], freedom[both] = inference.mean_error(differences, groups)
    return mean, error, freedom


def _corrected(p_values: Sequence[np.ndarray], correction: str | None) -> list[np.ndarray]:
    """p-values of all variables as one family."""
    if correction is None:
        return list(p_values)
    family = inference.adjusted(np.concatenate([p.ravel() for p in p_values]), correction)
    edges = np.cumsum([p.size for p in p_values])[:-1]
    return [part.reshape(p.shape) for part, p in zip(np.split(family, edges), p_values, strict=True)]


def _confidence(p_values: Sequence[np.ndarray], correction: str | None, comparisons: int) -> float:
    """Coverage of each interval: jointly `CONFIDENCE` (Bonferroni), or so among the findings (Benjamini-Yekutieli)."""
    if correction is None or not comparisons:
        return CONFIDENCE
    if correction != "bh":
        return inference.corrected_confidence(CONFIDENCE, comparisons)
    findings = sum(int((p < 1 - CONFIDENCE).sum()) for p in p_values)
    return 1 - (1 - CONFIDENCE) * max(findings, 1) / comparisons


def _labelled(
    result: str,
    variable: xr.Variable,
    found: Compared,
    p_values: np.ndarray,
    confidence: float,
    baseline: str,
    correction: str | None,
) -> dict[str, xr.Variable]:
    """`<name>_difference`, its interval and its p-value."""
    name, title = f"{result}_difference", f"{variable.attrs['long_name']}, minus {baseline}"
    how = {"correction": str(correction), "baseline": baseline, "contrast_version": VERSION}
    attrs = {**variable.attrs, **how, "long_name": title, "mean_over": "images that both have"}
    bounds = {
        "long_name": f"{confidence:.5%} interval of: {title}",
        "units": variable.attrs["units"],
        "resamples": "nothing: Student's t with the standard error of the mean over images, paired between checkpoints "
        "(over their groups where the image set has groups)",
        "confidence": confidence,
        **how,
    }
    half = inference.t_quantile(confidence, found.freedom) * found.error
    ends = np.stack([found.mean - half, found.mean + half], axis=-1)
    return {
        key: xr.Variable(dims, values, described, fastpath=True)  # arrays of NumPy: nothing is to be converted
        for key, dims, values, described in (
            (name, variable.dims, found.mean, attrs),
            (f"{name}_ci", (*variable.dims, "bound"), ends, bounds),
            (f"{name}_p", variable.dims, p_values, {"long_name": f"p of: {title}", "units": "1", **how}),
        )
    }
