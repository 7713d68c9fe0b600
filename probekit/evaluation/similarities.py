"""How alike the layers of checkpoints are, from the features of the same test images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from probekit import schema
from probekit.checks import several, whole
from probekit.collect import Counts, Measurements, PassSettings, PreparedModel, Splits, Store
from probekit.errors import ProbeError, did_you_mean
from probekit.evaluation import opening
from probekit.evaluation.labelling import labelled
from probekit.evaluation.single import Evaluation, fitting_threads, folders
from probekit.measures import resample
from probekit.measures.similarity import METRICS, NEIGHBOURS, PERMUTATIONS, Similarity
from probekit.measures.similarity import similarity as measured
from probekit.results.lining_up import lined_up
from probekit.schema import Variable

_PROTOCOL = (
    "pooled features of the same test images; (s - s0) / (1 - s0), where s0 is the mean of the metric over "
    f"{PERMUTATIONS} pairings of the images at random. cka: debiased; mutual_knn: k = {NEIGHBOURS}, cosine; "
    "procrustes: nuclear norm of X'Y, centred and scaled; rsa: Spearman's correlation of 1 - Pearson's correlation. A "
    "layer is compared with the other checkpoint's layer of the same relative depth"
)
_REFERENCE = "Murphy et al. 2024; Huh et al. 2024; Williams et al. 2021; Kriegeskorte et al. 2008; arXiv 2602.14486"
_OVER = "delete-a-block jackknife over test images, or the spread of the permutation null where that is wider"
_FIXED = "what random pairings give, for reading the similarity"

SIMILARITY = Variable(
    "similarity", ("other", "metric", "layer"), "Similarity to another checkpoint", "1", "none", _PROTOCOL, _REFERENCE,
    interval=_OVER, version=2,
)  # fmt: skip
RAW = Variable(
    "similarity_raw", ("other", "metric", "layer"), "Similarity before the null is taken off", "1", "none",
    _PROTOCOL + "; s itself", _REFERENCE, no_interval="the interval is given for the similarity",
)  # fmt: skip
NULL = Variable(
    "similarity_null", ("other", "metric", "layer"), "Similarity of images paired at random", "1", "none",
    _PROTOCOL + "; s0", _REFERENCE, no_interval=_FIXED, version=2,
)  # fmt: skip
EVERY = Variable(
    "layer_similarity", ("other", "metric", "layer", "layer_other"), "Similarity of every layer to every layer", "1",
    "none", _PROTOCOL.rpartition(". ")[0] + ". Every layer with every layer of the other checkpoint", _REFERENCE,
    interval=_OVER, version=2,
)  # fmt: skip


@dataclass
class _Held:
    """What is kept of a checkpoint after its model is closed: the store of its features, and its facts."""

    name: str
    layers: list[int]
    store: Store
    place: int
    base: xr.Dataset
    record: dict[str, Any]
    order: np.ndarray

    def features(self, layer: int) -> np.ndarray:
        """(images, width) of one layer, read when it is asked for; images in the order of their pixels' digests."""
        return np.asarray(self.store["pooled"].layer(layer)[self.order, self.place])


def similarity(
    checkpoints: Sequence[Any],
    data: Any,
    *,
    metrics: Sequence[str] = METRICS,
    pooling: str = "mean",
    every_layer: bool = False,
    images: int = 300,
    names: Sequence[str] | None = None,
    seed: int = 0,
    batch_size: int = 64,
    device: str = "auto",
    precision: str = "float32",
    workers: int = 0,
    cache: bool = True,
) -> xr.Dataset:
    """How alike checkpoints represent the same images, layer by layer.

    One model is open at a time, and two layers' features are in memory at a time.

    Args:
        checkpoints: two or more, each a `Checkpoint`, an `Encoder`, or anything that `probekit.load` takes.
        data: one image set, as in `evaluate`; its test images are used.
        metrics: of "cka", "mutual_knn", "procrustes", "rsa".
        pooling: "mean" (which all have), "cls" or "native".
        every_layer: also compare every layer with every layer (`layer_similarity`); for two checkpoints.
        images: how many test images; the work grows with their cube.
        names: of the checkpoints, instead of their own.
        seed: of the random pairings and of the jackknife's blocks.
        batch_size, device, precision, workers, cache: as in `evaluate`.

    Returns:
        A results dataset: `similarity` (checkpoint, data, other, metric, layer) with `similarity_ci`; beside it
        `similarity_raw`, `similarity_null`, and the coordinate `layer_matched`: which layer of the other one was used.
        0 means no more alike than images paired at random, 1 the same up to what the metric ignores.

    Raises:
        ProbeError: fewer than two checkpoints, an unknown metric, or a pooling that a checkpoint does not have.

    Example:
        >>> ds = probekit.similarity(["mae.pth", "timm:vit_base_patch16_224.dino"], "photos")
        >>> ds.similarity.sel(metric="cka", checkpoint="mae").squeeze()
    """
    metrics, names = _check(checkpoints, metrics, names, every_layer)
    images = whole("images", images, least=20, error=ProbeError)
    settings = PassSettings(batch_size=batch_size, precision=precision, workers=workers, cache=cache, seed=seed)
    sets = Splits(data, Counts(test=images))
    with folders(cache) as where:
        held = [_measured(one, sets, settings, device, where.measurements, pooling) for one in checkpoints]
        for one, name in zip(held, opening.distinct(names or [one.name for one in held], []), strict=True):
            one.name, one.base = name, one.base.assign_coords(checkpoint=[name])
        rows, groups = sets.size("test"), sets["test"].groups
        groups = None if groups is None else np.asarray(groups[:rows])[held[0].order]
        blocks = resample.blocks(rows, groups=groups, order=np.arange(rows), seed=seed)
        parts = [_compared(one, held, tuple(metrics), every_layer, blocks, seed) for one in held]
    ds = lined_up(parts)
    ds.attrs = {
        "schema_version": schema.SCHEMA_VERSION,
        "not_applicable": json.dumps({}),
        "provenance": schema.stamp(records=[one.record for one in held], images=rows, pooling=pooling, seed=seed),
    }
    return schema.validate(ds)


def _check(
    checkpoints: Sequence[Any], metrics: Sequence[str], names: Sequence[str] | None, every_layer: bool
) -> tuple[list[str], list[str] | None]:
    """Metrics and names, where the arguments fit each other."""
    if not isinstance(checkpoints, str):
        checkpoints = several("checkpoints", checkpoints, "two or more checkpoints", error=ProbeError)
    if isinstance(checkpoints, str) or len(checkpoints) < 2 or (every_layer and len(checkpoints) != 2):
        wanted = "two" if every_layer else "two or more"
        given = 1 if isinstance(checkpoints, str) else len(checkpoints)
        raise ProbeError(f"similarity compares {wanted} checkpoints{' layer by layer' * every_layer}, got {given}.")
    metrics = several("metrics", metrics, f"some of {', '.join(METRICS)}", error=ProbeError)
    for metric in metrics:
        if metric not in METRICS:
            raise ProbeError(f"No similarity is called {metric!r}. {did_you_mean(metric, METRICS)}")
    named = None if names is None else several("names", names, "texts, one for each checkpoint", error=ProbeError)
    if named is not None and (len(named) != len(checkpoints) or not all(isinstance(name, str) for name in named)):
        raise ProbeError(f"names={named}: expected {len(checkpoints)} texts, one for each checkpoint.")
    return metrics, named


def _measured(source: Any, sets: Splits, settings: PassSettings, device: str, root: Any, pooling: str) -> _Held:
    """Store the features of one checkpoint; its model is closed afterwards."""
    checkpoint = opening.open_checkpoint(source, device)
    prepared = PreparedModel(checkpoint, settings)
    if pooling not in prepared.poolings:
        raise ProbeError(
            f"{checkpoint.name} has no pooling {pooling!r}. {did_you_mean(pooling, prepared.poolings)} All have 'mean'."
        )
    measurements = Measurements(prepared, sets, root)
    with fitting_threads(prepared):
        measurements.gather(["features:test"])
    evaluation = Evaluation(prepared, sets, {}, explicit=False)
    evaluation.forwards = measurements.forwards
    base = labelled(evaluation.prepared, evaluation.sets, {}, {}).drop_vars(["label", "group"], errors="ignore")
    store, place = measurements.store("features:test"), prepared.poolings.index(pooling)
    order = np.argsort(measurements.order(sets.size("test")))  # draws do not depend on the images' order
    return _Held(checkpoint.name, measurements.layers, store, place, base, evaluation.provenance(), order)


def _compared(
    one: _Held, held: Sequence[_Held], metrics: tuple[str, ...], every_layer: bool, blocks: Any, seed: int
) -> xr.Dataset:
    """The dataset of one checkpoint against all others; NaN against itself."""
    layers, names = one.layers, [other.name for other in held]
    shape = (len(held), len(metrics), len(layers))
    value, raw, null = (np.full(shape, np.nan) for _ in range(3))
    ends = np.full((*shape, 2), np.nan)
    matched = np.full((len(held), len(layers)), -1)
    square: dict[tuple[int, int, int, int], Similarity] = {}
    for o, other in enumerate(held):
        if other is one:
            continue
        for i, layer in enumerate(layers):
            ours = one.features(layer)
            partner = other.layers[round(i / max(1, len(layers) - 1) * (len(other.layers) - 1))]
            matched[o, i] = partner
            for theirs_layer in other.layers if every_layer else [partner]:
                theirs = other.features(theirs_layer)
                for k, metric in enumerate(metrics):
                    found = measured(ours, theirs, metric, blocks, seed=seed)
                    square[o, k, i, other.layers.index(theirs_layer)] = found
                    if theirs_layer == partner:
                        value[o, k, i], ends[o, k, i] = found.value, found.interval
                        raw[o, k, i], null[o, k, i] = found.raw, found.null
    coords = {"other": names, "metric": list(metrics), "layer": layers}
    arrays = SIMILARITY.arrays(value, ends, coords=coords)
    arrays |= RAW.arrays(raw, coords=coords) | NULL.arrays(null, coords=coords)
    if every_layer:
        arrays |= _every(square, coords, max((other.layers for other in held), key=len))
    lead = {"checkpoint": [one.name], "data": one.base["data"].values}
    ds = xr.Dataset({name: array.expand_dims(lead) for name, array in arrays.items()}).merge(one.base)
    about = {"long_name": "Layer of the other checkpoint, of the same relative depth"}
    return ds.assign_coords(layer_matched=(("checkpoint", "other", "layer"), matched[None], about))


def _every(square: dict[Any, Similarity], coords: dict[str, Any], others: list[int]) -> dict[str, xr.DataArray]:
    """`layer_similarity` and its interval; NaN where the other has no such layer."""
    shape = (*(len(labels) for labels in coords.values()), len(others))
    value, ends = np.full(shape, np.nan), np.full((*shape, 2), np.nan)
    for (o, k, i, j), found in square.items():
        value[o, k, i, j], ends[o, k, i, j] = found.value, found.interval
    return EVERY.arrays(value, ends, coords={**coords, "layer_other": others})


__all__ = ["METRICS", "similarity"]
