"""The features themselves, as a labelled array: for fits, plots and searches of the user's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from probekit import schema
from probekit.checks import whole
from probekit.collect import Counts, Measurements, PassSettings, PreparedModel, Splits
from probekit.data import SPLITS, ImageSet
from probekit.errors import ProbeError, did_you_mean
from probekit.evaluation import arguments, costs, opening
from probekit.evaluation.single import fitting_threads, folders
from probekit.progress import run

DTYPES = ("float32", "float16")

ALL = 2**31 - 1
"""More images than any split has."""


def features(
    ckpt: Any,
    data: Any,
    split: str = "test",
    layers: Sequence[int] | None = None,
    poolings: Sequence[str] | None = None,
    *,
    count: int | None = None,
    sampling: str = "proportional",
    dtype: str = "float32",
    image_size: int | tuple[int, int] | None = None,
    crop_fraction: float | None = None,
    interpolation: str | None = None,
    batch_size: int = 64,
    device: str = "auto",
    precision: str = "float32",
    workers: int = 0,
    cache: bool = True,
) -> xr.Dataset:
    """Pooled features of every image of a split.

    Args:
        ckpt: a `Checkpoint`, or anything that `probekit.load` takes.
        data: one image set, as in `evaluate`.
        split: "train", "val" or "test".
        layers: 0 = embedding to L = after the final norm; negative ones count from the last; None = all.
        poolings: of "cls", "mean" (patch tokens only), "native"; None = all that the checkpoint has.
        count: how many images, drawn as `evaluate` draws them; None = all.
        sampling: "proportional" or "balanced" over the classes, as in `evaluate`.
        dtype: "float32", or "float16" for half the memory (rounded to 11 bits; an overflow is an error).
        image_size: (height, width) in pixels, or the side of a square; None as the checkpoint's card says. Like
            `crop_fraction`, `interpolation`, `batch_size`, `device`, `precision`, `workers` and `cache`: as in
            `evaluate`.

    Returns:
        `features` (image, layer, pooling, width), and along `image`: `label` (class number, where classes are known)
        and `path` (what the image set calls the image). Read from the cache where they lie there.

    Raises:
        ProbeError: a split, layer or pooling that there is not; layers of different widths (name some of one width).

    Example:
        >>> ds = probekit.features("shipped:quadtree-r0.75-p4-s0", "shapes", layers=[-1], poolings=["mean"], count=100)
        >>> ds.features.sel(layer=4, pooling="mean").shape
        (100, 64)
    """
    if split not in SPLITS:
        raise ProbeError(f"split={split!r}: expected {', '.join(SPLITS)}. {did_you_mean(str(split), SPLITS)}")
    if dtype not in DTYPES:
        raise ProbeError(f"dtype={dtype!r}: expected {' or '.join(DTYPES)}.")
    limit = ALL if count is None else whole("count", count, least=1, error=ProbeError)
    settings = PassSettings(
        batch_size=batch_size, precision=precision, workers=workers, cache=cache,
        preparation=arguments.preparation_of(image_size, crop_fraction, interpolation),
        layers=arguments.layers_of(layers), poolings=arguments.poolings_of(poolings),
    )  # fmt: skip
    prepared = PreparedModel(opening.open_checkpoint(ckpt, str(device)), settings)
    sets = Splits(data, Counts(train=limit, val=limit, test=limit), sampling=arguments.sampling_of(sampling))
    with folders(cache) as where, fitting_threads(prepared):
        measurements = Measurements(prepared, sets, where.measurements)
        needs = [f"features:{split}"]
        chosen = _of_one_width(measurements)
        planned = measurements.planned(needs)
        with run(f"{prepared.checkpoint.name} on {sets.name}", planned[0].missing, costs.line(planned)):
            measurements.gather(needs)
        array = _table(measurements, split, chosen, dtype)
    return _labelled(measurements, split, chosen, array)


def _of_one_width(measurements: Measurements) -> list[int]:
    """The layers that are asked for; a `ProbeError` if they differ in width."""
    chosen = measurements.layers
    widths = {layer: measurements.prepared.shapes[layer].width for layer in chosen}
    if len(set(widths.values())) > 1:
        each = ", ".join(f"{layer}: {width}" for layer, width in widths.items())
        raise ProbeError(
            f"The layers of {measurements.prepared.checkpoint.name} differ in width ({each}), so they are no single "
            f"array. Name layers of one width, such as layers=[{chosen[-1]}]."
        )
    return chosen


def _table(measurements: Measurements, split: str, layers: list[int], dtype: str) -> np.ndarray:
    """(images, layers, poolings, width), filled layer by layer."""
    rows, poolings = measurements.size(split), measurements.poolings
    width = measurements.prepared.shapes[layers[0]].width
    out = np.empty((rows, len(layers), len(poolings), width), dtype=dtype)
    for i, layer in enumerate(layers):
        for j, pooling in enumerate(poolings):
            with np.errstate(over="ignore"):
                out[:, i, j] = measurements.pooled(split, layer, pooling)
            if dtype == "float16" and np.isinf(out[:, i, j]).any():
                raise ProbeError(
                    f"Features of layer {layer} ({pooling}) exceed the range of float16 (65,504). Ask for float32."
                )
    return out


def _labelled(measurements: Measurements, split: str, layers: list[int], array: np.ndarray) -> xr.Dataset:
    """The dataset around the array."""
    prepared, images = measurements.prepared, measurements.images(split)
    rows, card = len(array), prepared.checkpoint.card
    ds = xr.Dataset(
        {
            "features": (
                ("image", "layer", "pooling", "width"),
                array,
                {"long_name": "Pooled features", "units": "1", "precision": prepared.settings.precision},
            ),
            "path": ("image", _paths(images, rows), {"long_name": "What the image set calls the image"}),
        },
        coords={"layer": layers, "pooling": np.array(measurements.poolings, dtype=object)},
    )
    if images.labels is not None:
        attrs = {"long_name": "Class of the image", "classes": json.dumps(list(images.classes))}
        ds["label"] = ("image", np.asarray(images.labels[:rows]), attrs)
    for dim in ("layer", "pooling"):
        ds[dim].attrs["long_name"] = schema.DIMS[dim]
    ds.attrs = {
        "checkpoint": prepared.checkpoint.name,
        "sha256": card.sha256,
        "data": images.spec,
        "split": split,
        "images": images.fingerprint,
        "preparation": json.dumps(prepared.settings.preparation.asked, sort_keys=True),
        "provenance": schema.stamp(source=str(prepared.checkpoint.source), forwards=measurements.forwards),
    }
    return ds


def _paths(images: ImageSet, rows: int) -> np.ndarray:
    return np.array([images.image_name(index) for index in range(rows)], dtype=object)
