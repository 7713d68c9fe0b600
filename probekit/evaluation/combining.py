"""Lining up datasets along `checkpoint` or `data`: what is missing becomes NaN, what does not match is refused.

Two numbers are comparable if they were measured by the same protocol and version, with the same options, on the same
images. Whether they were is decided from attributes, so it holds for files from another lab too.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from probekit import schema
from probekit.errors import ResultsError

PROTOCOL = ("protocol", "version", "options", "mask_grid", "counts", "precision", "images")
"""Attributes in which two numbers of one variable must agree to stand side by side."""

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


def union(parts: Sequence[xr.Dataset], dim: Hashable) -> np.ndarray:
    """Labels of a dim over all parts; a bare count where it has none."""
    labelled = [part.coords[dim].values for part in parts if dim in part.dims and dim in part.coords]
    if not labelled:
        return np.arange(max(part.sizes[dim] for part in parts if dim in part.dims))
    return merged_labels(labelled)


def aligned(array: xr.DataArray, labels: dict[Hashable, Any]) -> xr.DataArray:
    """`array` on these labels of its dims, filled where it has nothing."""
    wanted = {dim: labels[dim] for dim in array.dims if dim in labels}
    bare = [dim for dim in wanted if dim not in array.coords]
    array = array.assign_coords({dim: np.arange(array.sizes[dim]) for dim in bare})
    if any(not np.array_equal(array.coords[dim].values, wanted[dim]) for dim in wanted):
        array = array.reindex(wanted, fill_value=fill_of(array.dtype))
    return array.drop_vars(bare)


def combine(parts: Sequence[xr.Dataset], dim: str, *, mixed: bool = False) -> xr.Dataset:
    """Datasets one behind the other along `dim`.

    Args:
        parts: their labels of `dim` are distinct.
        dim: "checkpoint" or "data".
        mixed: accept different protocols and mark them in the attribute `mixed_protocols`.

    Raises:
        ResultsError: different protocols of one variable and not `mixed`.
    """
    if len(parts) == 1:
        return parts[0]
    dims = {other for part in parts for other in part.dims} - {dim}
    labels = {other: union(parts, other) for other in dims}
    names = dict.fromkeys(str(name) for part in parts for name in part.variables if name not in part.dims)
    out: dict[str, xr.DataArray] = {}
    coords: dict[str, xr.DataArray] = {}
    for name in names:
        having = [part for part in parts if name in part.variables]
        target = coords if name in having[0].coords else out
        if dim in having[0][name].dims:
            target[name] = _stacked(name, parts, dim, labels)
        else:
            target[name] = _shared(name, having, labels)
        target[name].attrs = merged_attributes(name, having, dim, mixed)
    named = {other: values for other, values in labels.items() if any(other in part.coords for part in parts)}
    along = np.concatenate([part[dim].values for part in parts])
    whole = xr.Dataset(out, coords={**named, dim: along, **coords})
    for other in (*named, dim):
        whole[other].attrs = next((part[other].attrs for part in parts if other in part.coords), {})
    return whole


def _stacked(name: str, parts: Sequence[xr.Dataset], dim: str, labels: dict[Hashable, Any]) -> xr.DataArray:
    """A variable over all parts; a part without it is filled."""
    template = next(part[name] for part in parts if name in part.variables)
    others = [other for other in template.dims if other != dim]
    pieces = []
    for part in parts:
        if name in part.variables:
            piece = aligned(part[name].reset_coords(drop=True), labels).transpose(*template.dims)
            pieces.append(piece.values)
        else:
            shape = tuple(part.sizes[dim] if other == dim else len(labels[other]) for other in template.dims)
            pieces.append(np.full(shape, fill_of(template.dtype), dtype=template.dtype))
    values = np.concatenate(pieces, axis=template.dims.index(dim))
    return xr.DataArray(values, dims=template.dims, coords={o: labels[o] for o in others if o in template.coords})


def _shared(name: str, having: Sequence[xr.Dataset], labels: dict[Hashable, Any]) -> xr.DataArray:
    """A variable that does not run along the dim (pictures, facts of checkpoints): the first part that has a value
    wins.
    """
    first = aligned(having[0][name].reset_coords(drop=True), labels)
    for part in having[1:]:
        other = aligned(part[name].reset_coords(drop=True), labels)
        if other.dims == first.dims:
            first = xr.where(_missing(first), other, first)
    return first.astype(having[0][name].dtype if having[0][name].dtype.kind not in "UO" else str)


def _missing(array: xr.DataArray) -> xr.DataArray:
    """Where there is nothing: NaN, an empty text, or for pictures and labels a whole image set of fill values."""
    if array.dtype.kind == "f":
        return array.isnull()
    empty = array == fill_of(array.dtype)
    return empty.all([dim for dim in array.dims if dim != "data"]) if array.dtype.kind in "iub" else empty


def tiles(ds: xr.Dataset) -> list[xr.Dataset]:
    """A dataset taken apart into one per checkpoint and image set, without the variables that are empty there."""
    out = []
    reasons = schema.not_applicable(ds)
    for checkpoint in range(ds.sizes["checkpoint"]):
        for data in range(ds.sizes["data"]):
            tile = ds.isel(checkpoint=[checkpoint], data=[data])
            here = {"checkpoint": str(tile.checkpoint.values[0]), "data": str(tile.data.values[0])}
            empty = [
                name for name, array in tile.data_vars.items() if array.dtype.kind == "f" and bool(array.isnull().all())
            ]
            kept = [name for name in schema.result_names(tile) if name not in empty]
            if not kept:
                continue
            tile = tile.drop_vars(empty)
            for name in tile.variables:
                tile[name].attrs = {key: _chosen(value, here) for key, value in tile[name].attrs.items()}
            named = here["checkpoint"]
            tile.attrs["not_applicable"] = json.dumps({named: reasons.get(named, {})})
            out.append(tile)
    return out


def lined_up(parts: Sequence[xr.Dataset], *, mixed: bool = False) -> xr.Dataset:
    """Tiles (one checkpoint and one image set each) as one dataset; checkpoints and image sets in order of appearance.

    Protocols are compared between checkpoints on one image set; between image sets they may differ, and are then stored
    as JSON `{"by_data": {name: value}}`.
    """
    checkpoints = list(dict.fromkeys(str(part.checkpoint.values[0]) for part in parts))
    by_data: dict[str, list[xr.Dataset]] = {}
    for part in parts:
        by_data.setdefault(str(part.data.values[0]), []).append(part)
    columns = [combine(column, "checkpoint", mixed=mixed) for column in by_data.values()]
    whole = combine(columns, "data")
    return whole.sel(checkpoint=checkpoints) if len(checkpoints) > 1 else whole


def merged_attributes(name: str, having: Sequence[xr.Dataset], dim: str, mixed: bool) -> dict[str, Any]:
    """Attributes of a variable over parts; a difference in protocol is refused or marked."""
    attrs = dict(having[0][name].attrs)
    if all(key in attrs for key in schema.ATTRIBUTES):
        different = [key for key in PROTOCOL if len({_text(part[name].attrs.get(key)) for part in having}) > 1]
        if different and dim == "checkpoint":
            whom = [
                f"{'/'.join(map(str, part[dim].values))}: {part[name].attrs.get(different[0])!r}" for part in having
            ]
            if not mixed:
                raise ResultsError(
                    f"{name} was measured differently ({', '.join(different)}): {'; '.join(dict.fromkeys(whom))}. "
                    f"Numbers of "
                    "different protocols are not lined up; evaluate them again with the same settings, or pass "
                    "mixed=True to have "
                    "them side by side and marked."
                )
            attrs["mixed_protocols"] = json.dumps(
                {key: [_text(part[name].attrs.get(key)) for part in having] for key in different}
            )
    for key in list(attrs):
        if key != "mixed_protocols" and len({_text(part[name].attrs.get(key)) for part in having}) > 1:
            each = {str(label): _plain(part[name].attrs.get(key)) for part in having for label in part[dim].values}
            attrs[key] = json.dumps({f"by_{dim}": each})
    return attrs


def _chosen(value: Any, here: dict[str, str]) -> Any:
    """The value of an attribute for one checkpoint and image set, where it was stored for each."""
    if isinstance(value, str) and value.startswith('{"by_'):
        for dim, label in here.items():
            each = json.loads(value).get(f"by_{dim}")
            if each is not None:
                return each.get(label)
    return value


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _text(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True)
