"""Many checkpoints: opened one at a time, measured here or elsewhere, lined up in one dataset."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from itertools import chain, product
from typing import Any

import xarray as xr

from probekit import cache, progress, schema
from probekit.collect import PassSettings
from probekit.errors import ProbeError, ProbekitError
from probekit.evaluation import costs, executors, opening, suites
from probekit.evaluation.executors import Executor, Lost
from probekit.evaluation.opening import Outline
from probekit.evaluation.suite_versions import Plan
from probekit.evaluation.tasks import Filling, ImageSets, Measuring, Outcome, Outlining, Reading, Task
from probekit.results import lining_up


@dataclass
class Comparison:
    """One call: what is asked, and what is known so far, by the position of a checkpoint among those measured."""

    plans: Sequence[Plan]
    own: bool
    options: Mapping[str, Mapping[str, Any]]
    settings: PassSettings
    device: str
    sampling: str
    keep_going: bool
    shards: int = 1
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    stopped: Exception | None = None
    failed: dict[str, str] = field(default_factory=dict)
    filled: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sets = ImageSets(self.options, self.sampling)

    # --- measuring --------------------------------------------------------------------------------------------------

    def measure(
        self,
        live: Sequence[Any],
        datasets: Sequence[xr.Dataset],
        engine: Executor | None,
        names: Sequence[str] | None,
        coords: Mapping[str, Sequence[Any]],
        kind: type[Measuring],
    ) -> None:
        """Outline all checkpoints, then measure each on all its image sets; errors are kept in `stopped`, `failed`."""
        if live and not self.own:
            self.check_names()
        sources = dict(enumerate(live))
        if engine is None and len(live) == 1:  # it is measured next: it stays open
            sources[0] = self.kept_open(live[0])
        near = engine is not None and self.settings.cache and cache.holds("results") and all(map(_ships, live))
        outlines = self.outlines(sources, None if near else engine)
        order = sorted(outlines)
        labels = [outlines[place].name if names is None else str(names[place]) for place in order]
        settings = opening.agreed([outlines[place] for place in order], self.settings)
        plans = {
            place: suites.fitting(self.plans, outlines[place].trained_on) if self.own else self.plans for place in order
        }
        tasks: dict[int, Measuring] = {
            place: kind(
                sources[place], label, plans[place], settings, self.options, self.device, self.sampling, self.sets,
            )
            for place, label in zip(order, opening.distinct(labels, datasets), strict=True)
        }  # fmt: skip
        stored = self.stored(tasks) if near and kind is Measuring else {}
        left = leaders_first({place: task for place, task in tasks.items() if place not in stored})
        if self.shards > 1 and engine is not None and kind is Measuring:
            self.fill(left, engine)
        for place, outcome in chain(stored.items(), self.ended(left, engine, "checkpoints")):
            own_coords = {name: ("checkpoint", [values[place]]) for name, values in coords.items()}
            if kind is Measuring:
                outcome.found = [part.assign_coords(own_coords) for part in outcome.found or ()]
                outcome.reasons |= self.left_out(outlines[place], tasks[place].plans) if self.own else {}
            self.outcomes[place] = outcome

    def fill(self, tasks: Mapping[int, Task], engine: Executor) -> None:
        """Let several workers share the shards of each checkpoint; failures are reported later, when it is measured."""
        calls = [Filling(**task.__dict__) for task in tasks.values() for _ in range(self.shards)]
        with progress.bar("shards", len(calls), "workers") as advance:
            for number, outcome in executors.results(engine, calls):
                found = [] if isinstance(outcome, Lost) else outcome.found or []
                made = self.filled.setdefault(calls[number].label, [])
                made.append(sum(forwards for _, forwards in found))
                advance(1, calls[number].label)

    def stored(self, tasks: Mapping[int, Measuring]) -> dict[int, Outcome]:
        """What lies in the cache, up to the first checkpoint of which something is missing: workers, whose start takes
        seconds, are for what must be measured."""
        found: dict[int, Outcome] = {}
        with progress.bar("results in the cache", len(tasks), "checkpoints") as advance:
            for place, task in tasks.items():
                outcome = Reading(**task.__dict__)(0)
                if outcome.error is not None or outcome.found is None:
                    break
                _warn_again(outcome)
                found[place] = outcome
                advance(1, task.label)
        return found

    def kept_open(self, source: Any) -> Any:
        """A checkpoint opened on its device; the source itself if that fails, to fail again where it is handled."""
        with suppress(ProbekitError):
            return opening.open_checkpoint(source, self.device)
        return source

    def outlines(self, sources: Mapping[int, Any], engine: Executor | None) -> dict[int, Outline]:
        """Outlines of the checkpoints that can be opened."""
        tasks: dict[int, Task] = {
            place: Outlining(source, _label(source), self.settings.preparation) for place, source in sources.items()
        }
        return {
            place: outcome.found
            for place, outcome in self.ended(tasks, engine, "checkpoints opened")
            if outcome.found is not None
        }

    def left_out(self, outline: Outline, taken: Sequence[Plan]) -> dict[str, str]:
        """The suite's image sets that do not fit the checkpoint's training data, each with the reason."""
        sets = {str(plan.data).partition("?")[0] for plan in taken}
        training = re.split(r", | \(|;", outline.trained_on or "")[0].strip()
        return {
            f"the image set {plan.data}": (
                f'left out by data="own", which takes what fits the training data, here {training}; '
                f'data="{plan.data}" measures it there'
            )
            for plan in self.plans
            if str(plan.data) not in sets
        }

    def ended(self, tasks: Mapping[int, Task], engine: Executor | None, what: str) -> Iterator[tuple[int, Outcome]]:
        """Run tasks, here or there: (place, outcome) as they end. The first error stops, unless `keep_going`."""
        if self.stopped is not None:
            return
        places = list(tasks)
        if engine is None:
            running: Iterator[tuple[int, Outcome | Lost]] = (
                (number, tasks[place].attempted()) for number, place in enumerate(places)
            )
        else:
            calls: list[Callable[[int], Outcome]] = [tasks[place] for place in places]
            running = executors.results(engine, calls)
        with progress.bar(what, len(places), "checkpoints") if engine is not None else nullcontext() as advance:
            for number, outcome in running:
                if isinstance(outcome, Lost):
                    outcome = Outcome(error=ProbekitError(outcome.reason))
                label = tasks[places[number]].label
                _warn_again(outcome)
                yield places[number], outcome
                if advance is not None:
                    advance(1, label)
                if outcome.error is not None:
                    if not self.keep_going:
                        self.stopped = outcome.error
                        return
                    self.failed[tasks[places[number]].title] = str(outcome.error)

    def check_names(self) -> None:
        """A `ProbeError` if two image sets have one name: results are labelled by it."""
        specs: dict[str, str] = {}
        for plan in self.plans if len(self.plans) > 1 else ():
            name, spec = self.sets.of(plan).name, self.sets.of(plan).any.spec
            if specs.get(name) == spec and isinstance(plan.data, str):
                raise ProbeError(f"The image set {spec} is given twice.")
            if name in specs:
                raise ProbeError(
                    f"Two of the image sets are called {name!r} ({specs[name]} and {spec}); results are labelled so. "
                    "Measure them one by one, or give one of them as a dict of its splits, each opened with "
                    "probekit.data.load and its .name set."
                )
            specs[name] = spec

    def costs(self) -> xr.Dataset:
        """The table of what would be measured; the error of a checkpoint that cannot be opened."""
        if self.stopped is not None:
            raise self.stopped
        if self.failed:
            raise ProbekitError(_failed(self.failed, len(self.outcomes) + len(self.failed)))
        return costs.table([row for place in sorted(self.outcomes) for row in self.outcomes[place].found])

    # --- the whole --------------------------------------------------------------------------------------------------

    def finish(self, found: Sequence[xr.Dataset | None], mixed: bool, suite: Mapping[str, Any]) -> xr.Dataset:
        """The whole dataset, checked; or the error of what could not run, with the dataset in its `results`.

        Args:
            found: for each checkpoint in order its dataset, if it was measured before.
            mixed: as in `compare`.
            suite: for the record.
        """
        failures = [one for outcome in self.outcomes.values() for one in outcome.failures]
        if self.stopped is not None:
            with suppress(ProbekitError):  # parts that do not line up must not hide what went wrong
                _give_results(self.stopped, self.assembled(found, mixed, suite))
            raise self.stopped
        if self.failed:
            error = ProbekitError(_failed(self.failed, len(found)))
            with suppress(ProbekitError):
                _give_results(error, self.assembled(found, mixed, suite))
            raise error
        ds = self.assembled(found, mixed, suite)
        if ds is None:
            raise ProbeError(
                "The results that were given hold no number, and nothing else was asked for: there is nothing to line "
                "up. Give results with at least one measured checkpoint, or checkpoints."
            )
        if failures:
            raise _without(failures, ds)
        if not schema.result_names(ds):
            raise ProbeError(f"None of the probes could run: {ds.attrs['not_applicable']}.")
        return schema.validate(ds)

    def assembled(self, found: Sequence[xr.Dataset | None], mixed: bool, suite: Mapping[str, Any]) -> xr.Dataset | None:
        """All results as one dataset, in the order of the checkpoints, with provenance; None if there are none."""
        parts: list[xr.Dataset] = []
        reasons: dict[str, dict[str, str]] = {}
        records: list[dict[str, Any]] = []
        places = iter(range(len(found)))
        for there in found:
            if there is not None:
                parts += lining_up.separated(there)
                for name, known in schema.not_applicable(there).items():
                    reasons.setdefault(name, {}).update(known)
                records.append({"from_results": schema.provenance(there)})
                continue
            outcome = self.outcomes.get(next(places))
            if outcome is not None and outcome.found:
                parts += outcome.found
                reasons.setdefault(str(outcome.found[0].checkpoint.values[0]), {}).update(outcome.reasons)
                records += outcome.records
        if not parts:
            return None
        ds = lining_up.lined_up(parts, mixed=mixed)
        for part in parts:  # a set that one of the files left out may have been measured in another
            for name, data in product(part.checkpoint.values.tolist(), part.data.values.tolist()):
                reasons.get(str(name), {}).pop(f"the image set {data}", None)
        facts = dict(suite) | {
            name: value for name, value in (("failed", self.failed), ("shard_forwards", self.filled)) if value
        }
        ds.attrs = {
            "schema_version": schema.SCHEMA_VERSION,
            "not_applicable": json.dumps({name: why for name, why in reasons.items() if why}),
            "provenance": schema.stamp(**facts, records=records),
        }
        return described(ds)


def _warn_again(outcome: Outcome) -> None:
    """Give the warnings of a task where the user sees them."""
    for category, text in outcome.warnings:
        warnings.warn(text, category, stacklevel=5)


def leaders_first(tasks: Mapping[int, Measuring]) -> dict[int, Measuring]:
    """The first checkpoint of each list of image sets before all others, and long lists before short ones.

    With no more workers than lists, what checkpoints share (their untrained twin, what the originals give) is mostly
    kept when the next one needs it, where two that start together would both make it. And no worker waits at the end
    for one that began its longest task last.
    """
    leaders: dict[tuple[str, ...], int] = {}
    for place, task in tasks.items():
        leaders.setdefault(tuple(str(plan.data) for plan in task.plans), place)
    order = [*leaders.values(), *sorted(tasks, key=lambda place: -len(tasks[place].plans))]
    return {place: tasks[place] for place in dict.fromkeys(order)}


def _ships(source: Any) -> bool:
    """Whether a checkpoint ships with the package: it is small, and lies here as well as where workers are."""
    return isinstance(source, str) and source.startswith("shipped:")


def _label(source: Any) -> str:
    """What to call a source before it is opened."""
    return getattr(source, "name", None) or (source if isinstance(source, str) else type(source).__name__)


def _give_results(error: Exception, ds: xr.Dataset | None) -> None:
    if isinstance(error, ProbekitError):
        error.results = ds


def _failed(failed: Mapping[str, str], count: int) -> str:
    each = "".join(f"\n  {label}: {reason}" for label, reason in failed.items())
    return (
        f"{len(failed)} of {count} checkpoints could not be measured; the others were, and are in this error's "
        f"`results`. Measurements are in the cache, if one is used: the same call goes on from there.{each}"
    )


def _without(failures: Sequence[ProbeError], ds: xr.Dataset) -> ProbeError:
    """The error of probes that were asked for and cannot run, with the dataset of the others."""
    kept = ", ".join(schema.result_names(ds))
    more = f" ({len(failures) - 1} more probes failed.)" if len(failures) > 1 else ""
    there = (
        f" What was computed ({kept}) is in this error's `results`, and in the cache if one is used." if kept else ""
    )
    error = ProbeError(f"{failures[0]}{more}{there}")
    error.results = ds
    return error


def described(ds: xr.Dataset) -> xr.Dataset:
    """Describe each dimension, and store texts as objects: zarr (v3) has a standard for those, not
    for texts of fixed length."""
    texts = {name: array.astype(object) for name, array in ds.variables.items() if array.dtype.kind == "U"}
    ds = ds.assign_coords({name: array for name, array in texts.items() if name in ds.coords})
    ds = ds.assign({name: array for name, array in texts.items() if name not in ds.coords})
    for dim in ds.dims:
        if dim in ds.coords and dim in schema.DIMS and "long_name" not in ds[dim].attrs:
            ds[dim].attrs["long_name"] = schema.DIMS[str(dim)]
    return ds
