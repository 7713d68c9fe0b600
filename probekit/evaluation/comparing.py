"""The two public functions and what they share: opening checkpoints, agreeing on masks, and putting tiles together."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from probekit import schema
from probekit.collect import Counts, PassSettings, Splits
from probekit.collect.pass_settings import PICTURE_SIDE
from probekit.data import SHIPPED
from probekit.errors import ProbeError, ProbekitError, ResultsError
from probekit.evaluation import arguments, suites
from probekit.evaluation.single import Evaluation, folders, make_evaluation
from probekit.results import lining_up

if TYPE_CHECKING:
    from probekit.models import Checkpoint


def evaluate(
    ckpt: Any,
    suite: str | Sequence[str] = "high_level",
    data: Any = None,
    *,
    batch_size: int = 64,
    device: str = "auto",
    precision: str = "float32",
    workers: int = 0,
    cache: bool = True,
    seed: int = 0,
    counts: Counts | Mapping[str, int] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> xr.Dataset:
    """Measure one checkpoint.

    Args:
        ckpt: a `Checkpoint`, or anything that `probekit.load` takes.
        suite: a suite ("high_level", "low_level", "attention", "latents", "label_free", "paper", "all"), a probe's
            name, or a list of probe names.
        data: an image set's spec, `ImageSet`, pair of arrays, torch `Dataset`, dict split -> ImageSet, or a list of
            those; None for the sets that the suite needs, all of which ship; "own" for those of them that fit what the
            checkpoint was trained on.
        batch_size: images per forward; like `device` and `workers` it does not change results.
        device: "cpu", "cuda", ...; "auto" takes a GPU where there is one, and leaves a `Checkpoint` where it is.
        precision: "float32", or "bfloat16" / "float16" for autocast.
        workers: processes that decode images.
        cache: keep measurements and results, and use those that are kept.
        seed: of evaluation masks, partners, views, fits and intervals.
        counts: how many images to use, e.g. `{"train": 500, "test": 200}`; None for the suite's own.
        options: probe name -> its options, e.g. `{"linear_probe": {"preset": "mae-lars-90"}}`.

    Returns:
        A dataset as `probekit.schema` describes, dims checkpoint = 1 and data. What a checkpoint or an image set cannot
        give is named with its reason in the attribute `not_applicable`.

    Raises:
        ProbeError: an unknown suite, probe or option; features that are not finite; a probe asked for by name that
            cannot run. What was computed until then is in the cache, and in the error's `results`.
    """
    return compare(
        [ckpt], suite, data, batch_size=batch_size, device=device, precision=precision, workers=workers, cache=cache,
        seed=seed, counts=counts, options=options,
    )  # fmt: skip


def compare(
    ckpts: Sequence[Any],
    suite: str | Sequence[str] = "high_level",
    data: Any = None,
    *,
    names: Sequence[str] | None = None,
    mixed: bool = False,
    batch_size: int = 64,
    device: str = "auto",
    precision: str = "float32",
    workers: int = 0,
    cache: bool = True,
    seed: int = 0,
    counts: Counts | Mapping[str, int] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> xr.Dataset:
    """Measure several checkpoints on the same images and line them up.

    Args:
        ckpts: checkpoints or what `probekit.load` takes; a results dataset, or the path of a `.nc` file, is taken as
            measured. Datasets with different results of one checkpoint are put together.
        names: labels along `checkpoint` of those that are measured now (results have theirs), as many as they are; None
            for their own, made distinct.
        mixed: line up numbers of different protocols too, marked in the attribute `mixed_protocols`.

    Other arguments, and errors: as in `evaluate`. Shorter checkpoints have NaN in layers that they lack;
        `relative_depth`
    is a coordinate. Evaluation masks hide the same part of the image for every checkpoint.

    Raises:
        ResultsError: datasets of different protocols, and not `mixed`; one name for different checkpoints.
    """
    if isinstance(ckpts, str | Path) or not isinstance(ckpts, Sequence):
        raise ProbeError("compare takes a list of checkpoints; for a single one call evaluate.")
    if not ckpts:
        raise ProbeError("compare was given no checkpoint.")
    device = str(device)
    suite = suite if isinstance(suite, str) or not isinstance(suite, Iterable) else list(suite)
    own = isinstance(data, str) and data == "own"
    if isinstance(data, list | tuple) and any(isinstance(one, str) and one == "own" for one in data):
        raise ProbeError("data='own' goes alone: it takes those of the suite's image sets that fit the checkpoint.")
    chosen = suites.plans(suite, None if own else data, arguments.counts_of(counts))
    asked = arguments.options_of(options, chosen)
    settings = PassSettings(batch_size=batch_size, precision=precision, workers=workers, cache=cache, seed=seed)
    measured = [_measured(one) for one in ckpts]
    opened = [None if there is not None else _opened(one, device) for one, there in zip(ckpts, measured, strict=True)]
    live = _distinct(opened, measured, names)
    settings = _agreed(live, settings)
    work = Comparison(settings, asked)
    if live and not own:
        work.check_names(chosen)
    parts: list[xr.Dataset] = []
    described = suites.describe(suite)
    for checkpoint, there in zip(opened, measured, strict=True):
        if there is not None:
            parts += lining_up.tiles(there)
            work.keep(there)
        elif checkpoint is not None:
            for plan in _fitting(checkpoint, chosen) if own else chosen:
                try:
                    parts.append(work.evaluate(checkpoint, plan))
                except ProbekitError as error:
                    if parts:
                        with suppress(ProbekitError):  # parts that do not line up must not hide what went wrong
                            error.results = work.assembled(parts, mixed, described)
                    raise
    return work.finish(parts, mixed, described)


KEPT_SETS = 6
"""Splits that ship and stay open: they are made of nothing but their spec, so they cannot go stale."""

_shipped: dict[Any, Splits] = {}


class Comparison:
    """One call: opened image sets, and what is known so far."""

    def __init__(self, settings: PassSettings, options: Mapping[str, Mapping[str, Any]]) -> None:
        self.settings, self.options = settings, options
        self.reasons: dict[str, dict[str, str]] = {}
        self.records: list[dict[str, Any]] = []
        self.failures: list[ProbeError] = []
        self._sets: dict[Any, Splits] = {}

    def sets(self, plan: suites.Plan) -> Splits:
        """The plan's image sets, opened once; those that ship stay open for the next call too."""
        more = tuple(self.options.get("robustness", {}).get("shifts") or ())
        conflict = self.options.get("shape_bias", {}).get("conflict")
        ships = isinstance(plan.data, str) and plan.data.partition("?")[0] in SHIPPED and not more and not conflict
        kept = _shipped if ships else self._sets
        key = (plan.data if isinstance(plan.data, str) else id(plan.data), plan.counts, more, conflict)
        if key not in kept:
            kept[key] = Splits(plan.data, plan.counts, shifts=more, conflict=conflict)
            while len(_shipped) > KEPT_SETS:
                _shipped.pop(next(iter(_shipped)))
        return kept[key]

    def check_names(self, plans: Sequence[suites.Plan]) -> None:
        """A `ProbeError` if two image sets have one name: results are labelled by it."""
        specs: dict[str, str] = {}
        for plan in plans if len(plans) > 1 else ():
            name, spec = self.sets(plan).name, self.sets(plan).any.spec
            if specs.get(name) == spec and isinstance(plan.data, str):
                raise ProbeError(f"The image set {spec} is given twice.")
            if name in specs:
                raise ProbeError(
                    f"Two of the image sets are called {name!r} ({specs[name]} and {spec}); results are labelled so. "
                    "Measure them one by one, or give one of them as a dict of its splits, each opened with "
                    "probekit.data.load and its .name set."
                )
            specs[name] = spec

    def evaluate(self, checkpoint: Checkpoint, plan: suites.Plan) -> xr.Dataset:
        """The tile of one checkpoint and plan."""
        tile = make_evaluation(checkpoint, self.sets(plan), plan.probes, self.settings, self.options, plan.explicit)
        with folders(self.settings.cache) as where:
            found = tile.run(where)
        self.note(tile, checkpoint.name)
        return found

    def note(self, tile: Evaluation, name: str) -> None:
        mine = self.reasons.setdefault(name, {})
        for probe, reason in tile.reasons.items():
            mine[probe] = f"{mine[probe]}; {reason}" if probe in mine else reason
        self.records.append({"checkpoint_name": name, "data_name": tile.sets.name, **tile.provenance()})
        self.failures += tile.failures

    def keep(self, ds: xr.Dataset) -> None:
        """Recording over the record of a dataset that was measured before."""
        for name, reasons in schema.not_applicable(ds).items():
            self.reasons.setdefault(name, {}).update(reasons)
        self.records.append({"from_results": schema.provenance(ds)})

    def assembled(self, parts: Sequence[xr.Dataset], mixed: bool, suite: Mapping[str, Any]) -> xr.Dataset:
        """The whole dataset with its record."""
        ds = lining_up.lined_up(parts, mixed=mixed)
        ds.attrs = {
            "schema_version": schema.SCHEMA_VERSION,
            "not_applicable": json.dumps({name: reasons for name, reasons in self.reasons.items() if reasons}),
            "provenance": schema.stamp(**suite, records=self.records),
        }
        return described(ds)

    def finish(self, parts: Sequence[xr.Dataset], mixed: bool, suite: Mapping[str, Any]) -> xr.Dataset:
        """The whole dataset, checked; or the error of what could not run, with the dataset in its `results`."""
        ds = self.assembled(parts, mixed, suite)
        if self.failures:
            raise _failed(self.failures, ds)
        if not schema.result_names(ds):
            raise ProbeError(f"None of the probes could run: {ds.attrs['not_applicable']}.")
        return schema.validate(ds)


def _failed(failures: Sequence[ProbeError], ds: xr.Dataset) -> ProbeError:
    kept = ", ".join(schema.result_names(ds))
    more = f" ({len(failures) - 1} more probes failed.)" if len(failures) > 1 else ""
    there = (
        f" What was computed ({kept}) is in this error's `results`, and in the cache if one is used." if kept else ""
    )
    error = ProbeError(f"{failures[0]}{more}{there}")
    error.results = ds
    return error


def described(ds: xr.Dataset) -> xr.Dataset:
    """Say along each dimension what a step means, and hold texts as objects: zarr (v3) has a standard for those, not
    for texts of fixed length."""
    texts = {name: array.astype(object) for name, array in ds.variables.items() if array.dtype.kind == "U"}
    ds = ds.assign_coords({name: array for name, array in texts.items() if name in ds.coords})
    ds = ds.assign({name: array for name, array in texts.items() if name not in ds.coords})
    for dim in ds.dims:
        if dim in ds.coords and dim in schema.DIMS and "long_name" not in ds[dim].attrs:
            ds[dim].attrs["long_name"] = schema.DIMS[str(dim)]
    return ds


def _measured(source: Any) -> xr.Dataset | None:
    """The dataset, if `source` is one or a results file."""
    if isinstance(source, xr.Dataset):
        return schema.validate(source)
    if isinstance(source, str | Path) and str(source).rstrip("/").endswith((".nc", ".zarr")):
        return schema.read(source)
    return None


def _opened(source: Any, device: str) -> Checkpoint:
    from probekit import models

    if isinstance(source, models.Checkpoint):
        return _on_device(source, device)
    checkpoint: Checkpoint = models.load(source, device=_available(device))
    return checkpoint


def _on_device(checkpoint: Checkpoint, device: str) -> Checkpoint:
    """The checkpoint itself where it lies already or "auto" is asked for; else a copy of it on the device."""
    here = next(checkpoint.model.parameters()).device
    if device == "auto" or _available(device) in (str(here), here.type):
        return checkpoint
    return replace(checkpoint, model=copy.deepcopy(checkpoint.model).to(device))


def _available(device: str) -> str:
    """The device, if this machine has it.

    Raises:
        ProbeError: it has not, or there is no such device.
    """
    import torch

    try:
        if device != "auto":
            torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        have = ["cpu", *(["cuda"] if torch.cuda.is_available() else []), *(["mps"] if torch.mps.is_available() else [])]
        reason = str(error).splitlines()[0]
        raise ProbeError(
            f"device={device!r} cannot be used here ({reason}). This machine has: {', '.join(have)}; 'auto' takes the "
            "best of them."
        ) from error
    return device


def _distinct(
    opened: list[Checkpoint | None], measured: Sequence[xr.Dataset | None], names: Sequence[str] | None
) -> list[Checkpoint]:
    """Give every live checkpoint a name of its own, in place; returns the live ones."""
    live = [index for index, one in enumerate(opened) if one is not None]
    if names is not None:
        arguments.check_names(names, len(live))
    used = _named_once([ds for ds in measured if ds is not None])
    for position, index in enumerate(live):
        checkpoint = opened[index]
        assert checkpoint is not None
        base = str(names[position]) if names is not None else checkpoint.name
        name, again = base, 2
        while name in used:
            name, again = f"{base} ({again})", again + 1
        used.add(name)
        card = copy.copy(checkpoint.card)  # keeps what was computed on it, such as the sha256
        card.name = name
        opened[index] = replace(checkpoint, card=card)
    return [one for one in opened if one is not None]


def _named_once(measured: Sequence[xr.Dataset]) -> set[str]:
    """The checkpoints of datasets; one may be in several of them, if it is known to be the same.

    Raises:
        ResultsError: one name for different checkpoints.
    """
    digests: dict[str, list[str]] = {}
    for ds in measured:
        known = ds["sha256"].values if "sha256" in ds.coords else [""] * ds.sizes["checkpoint"]
        for name, digest in zip(ds.checkpoint.values, known, strict=True):
            digests.setdefault(str(name), []).append(str(digest))
    for name, found in digests.items():
        if len(found) > 1 and ("" in found or len(set(found)) > 1):
            raise ResultsError(
                f"More than one of the datasets has a checkpoint named {name!r}, and they are not known to be the same "
                f"(sha256 {', '.join(digest[:12] or 'unknown' for digest in found)}): rename it in one of them, for "
                "instance ds.assign_coords(checkpoint=[...])."
            )
    return set(digests)


def _agreed(live: Sequence[Checkpoint], settings: PassSettings) -> PassSettings:
    """Masks on the finest grid that fits all ViT patches, and pictures of one size."""
    if not live:
        return settings
    sizes = [(one.preprocess.height, one.preprocess.width) for one in live]
    grids = [one.model.grid(*size) for one, size in zip(live, sizes, strict=True)]
    grid = math.gcd(*(grid[0] for grid in grids)), math.gcd(*(grid[1] for grid in grids))
    side = min(PICTURE_SIDE, *(max(size) for size in sizes))
    return replace(settings, mask_grid=grid, picture_side=side)


def _fitting(checkpoint: Checkpoint, chosen: Sequence[suites.Plan]) -> list[suites.Plan]:
    """Of the plans, those that fit what the checkpoint was trained on; all of them if that is unknown."""
    wanted = suites.own(checkpoint.card.data)
    fitting = [plan for plan in chosen if wanted is None or plan.data in wanted]
    if wanted is None or not fitting:
        return list(chosen)
    return [replace(plan, data=wanted[plan.data]) for plan in fitting]
