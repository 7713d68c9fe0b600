"""Lining up datasets along `checkpoint` or `data`: what is missing becomes NaN, what does not match is refused.

Two numbers are comparable if they were measured by the same protocol and version, with the same options, on the same
images. Whether they were is decided from attributes, so it holds for files from another lab too.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from probekit import schema
from probekit.errors import ResultsError
from probekit.evaluation.plain import Plain, fill_of, merged_labels

PROTOCOL = ("protocol", "version", "options", "mask_grid", "counts", "precision", "images", "seed")
"""Attributes in which two numbers of one variable must agree to stand side by side."""


def union(parts: Sequence[xr.Dataset], dim: Hashable) -> np.ndarray:
    """Labels of a dim over all parts; a bare count where it has none."""
    labelled = [part.coords[dim].values for part in parts if dim in part.dims and dim in part.coords]
    if not labelled:
        return np.arange(max(part.sizes[dim] for part in parts if dim in part.dims))
    return merged_labels(labelled)


def aligned(part: xr.Dataset, name: str, labels: Mapping[Hashable, np.ndarray]) -> xr.Variable:
    """A variable of `part` on these labels of its dims, filled where it has nothing."""
    return _aligned(part, part.variables[name], labels)


def covered(part: xr.Dataset, name: str, labels: Mapping[Hashable, np.ndarray]) -> np.ndarray:
    """Where on these labels `part` has something of a variable; a NaN is nothing."""
    variable = part.variables[name]
    there = xr.Variable(variable.dims, variable.notnull().values)
    return np.asarray(_aligned(part, there, labels).values)


def _aligned(part: xr.Dataset, variable: xr.Variable, labels: Mapping[Hashable, np.ndarray]) -> xr.Variable:
    coords = {str(dim): part.variables[dim].values for dim in variable.dims if dim in part.coords}
    mine = {
        str(dim): part.variables[dim].values if dim in part.coords else np.arange(part.sizes[dim]) for dim in part.dims
    }
    wanted = {str(dim): labels.get(dim, mine[str(dim)]) for dim in variable.dims}
    values = Plain(tuple(str(dim) for dim in variable.dims), coords, variable.values, {}).on(wanted)
    return xr.Variable(variable.dims, values)


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
    out: dict[str, xr.Variable] = {}
    coords: dict[str, xr.Variable] = {}
    for name in names:
        having = [part for part in parts if name in part.variables]
        target = coords if name in having[0].coords else out
        if dim in having[0].variables[name].dims:
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


def _stacked(name: str, parts: Sequence[xr.Dataset], dim: str, labels: Mapping[Hashable, np.ndarray]) -> xr.Variable:
    """A variable over all parts; a part without it is filled."""
    template = next(part.variables[name] for part in parts if name in part.variables)
    pieces = []
    for part in parts:
        if name in part.variables:
            pieces.append(aligned(part, name, labels).transpose(*template.dims).values)
        else:
            shape = tuple(part.sizes[dim] if other == dim else len(labels[other]) for other in template.dims)
            pieces.append(np.full(shape, fill_of(template.dtype), dtype=template.dtype))
    return xr.Variable(template.dims, np.concatenate(pieces, axis=template.dims.index(dim)))


FACTS = ("label", "group", "data_fingerprint")
"""Facts of an image set beside its pictures: of different images there is none that holds for all."""


def _shared(name: str, having: Sequence[xr.Dataset], labels: Mapping[Hashable, np.ndarray]) -> xr.Variable:
    """A variable that does not run along the dim: of pictures the first one there, of facts what all agree on."""
    first = aligned(having[0], name, labels)
    filled = covered(having[0], name, labels) & ~_missing(first)
    for part in having[1:]:
        other = aligned(part, name, labels)
        if other.dims != first.dims:
            continue
        if name in FACTS:
            here = covered(part, name, labels) & ~_missing(other)
            values = np.where(filled, first.values, other.values)
            values = np.where(filled & here & (values != other.values), fill_of(first.dtype), values)
            first, filled = xr.Variable(first.dims, values), filled | here
        elif (gaps := _missing(first)).any():
            first = xr.Variable(first.dims, np.where(gaps, other.values, first.values))
    return first


def joined(parts: Sequence[xr.Dataset], *, mixed: bool = False) -> xr.Dataset:
    """Results of one checkpoint on one image set from several datasets, as one.

    Raises:
        ResultsError: a variable, or the fingerprint of the images, is not the same in all that have it; different
            protocols of one variable and not `mixed`.
    """
    if len(parts) == 1:
        return parts[0]
    labels = {dim: union(parts, dim) for dim in {dim for part in parts for dim in part.dims}}
    named = {dim: values for dim, values in labels.items() if any(dim in part.coords for part in parts)}
    coords = {name for part in parts for name in part.coords}
    inside: dict[str, xr.Variable] = {}
    beside: dict[str, xr.Variable] = {}
    for name in dict.fromkeys(str(name) for part in parts for name in part.variables if name not in part.dims):
        target = beside if name in coords else inside
        having = [part for part in parts if name in part.variables]
        merge = _shared if name.startswith("example_") else _agreeing  # pictures may be kept in different sizes
        target[name] = merge(name, having, labels)
        target[name].attrs = _attributes_of_one(name, having, mixed)
    whole = xr.Dataset(inside, coords={**named, **beside})
    for dim in named:
        whole[dim].attrs = next(part[dim].attrs for part in parts if dim in part.coords)
    return whole


def _attributes_of_one(name: str, having: Sequence[xr.Dataset], mixed: bool) -> dict[str, Any]:
    """Attributes of a variable of one checkpoint on one image set, from several datasets."""
    attrs = dict(having[0].variables[name].attrs)
    if all(key in attrs for key in schema.ATTRIBUTES):
        marks = protocol_marks(name, having, "checkpoint", mixed)
        attrs |= {key: json.dumps({"mixed": values}) for key, values in marks.items()}  # equal to no single protocol
        if marks:
            attrs["mixed_protocols"] = json.dumps(marks)
    return attrs


def _agreeing(name: str, having: Sequence[xr.Dataset], labels: Mapping[Hashable, np.ndarray]) -> xr.Variable:
    """A variable from all that have it, who must agree where they overlap."""
    first = having[0].variables[name]
    values, filled = aligned(having[0], name, labels).values, covered(having[0], name, labels)
    for part in having[1:]:
        other, here = aligned(part, name, labels), covered(part, name, labels)
        if other.dims != first.dims or (values != other.values)[filled & here].any():
            where = f"{part.checkpoint.values[0]} on {part.data.values[0]}"
            raise ResultsError(
                f"{name} of {where} is in more than one of the datasets, and differs. Rename the checkpoint in one of "
                "them to see both, or leave one out."
            )
        values, filled = np.where(filled, values, other.values), filled | here
    return xr.Variable(first.dims, values)


def _missing(array: xr.Variable) -> np.ndarray:
    """Where there is nothing: NaN, an empty text, or for pictures and labels a whole image set of fill values."""
    if array.dtype.kind == "f":
        return np.isnan(array.values)
    empty = np.asarray(array.values == fill_of(array.dtype))
    if array.dtype.kind in "iub":
        others = tuple(place for place, dim in enumerate(array.dims) if dim != "data")
        empty = np.broadcast_to(empty.all(axis=others, keepdims=True), empty.shape)
    return empty


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
    Of one checkpoint and image set there may be several, with different results.

    Protocols are compared between checkpoints on one image set; between image sets they may differ, and are then stored
    as JSON `{"by_data": {name: value}}`.
    """
    checkpoints = list(dict.fromkeys(str(part.checkpoint.values[0]) for part in parts))
    by_data: dict[str, dict[str, list[xr.Dataset]]] = {}
    for part in parts:
        column = by_data.setdefault(str(part.data.values[0]), {})
        column.setdefault(str(part.checkpoint.values[0]), []).append(part)
    columns = [
        combine([joined(same, mixed=mixed) for same in column.values()], "checkpoint", mixed=mixed)
        for column in by_data.values()
    ]
    whole = combine(columns, "data")
    return whole.sel(checkpoint=checkpoints) if len(checkpoints) > 1 else whole


def merged_attributes(name: str, having: Sequence[xr.Dataset], dim: str, mixed: bool) -> dict[str, Any]:
    """Attributes of a variable over parts; a difference in protocol is refused or marked."""
    attrs = dict(having[0].variables[name].attrs)
    if all(key in attrs for key in schema.ATTRIBUTES):
        marks = protocol_marks(name, having, dim, mixed)
        if marks:
            attrs["mixed_protocols"] = json.dumps(marks)
    for key in list(attrs):
        if key != "mixed_protocols" and len({_text(part.variables[name].attrs.get(key)) for part in having}) > 1:
            each = {
                str(label): _plain(part.variables[name].attrs.get(key)) for part in having for label in part[dim].values
            }
            attrs[key] = json.dumps({f"by_{dim}": each})
    return attrs


def protocol_marks(name: str, having: Sequence[xr.Dataset], dim: str, mixed: bool) -> dict[str, list[str]]:
    """Protocol attribute -> its values, where checkpoints differ in it now or did in a part.

    Raises:
        ResultsError: they differ, and not `mixed`.
    """
    marks: dict[str, list[str]] = {}
    for part in having:
        for key, values in json.loads(part.variables[name].attrs.get("mixed_protocols", "{}")).items():
            marks[key] = list(dict.fromkeys([*marks.get(key, []), *values]))
    if dim != "checkpoint":  # image sets may differ
        return marks
    values = {key: [_text(part.variables[name].attrs.get(key)) for part in having] for key in PROTOCOL}
    different = [key for key in PROTOCOL if len(set(values[key])) > 1]
    if different and not mixed:
        whom = [
            f"{'/'.join(map(str, part[dim].values))}: {_plain(part.variables[name].attrs.get(different[0]))!r}"
            for part in having
        ]
        raise ResultsError(
            f"{name} was measured differently ({', '.join(different)}): {'; '.join(dict.fromkeys(whom))}. Numbers of "
            "different protocols are not lined up; evaluate them again with the same settings, or pass mixed=True to "
            "have them side by side and marked."
        )
    return marks | {key: values[key] for key in different}


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
