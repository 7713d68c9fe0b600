"""What a result is: the names of its dimensions, coordinates and attributes, and how to tell a good file from a bad.

Every probe describes its variables with `Variable`, so a new probe needs no change here; this module says what any
description must hold, assembles the labelled arrays, checks whole datasets, and reads and writes them. It imports
neither torch nor any other room of probekit but `errors`, since a report is drawn from a file without torch.

netCDF attributes hold strings, numbers and lists of them: nested facts (provenance, reasons) are stored as JSON text.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from probekit import netcdf
from probekit.constants import CONFIDENCE as CONFIDENCE
from probekit.dataset_checks import ATTRIBUTES as ATTRIBUTES
from probekit.dataset_checks import BESIDE as BESIDE
from probekit.dataset_checks import BETTER as BETTER
from probekit.dataset_checks import CHECKPOINT_COORDS as CHECKPOINT_COORDS
from probekit.dataset_checks import SHARED as SHARED
from probekit.dataset_checks import by_label as by_label
from probekit.dataset_checks import json_object
from probekit.dataset_checks import plain as plain
from probekit.dataset_checks import problems as problems
from probekit.dataset_checks import result_names as result_names
from probekit.errors import ResultsError, shortened, visible
from probekit.netcdf import labels as labels
from probekit.netcdf import shown as shown
from probekit.stamps import stamp as stamp
from probekit.stamps import versions as versions
from probekit.variables import Variable as Variable

SCHEMA_VERSION = 1
"""Version of the layout of a results file. A reader refuses newer files and upgrades older ones."""

DIMS: dict[str, str] = {
    "checkpoint": "a model, by name",
    "data": "an image set, by name",
    "image": "an image of the reported split, by position",
    "layer": "0 = embedding, 1..L = blocks, L after the final norm",
    "head": "an attention head, from 0",
    "pooling": "cls, mean (patch tokens only), native (the model's own head input), token (each position apart)",
    "k": "neighbours",
    "level": "height of a latent: 0 = pixel noise, H = root",
    "readout": "global (pooled features) or local (tokens under the latent's support)",
    "regressor": "linear or nonlinear",
    "target": "latent (carries all higher levels) or noise (the level's own)",
    "scaling": "raw, standardised (every feature at unit variance), or whitened (features by their covariance)",
    "shift": "a distribution shift of the test images",
    "bound": "lower and upper end of the 95 % interval",
    "example": "an image kept for pictures",
    "patch": "a patch of the image in raster order",
    "map": "whose attention: cls, object (the patch on the object), rollout (of cls)",
    "frequency": "radial frequency, from 0 to the highest along an axis = 1",
    "property": "what of an image is read",
    "layer_other": "the other layer, as layer",
    "classifier": "linear (logistic regression) or knn",
    "per_class": "train images of each class: a number, or all",
    "head_kind": "an attentive head: ep, aim, capi",
    "other": "the checkpoint that is compared with, by name",
    "metric": "how similarity is measured: cka, mutual_knn, procrustes, rsa",
    "layer_kept": "the layer whose embedding is kept",
    "axis": "axis of a plane",
    "baseline": "simple features of the images, computed without a model",
    "rung": "what two views of an image share, from pixel over appearance, layout, image and class to superclass",
    "class": "a class of the image set, by name",
    "eval_mask_ratio": "share of the image that is hidden at evaluation",
    "eval_patch_size": "mask unit at evaluation, in pixels",
}
"""The dimensions in use and what a step along each means. A probe may add its own."""

COORDS: dict[str, dict[str, str]] = {
    "mask_ratio": {"long_name": "Masking ratio of training", "units": "1"},
    "patch_size": {"long_name": "Patch size of training: the unit that is hidden as a whole", "units": "pixels"},
    "vit_patch_size": {"long_name": "Patch of the ViT", "units": "pixels"},
    "seed": {"long_name": "Seed of training", "units": "1"},
    "images_seen": {"long_name": "Training images seen, with repetition", "units": "images"},
    "normalised_targets": {"long_name": "Whether training targets were normalised by patch (1 or 0)", "units": "1"},
    "image_height": {"long_name": "Height of the images that the model sees", "units": "pixels"},
    "depth": {"long_name": "Blocks of the encoder", "units": "blocks"},
    "width": {"long_name": "Width of the encoder", "units": "dimensions"},
    "epochs": {"long_name": "Epochs of training", "units": "epochs"},
    "sha256": {"long_name": "Digest of the weights: two checkpoints of one name are the same if it is"},
    "trained_on": {"long_name": "Training data, empty where unknown"},
    "finetuned": {"long_name": "How and on what the encoder was fine-tuned after pretraining, empty if it was not"},
    "data_fingerprint": {"long_name": "What the images depend on"},
    "relative_depth": {"long_name": "Layer / number of blocks", "units": "1"},
}
"""Attributes of the coordinates that are facts of checkpoints and image sets."""


def of_one(
    arrays: Mapping[str, xr.DataArray], *, checkpoint: str, data: str, fingerprint: str, coords: Mapping[str, Any]
) -> xr.Dataset:
    """The arrays of one checkpoint on one image set as a dataset, without its attributes.

    Args:
        arrays: of `Variable.arrays`.
        checkpoint, data: names.
        fingerprint: of the image set.
        coords: facts of the checkpoint, along `checkpoint`.

    Returns:
        The dataset, with the dims `checkpoint` and `data`, each of length 1.

    Example:
        >>> arrays = {"mse": xr.DataArray(0.5)}
        >>> dict(of_one(arrays, checkpoint="a", data="mine", fingerprint="-", coords={}).sizes)
        {'checkpoint': 1, 'data': 1}
    """
    ds = xr.Dataset({key: array.expand_dims(["checkpoint", "data"]) for key, array in arrays.items()})
    own = {"checkpoint": [checkpoint], "data": [data]}
    ds = ds.assign_coords({**own, "data_fingerprint": ("data", [fingerprint], COORDS["data_fingerprint"]), **coords})
    for dim in ds.dims:
        if dim in ds.coords:
            ds[dim].attrs["long_name"] = DIMS[str(dim)]
    return ds


def validate(ds: xr.Dataset) -> xr.Dataset:
    """Check a dataset against the schema.

    Args:
        ds: from `evaluate`, a file, or elsewhere.

    Returns:
        The same dataset, unchanged.

    Raises:
        ResultsError: lists everything that is wrong with it, each with its cure.

    Example:
        >>> validate(probekit.compare(["a", "b"]))  # doctest: +SKIP
    """
    found = problems(ds)
    if found:
        raise ResultsError("Not a probekit results dataset: " + "; ".join(found) + ".")
    return ds


def _json_attribute(ds: xr.Dataset, name: str) -> dict[str, Any]:
    """An attribute that holds a JSON object; an error naming it if it holds anything else."""
    text = ds.attrs.get(name, "{}")
    found = json_object(text)
    if found is None:
        raise ResultsError(
            f"The attribute {name} is {shortened(text)}, expected a JSON object as text: the file was changed by "
            "hand or by another program. Write it again, or delete the attribute."
        )
    return dict(visible(found))


def not_applicable(ds: xr.Dataset) -> dict[str, dict[str, str]]:
    """Why numbers are missing.

    Args:
        ds: a results dataset.

    Returns:
        checkpoint -> probe -> the reason.

    Raises:
        ResultsError: the attribute `not_applicable` is no JSON object of objects.

    Example:
        >>> not_applicable(xr.Dataset(attrs={"not_applicable": '{"a": {"knn": "no labels"}}'}))
        {'a': {'knn': 'no labels'}}
    """
    found = _json_attribute(ds, "not_applicable")
    if any(not isinstance(known, dict) for known in found.values()):
        raise ResultsError("The attribute not_applicable is not checkpoint -> probe -> reason. Delete it.")
    return found


def provenance(ds: xr.Dataset) -> dict[str, Any]:
    """Where the numbers of a dataset come from: versions, settings, command, time.

    Args:
        ds: a results dataset.

    Returns:
        The nested record that `stamp` wrote.

    Raises:
        ResultsError: the attribute `provenance` is no JSON object.

    Example:
        >>> provenance(xr.Dataset(attrs={"provenance": stamp(suite="mine")}))["suite"]
        'mine'
    """
    return _json_attribute(ds, "provenance")


def write(ds: xr.Dataset, path: str | os.PathLike[str]) -> Path:
    """Write a results dataset as netCDF, whole or not at all.

    Args:
        ds: the dataset.
        path: of the file; one that is there is replaced.

    Returns:
        The path.

    Raises:
        ResultsError: the dataset holds what netCDF cannot.
        StorageError: the file cannot be written; what was there before is unchanged.

    Example:
        >>> write(probekit.evaluate("shipped:untrained-s0"), "results.nc")  # doctest: +SKIP
    """
    return netcdf.write(ds, path)


def read(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a results file and check it.

    Args:
        path: of the file.

    Returns:
        The dataset, in memory; where its arrays have more than 1 GiB, the large ones are read when asked for.

    Raises:
        ResultsError: no such file, empty, damaged, not netCDF, not ours, or of a newer schema.

    Example:
        >>> read("results.nc")["knn_accuracy"]  # doctest: +SKIP
    """
    return upgrade(unchecked(path), str(path))


def unchecked(path: str | os.PathLike[str], *, lazily: bool = False) -> xr.Dataset:
    """The dataset in a netCDF file, whatever it holds.

    Args:
        path: of the file.
        lazily: leave large arrays packed until they are asked for.

    Returns:
        The dataset, not checked against the schema.

    Raises:
        ResultsError: no such file, empty, damaged or not netCDF.

    Example:
        >>> unchecked("features.nc", lazily=True)  # doctest: +SKIP
    """
    source = Path(path)
    if source.is_dir():
        raise ResultsError(
            f"{source} is a folder; a results file is netCDF (.nc). If it is a zarr store, open it and give the "
            "dataset: xarray.open_zarr(path).load()."
        )
    if not source.exists():
        raise ResultsError(f"No results file at {source}. `python -m probekit.report` writes one.")
    return netcdf.read(source, "Copy it again, or run the evaluation again.", lazily=lazily)


def upgrade(ds: xr.Dataset, source: str = "this dataset") -> xr.Dataset:
    """Bring a dataset of an older schema to this one.

    Args:
        ds: the dataset.
        source: what messages call it.

    Returns:
        The dataset, checked.

    Raises:
        ResultsError: it is of a newer schema, or no results dataset.

    Example:
        >>> upgrade(xarray.open_dataset("old.nc").load(), "old.nc")  # doctest: +SKIP
    """
    version = ds.attrs.get("schema_version")
    if version is None:
        raise ResultsError(f"{source} is no probekit results file: it has no attribute schema_version.")
    if not isinstance(version, int | np.integer) or version < 1:
        raise ResultsError(
            f"{source} names the schema version {version!r}; expected a whole number from 1 to {SCHEMA_VERSION}."
        )
    if version > SCHEMA_VERSION:
        raise ResultsError(
            f"{source} is of schema version {version}, this probekit reads up to {SCHEMA_VERSION}. "
            "Upgrade probekit to read it."
        )
    return validate(ds)
