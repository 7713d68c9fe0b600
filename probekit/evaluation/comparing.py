"""The two public functions that measure: `evaluate` and `compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import xarray as xr

from probekit.collect import Counts, PassSettings
from probekit.collect.pass_settings import PICTURE_SIDE
from probekit.evaluation import arguments, executors, opening, suites
from probekit.evaluation.comparison import Comparison
from probekit.evaluation.executors import Executor
from probekit.evaluation.inheriting import Inherited, inherited, joined
from probekit.evaluation.tasks import Costing, Measuring


def evaluate(
    ckpt: Any,
    suite: str | Sequence[str] = "high_level",
    data: Any = None,
    *,
    coords: Mapping[str, Any] | None = None,
    image_size: int | tuple[int, int] | None = None,
    crop_fraction: float | None = None,
    interpolation: str | None = None,
    layers: Sequence[int] | None = None,
    poolings: Sequence[str] | None = None,
    sampling: str = "proportional",
    batch_size: int = 64,
    device: str = "auto",
    precision: str = "float32",
    features_dtype: str = "float32",
    memory: float = 1.0,
    workers: int = 0,
    cache: bool = True,
    seed: int = 0,
    counts: Counts | Mapping[str, int] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    dry_run: bool = False,
) -> xr.Dataset:
    """Measure one checkpoint.

    Args:
        ckpt: a `Checkpoint`, or anything that `probekit.load` takes.
        suite: a suite ("high_level", "low_level", "attention", "latents", "label_free", "paper", "all"), a probe's
            name, or a list of probe names.
        data: an image set's spec, `ImageSet`, pair of arrays, torch `Dataset`, dict split -> any of those, or a list of
            those; None for the sets that the suite needs, all of which ship; "own" for those of them that fit what the
            checkpoint was trained on (those left out are named in `not_applicable`).
        coords: own coordinates along `checkpoint`, name -> value, e.g. `{"loss": 0.31, "recipe": "long"}`.
        image_size: (height, width) of the images in pixels, or the side of a square; None as the checkpoint's card
            says. Like the two below it is recorded in the protocol.
        crop_fraction: share of the resized shorter side that the centre crop keeps, in (0, 1].
        interpolation: "bicubic", "bilinear", "nearest", "lanczos", "box" or "none".
        layers: which layers to fit and keep, 0 = embedding, negative ones counted from the last; None = all.
        poolings: which poolings to fit and keep, of "cls", "mean", "native"; None = all that the checkpoint has.
        sampling: where fewer images are used than there are, "proportional" draws them in the classes' own proportions,
            "balanced" as many of each class. Recorded in the protocol.
        batch_size: images per forward, in proportion fewer above 224 x 224 pixels; like `device` and `workers` it does
            not change results.
        device: "cpu", "cuda", ...; "auto" takes a GPU where there is one, and leaves a `Checkpoint` where it is.
        precision: "float32", or "bfloat16" / "float16" for autocast.
        features_dtype: "float32", or "float16" to store pooled features in half the bytes, rounded to 11 bits. Recorded
            in the protocol.
        memory: GiB of features that a fit may hold at a time. Larger sets of training images are read from disk in
            chunks instead; numbers are the same but for rounding.
        workers: processes that decode images.
        cache: keep measurements and results, and use those that are kept.
        seed: of evaluation masks, partners, views, fits and intervals.
        counts: how many images to use, e.g. `{"train": 500, "test": 200}`; None for the suite's own. The names are the
            fields of `probekit.collect.Counts`; together they bound all work.
        options: probe name -> its options, e.g. `{"linear_probe": {"preset": "mae-lars-90"}}`.
        dry_run: measure nothing but one batch; return what would be done.

    Returns:
        A dataset as `probekit.schema` describes, dims checkpoint = 1 and data. What a checkpoint or an image set cannot
        give is named with its reason in the attribute `not_applicable`. With `dry_run` a table instead, with one row a
        pass: `images`, `forwards`, `missing_forwards` (not in the cache), `bytes` (of features and tokens) and
        `seconds` (estimated) along `pass`, with coordinates `checkpoint`, `data` and `stage`.

    Raises:
        ProbeError: an unknown suite, probe or option; features that are not finite; a probe asked for by name that
            cannot run. What was computed until then is in the cache, and in the error's `results`.

    Example:
        >>> ds = probekit.evaluate("shipped:quadtree-r0.75-p4-s0", "knn", counts={"train": 200, "test": 100})
        >>> float(ds["knn_accuracy"].isel(checkpoint=0, data=0, layer=-1, pooling=0, k=0))
    """
    suites.as_list(suite)
    PassSettings(precision=precision, seed=seed)  # None, which `compare` takes as "those of the results", is an error
    return compare(
        [ckpt], suite, data, coords=arguments.coords_of_one(coords), image_size=image_size, crop_fraction=crop_fraction,
        interpolation=interpolation, layers=layers, poolings=poolings, sampling=sampling,
        batch_size=batch_size, device=device,
        precision=precision, features_dtype=features_dtype, memory=memory, workers=workers, cache=cache, seed=seed,
        counts=counts, options=options, dry_run=dry_run,
    )  # fmt: skip


def compare(
    ckpts: Sequence[Any],
    suite: str | Sequence[str] | None = None,
    data: Any = None,
    *,
    names: Sequence[str] | None = None,
    coords: Mapping[str, Sequence[Any]] | None = None,
    mixed: bool = False,
    executor: str | Executor | None = None,
    keep_going: bool | None = None,
    shards: int = 1,
    image_size: int | tuple[int, int] | None = None,
    crop_fraction: float | None = None,
    interpolation: str | None = None,
    layers: Sequence[int] | None = None,
    poolings: Sequence[str] | None = None,
    sampling: str = "proportional",
    batch_size: int = 64,
    device: str = "auto",
    precision: str | None = None,
    features_dtype: str | None = None,
    memory: float = 1.0,
    workers: int = 0,
    cache: bool = True,
    seed: int | None = None,
    counts: Counts | Mapping[str, int] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    dry_run: bool = False,
) -> xr.Dataset:
    """Measure several checkpoints on the same images and line them up.

    Checkpoints are opened one at a time: first all for what must agree between them, then each to be measured. Shorter
    checkpoints have NaN in layers that they lack; `relative_depth` is a coordinate. Evaluation masks hide the same part
    of the image for every checkpoint. Arguments that are not below are as in `evaluate`.

    Args:
        ckpts: checkpoints or what `probekit.load` takes; a results dataset, or the path of a `.nc` file, is taken as
            measured. Datasets with different results of one checkpoint are put together.
        suite, data, counts, seed, precision, features_dtype, options: as in `evaluate`; None = those of the results
            among the checkpoints, or else the defaults of `evaluate`.
        names: labels along `checkpoint` of those that are measured now (results have theirs), as many as they are; None
            for their own, made distinct.
        coords: own coordinates along `checkpoint`, name -> a value for each checkpoint that is measured now.
        mixed: line up numbers of different protocols too, marked in the attribute `mixed_protocols`.
        executor: where to measure; None for this process. "local:N" (processes of this machine), "dask:ADDRESS",
            "slurm[:PARTITION]", or any object with `submit(function, *args) -> future`. One task is one checkpoint,
            opened where it runs. They share the cache folder, so what a lost worker measured is not measured again.
        shards: how many workers of the executor divide the images of one checkpoint between them, in pieces of 10,000
            that land in the cache; the fits are made once, by one worker.
        keep_going: measure the others if a checkpoint fails, and raise at the end; None = with an executor.

    Returns:
        As `evaluate`, dims checkpoint and data.

    Raises:
        ResultsError: datasets of different protocols, and not `mixed`; one name for different checkpoints.
        ProbekitError: as in `evaluate`. What was measured is in the error's `results`, and in the cache; the message
            names every checkpoint that failed.

    Example:
        >>> ds = probekit.compare(["a.pth", "b.pth"], "knn", "imagefolder:/data/val", coords={"loss": [.3, .4]})
        >>> ds = probekit.compare(paths, "paper", executor="local:4")
    """
    arguments.check_sources(ckpts)
    found = [opening.measured(one) for one in ckpts]
    live = [one for one, there in zip(ckpts, found, strict=True) if there is None]
    datasets = [ds for ds in found if ds is not None]
    given = {name for name, value in (("suite", suite), ("seed", seed)) if value is not None}
    file = inherited(datasets if live else [], given)
    suite = suites.as_list(file.suite or "high_level" if suite is None else suite)
    own = arguments.is_own(data) or (data is None and file.own)
    chosen = file.plans(suite, None if own else data, arguments.counts_of(counts))
    comparison = Comparison(
        chosen,
        own=own,
        options=arguments.options_of(file.options_of(chosen) if options is None else options, chosen),
        settings=_settings(
            file, precision, features_dtype, seed, memory=memory, batch_size=batch_size, workers=workers, cache=cache,
            preparation=arguments.preparation_of(image_size, crop_fraction, interpolation),
            layers=arguments.layers_of(layers), poolings=arguments.poolings_of(poolings),
        ),
        device=str(device),
        sampling=arguments.sampling_of(sampling),
        keep_going=executor is not None if keep_going is None else keep_going,
        shards=arguments.shards_of(shards, executor is not None, cache),
    )  # fmt: skip
    if names is not None:
        arguments.check_names(names, len(live))
    own_coords = arguments.coords_of(coords, len(live))
    with executors.opened(executor) if executor is not None else nullcontext() as engine:
        comparison.measure(live, datasets, engine, names, own_coords, Costing if dry_run else Measuring)
    if dry_run:
        return comparison.costs()
    return comparison.finish(found, mixed, _told(suite, own, [] if live or "suite" in given else datasets))


def _told(suite: str | Sequence[str], own: bool, alone: Sequence[xr.Dataset]) -> dict[str, Any]:
    """For the record: what was asked for, or what results that were put together alone agree on."""
    return joined(alone) if alone else suites.describe(suite) | ({"data": "own"} if own else {})


def _settings(
    file: Inherited, precision: str | None, features_dtype: str | None, seed: int | None, **others: Any
) -> PassSettings:
    """How images are measured: as asked for, else as the results among the checkpoints were, else the defaults."""
    return PassSettings(
        precision=precision or file.precision or "float32",
        features_dtype=features_dtype or file.features_dtype or "float32",
        seed=file.seed or 0 if seed is None else seed,
        mask_grid=file.mask_grid,
        picture_side=file.picture_side or PICTURE_SIDE,
        **others,
    )
