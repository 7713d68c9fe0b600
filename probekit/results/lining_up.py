"""Lining up datasets along `checkpoint` or `data`: what is missing becomes NaN, what does not match is refused."""

from __future__ import annotations

import json
from collections.abc import Collection, Hashable, Mapping, Sequence

import numpy as np
import xarray as xr

from probekit import schema
from probekit.errors import ResultsError
from probekit.results.aligning import Labels, common_labels, fill_of, on
from probekit.results.protocols import attributes_of_one, chosen, merged_attributes

FACTS = ("label", "group", "data_fingerprint")
"""Facts of an image set beside its pictures. Set to missing where the parts disagree."""


def combine(parts: Sequence[xr.Dataset], dim: str, *, mixed: bool = False, order: Labels | None = None) -> xr.Dataset:
    """Datasets one behind the other along `dim`.

    Args:
        parts: their labels of `dim` are distinct.
        dim: "checkpoint" or "data".
        mixed: accept different protocols and mark them in the attribute `mixed_protocols`.
        order: all labels of some other dims, in the order that they are wanted in.

    Raises:
        ResultsError: different protocols of one variable and not `mixed`.
    """
    if len(parts) == 1:
        return on(parts[0], order or {})
    labels = common_labels(parts, [other for other in _dims(parts) if other != dim]) | (order or {})
    wide = [on(part, labels) for part in parts]
    names = _names(parts)
    first = {name: next(part for part in wide if name in part.variables) for name in names}
    own = [name for name in names if dim in first[name].variables[name].dims]
    shared = [name for name in names if name not in own]
    whole = _empty(parts, labels, dim)
    whole = with_variables(
        whole, {name: _stacked(name, wide, first[name], dim) for name in own}, {n for n in own if n in first[n].coords}
    )
    having = {name: [part for part in parts if name in part.variables] for name in names}
    whole = with_variables(
        whole,
        {name: _shared(name, having[name], labels) for name in shared},
        {n for n in names if n in first[n].coords},
    )
    for name in names:
        whole.variables[name].attrs = merged_attributes(name, having[name], dim, mixed)
    return whole[[name for name in names if name in whole.data_vars]]


def _dims(parts: Sequence[xr.Dataset]) -> list[Hashable]:
    return list(dict.fromkeys(dim for part in parts for dim in part.dims))


def _names(parts: Sequence[xr.Dataset]) -> list[Hashable]:
    """All variables and coordinates that are no dims, in order of appearance."""
    return list(dict.fromkeys(name for part in parts for name in part.variables if name not in part.dims))


def _empty(parts: Sequence[xr.Dataset], labels: Labels, dim: str) -> xr.Dataset:
    """The labels of all dims, those of `dim` one part behind the other; attributes as the first part has them."""
    behind = {dim: np.concatenate([part.variables[dim].values for part in parts]), **labels}
    coords = {
        name: xr.Variable((name,), behind[name], next(p.variables[name].attrs for p in parts if name in p.coords))
        for name in behind
        if any(name in part.coords for part in parts)
    }
    return xr.Dataset(coords=coords, attrs=parts[0].attrs)


def _stacked(name: Hashable, parts: Sequence[xr.Dataset], first: xr.Dataset, dim: str) -> xr.Variable:
    """A variable of all parts one behind the other along `dim`; where one lacks it, filled as `fill_of` says.

    A number that is a fact (a coordinate) becomes a float, which can be NaN: no whole number stands for "unknown".
    """
    template, fact = first.variables[name], name in first.coords
    dtype = np.dtype(float) if fact and template.dtype.kind in "iub" else template.dtype
    found = []
    for part in parts:
        if name in part.variables:
            if set(part.variables[name].dims) != set(template.dims):
                raise ResultsError(
                    f"{name!r} has the dims {', '.join(map(str, part.variables[name].dims))} in one part and "
                    f"{', '.join(map(str, template.dims))} in another. Rename them alike, or leave it out."
                )
            found.append(part.variables[name].transpose(*template.dims).values)
        else:
            shape = [part.sizes[dim] if d == dim else template.sizes[d] for d in template.dims]
            found.append(np.full(shape, fill_of(dtype), dtype=dtype))
    if {one.dtype.kind in "OUS" for one in found} == {True, False}:  # each value stays what it is
        found = [_as_objects(one) for one in found]
    return xr.Variable(template.dims, np.concatenate(found, axis=template.dims.index(dim)), template.attrs)


def _as_objects(values: np.ndarray) -> np.ndarray:
    """Values as they are, beside texts; a number that is not known is no text."""
    objects = values.astype(object)
    if values.dtype.kind == "f":
        objects[np.isnan(values)] = ""
    return objects


def with_variables(
    ds: xr.Dataset, variables: Mapping[Hashable, xr.Variable], facts: Collection[Hashable]
) -> xr.Dataset:
    """`ds` with more variables, those in `facts` as coordinates; xarray aligns once instead of once for each."""
    coords = {name: value for name, value in variables.items() if name in facts}
    return ds.assign_coords(coords).assign({name: value for name, value in variables.items() if name not in facts})


def _aligned(part: xr.Dataset, name: Hashable, labels: Labels) -> tuple[xr.Variable, np.ndarray]:
    """A variable of `part` on these labels, and where `part` has something of it; a NaN is nothing."""
    array = part[name].reset_coords(drop=True)
    both = on(xr.Dataset({"value": array, "there": array.notnull()}), labels)
    return both.variables["value"], both.variables["there"].values


def _shared(name: Hashable, having: Sequence[xr.Dataset], labels: Labels) -> xr.Variable:
    """A variable that does not run along the dim: of pictures the first one there, of facts what all agree on."""
    first, filled = _aligned(having[0], name, labels)
    filled = filled & ~_missing(first)
    for part in having[1:]:
        other, here = _aligned(part, name, labels)
        if other.dims != first.dims:
            continue
        if name in FACTS:
            here = here & ~_missing(other)
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
    labels = common_labels(parts, _dims(parts))
    whole = xr.Dataset(coords={dim: labels[dim] for dim in labels if any(dim in part.coords for part in parts)})
    for dim in whole.dims:
        whole[dim].attrs = next(part[dim].attrs for part in parts if dim in part.coords)
    found: dict[Hashable, xr.Variable] = {}
    for name in _names(parts):
        having = [part for part in parts if name in part.variables]
        merge = _shared if str(name).startswith("example_") else _agreeing  # pictures may be kept in different sizes
        found[name] = merge(name, having, labels)
        found[name].attrs = attributes_of_one(name, having, mixed)
    return with_variables(whole, found, {name for name in found if any(name in part.coords for part in parts)})


def _agreeing(name: Hashable, having: Sequence[xr.Dataset], labels: Labels) -> xr.Variable:
    """A variable from all that have it, who must agree where they overlap."""
    first, filled = _aligned(having[0], name, labels)
    values = first.values
    for part in having[1:]:
        other, here = _aligned(part, name, labels)
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
        return np.asarray(np.isnan(array.values))
    empty = np.asarray(array.values == fill_of(array.dtype))
    if array.dtype.kind in "iub":
        others = tuple(place for place, dim in enumerate(array.dims) if dim != "data")
        empty = np.broadcast_to(empty.all(axis=others, keepdims=True), empty.shape)
    return empty


def separated(ds: xr.Dataset) -> list[xr.Dataset]:
    """A dataset taken apart into one per checkpoint and image set, without the variables that are empty there."""
    out = []
    reasons = schema.not_applicable(ds)
    for checkpoint in range(ds.sizes["checkpoint"]):
        for data in range(ds.sizes["data"]):
            part = ds.isel(checkpoint=[checkpoint], data=[data])
            here = {"checkpoint": str(part.checkpoint.values[0]), "data": str(part.data.values[0])}
            empty = [
                name for name, array in part.data_vars.items() if array.dtype.kind == "f" and bool(array.isnull().all())
            ]
            kept = [name for name in schema.result_names(part) if name not in empty]
            if not kept:
                continue
            part = part.drop_vars(empty)
            for name in part.variables:
                part[name].attrs = {key: chosen(value, here) for key, value in part[name].attrs.items()}
            named = here["checkpoint"]
            part.attrs["not_applicable"] = json.dumps({named: reasons.get(named, {})})
            out.append(part)
    return out


def lined_up(parts: Sequence[xr.Dataset], *, mixed: bool = False) -> xr.Dataset:
    """Join results of one checkpoint and one image set each; checkpoints and image sets in order of appearance.
    Of one checkpoint and image set there may be several, with different results.

    Protocols are compared between checkpoints on one image set; between image sets they may differ, and are then stored
    as JSON `{"by_data": {name: value}}`.
    """
    if not parts:
        raise ResultsError("There is nothing to line up: no checkpoint has a number.")
    checkpoints = list(dict.fromkeys(str(part.checkpoint.values[0]) for part in parts))
    by_data: dict[str, dict[str, list[xr.Dataset]]] = {}
    for part in parts:
        column = by_data.setdefault(str(part.data.values[0]), {})
        column.setdefault(str(part.checkpoint.values[0]), []).append(part)
    columns = [
        combine([joined(same, mixed=mixed) for same in column.values()], "checkpoint", mixed=mixed)
        for column in by_data.values()
    ]
    return combine(columns, "data", order={"checkpoint": np.array(checkpoints)})
