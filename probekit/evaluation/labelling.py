"""The numbers of one checkpoint on one image set as a labelled dataset, with the facts of both as coordinates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from probekit import schema
from probekit.collect import PreparedModel, Splits
from probekit.models.facts import coordinates
from probekit.results.aligning import merged


def labelled(
    prepared: PreparedModel, sets: Splits, reasons: Mapping[str, str], arrays: Mapping[str, xr.DataArray]
) -> xr.Dataset:
    """The dataset of one checkpoint on one image set, dims checkpoint = 1 and data = 1.

    Args:
        prepared, sets: what was measured.
        reasons: probe or variable -> why there is no number.
        arrays: what the probes found.
    """
    name, data = prepared.checkpoint.name, sets.name
    everything = {**arrays, **_labels(sets)}
    whole = merged(everything)  # probes may cover fewer layers, levels or images than others
    found = {}
    for key, array in whole.data_vars.items():
        lead = ("data",) if key in schema.SHARED else ("checkpoint", "data")
        attrs = {name: _storable(value) for name, value in everything[str(key)].attrs.items()}
        found[key] = (lead + array.dims, array.values.reshape((1,) * len(lead) + array.shape), attrs)
    ds = xr.Dataset(found, coords={"checkpoint": [name], "data": [data], **whole.coords})
    ds = ds.assign_coords(_facts(prepared, sets, ds))
    ds.attrs["not_applicable"] = json.dumps({name: reasons} if reasons else {})
    return ds


def _labels(sets: Splits) -> dict[str, xr.DataArray]:
    """Class and group of each test image, as far as the set has them."""
    if not sets.has("test"):
        return {}
    test = sets["test"]
    attrs = {"long_name": "Class of the test image", "classes": list(test.classes)}
    rows = sets.size("test")
    out = {}
    if test.labels is not None:
        out["label"] = xr.DataArray(np.asarray(test.labels[:rows]), dims="image", attrs=attrs)
    if test.groups is not None:
        attrs = {"long_name": "Group of the test image: what intervals resample; -1 where images are independent"}
        out["group"] = xr.DataArray(np.asarray(test.groups[:rows], dtype=np.int64), dims="image", attrs=attrs)
    return out


def _facts(prepared: PreparedModel, sets: Splits, ds: xr.Dataset) -> dict[str, Any]:
    """Facts of the checkpoint and of the images, as coordinates."""
    card, model = prepared.checkpoint.card, prepared.model
    coords = coordinates(card, model, prepared.size[0])
    coords["data_fingerprint"] = ("data", [sets.any.fingerprint], schema.COORDS["data_fingerprint"])
    if "layer" in ds.dims:
        depth = np.asarray(ds["layer"].values, dtype=np.float64) / max(1, model.depth)
        coords["relative_depth"] = (("checkpoint", "layer"), depth[None], schema.COORDS["relative_depth"])
    return coords


def _storable(value: Any) -> Any:
    """An attribute as netCDF gives it back: a list of one is that one."""
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value
