"""What is done with one checkpoint, as values that travel between processes: open it for its outline, or measure it.

A task keeps its own errors and warnings and returns them, so that whoever runs many decides what a failure means.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from probekit import files
from probekit.collect import PassSettings, Splits
from probekit.collect.pass_settings import Preparation
from probekit.data import SHIPPED
from probekit.errors import ProbeError, ProbekitError, StorageError
from probekit.evaluation import costs, opening
from probekit.evaluation.single import Evaluation, Folders, fitting_threads, folders, make_evaluation
from probekit.evaluation.suite_versions import Plan

KEPT_SETS = 6
"""Splits that ship and stay open: they are made of nothing but their spec, so they cannot go stale."""

_shipped: dict[Any, Splits] = {}


class ImageSets:
    """The image sets of a call, each opened once; those that ship stay open for the next call too."""

    def __init__(self, options: Mapping[str, Mapping[str, Any]], sampling: str) -> None:
        self.options, self.sampling = options, sampling
        self._opened: dict[Any, Splits] = {}

    def of(self, plan: Plan) -> Splits:
        """The plan's image set."""
        ships = isinstance(plan.data, str) and plan.data.partition("?")[0] in SHIPPED
        options = plan.options_with(self.options)
        shifts = tuple(options.get("robustness", {}).get("shifts") or ())
        conflict = options.get("shape_bias", {}).get("conflict")
        kept = _shipped if ships and not shifts and not conflict else self._opened
        more: dict[str, Any] = {"shifts": shifts, "conflict": conflict, "sampling": self.sampling}
        key = (plan.data if isinstance(plan.data, str) else id(plan.data), plan.counts, *more.values())
        if key not in kept:
            kept[key] = Splits(plan.data, plan.counts, **more)
            while len(_shipped) > KEPT_SETS:
                _shipped.pop(next(iter(_shipped)))
        return kept[key]


@dataclass
class Outcome:
    """What a task found.

    Attributes:
        found: an `Outline`, or a list of datasets, one for each image set that was measured.
        error: what stopped it, or None.
        reasons, records, failures: of the probes (see `Evaluation`).
        warnings: (category, text), to be given again where the user sees them.
    """

    found: Any = None
    error: Exception | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    failures: list[ProbeError] = field(default_factory=list)
    warnings: list[tuple[type[Warning], str]] = field(default_factory=list)

    def __getstate__(self) -> dict[str, Any]:
        """Errors that cannot travel become texts."""
        portable = None if self.error is None else _portable(self.error)
        return self.__dict__ | {"error": portable, "failures": [_portable(one) for one in self.failures]}

    def note(self, evaluation: Evaluation, name: str) -> None:
        """Keep what an evaluation says besides its dataset."""
        for probe, reason in evaluation.reasons.items():
            self.reasons[probe] = f"{self.reasons[probe]}; {reason}" if probe in self.reasons else reason
        self.records.append({"checkpoint_name": name, "data_name": evaluation.sets.name, **evaluation.provenance()})
        self.failures += evaluation.failures


def _portable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever an error of another library does when it is copied
        return ProbekitError(f"{type(error).__name__}: {error}")
    return error


class Task:
    """A call on one checkpoint that any executor can run; `label` names the checkpoint in messages."""

    source: Any
    label: str

    @property
    def title(self) -> str:
        """The label, with the source where it differs."""
        return (
            self.label
            if not isinstance(self.source, str) or self.source == self.label
            else (f"{self.label} ({self.source})")
        )

    def run(self, outcome: Outcome) -> None:
        """Do the work, and put what is found into `outcome`."""
        raise NotImplementedError

    def attempted(self) -> Outcome:
        """The outcome, in this process."""
        outcome = Outcome()
        try:
            self.run(outcome)
        except OSError as error:
            outcome.error = StorageError(
                f"{self.title}: {error.filename or 'a file'} cannot be used: {files.reason(error)}."
            )
            outcome.error.__cause__ = error
        except Exception as error:  # what it means is for whoever runs many
            outcome.error = error
        return outcome

    def __call__(self, attempt: int) -> Outcome:
        """The outcome, in a process of an executor; `attempt` tells a repetition from the first call."""
        with warnings.catch_warnings(record=True) as caught:
            outcome = self.attempted()
        outcome.warnings = [(one.category, str(one.message)) for one in caught]
        return outcome

    def checkpoint(self, attempt: int) -> Any:
        """The task that Slurm requeues after a timeout: the same call, which resumes from the cache."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, attempt + 1)


@dataclass
class Outlining(Task):
    """Find the outline of a checkpoint."""

    source: Any
    label: str
    preparation: Preparation

    def run(self, outcome: Outcome) -> None:
        outcome.found = opening.outline(self.source, self.preparation)


@dataclass
class Measuring(Task):
    """Measure one checkpoint on all its image sets.

    Args:
        source: the checkpoint, or what `probekit.load` takes.
        label: its name in the results.
        plans: what to measure on which images.
        settings: agreed between all checkpoints.
        options: of probes.
        device: where to open it.
        sampling: how images are drawn.
        sets: opened image sets, if it runs where they are.
    """

    source: Any
    label: str
    plans: Sequence[Plan]
    settings: PassSettings
    options: Mapping[str, Mapping[str, Any]]
    device: str
    sampling: str
    sets: ImageSets | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"sets": None}

    def run(self, outcome: Outcome) -> None:
        sets = self.sets or ImageSets(self.options, self.sampling)
        opened = opening.quietly(self.source, self.device)
        checkpoint = replace(opened, card=opening.replaced(opened.card, {"name": self.label}))
        outcome.found = []
        for plan in self.plans:
            evaluation = make_evaluation(
                checkpoint, sets.of(plan), plan.probes, self.settings, plan.options_with(self.options), plan.explicit
            )
            with folders(self.settings.cache) as where:
                self.handle(evaluation, where, outcome)

    def handle(self, evaluation: Evaluation, where: Folders, outcome: Outcome) -> None:
        """What is done with the checkpoint on one image set."""
        outcome.found.append(evaluation.run(where))
        outcome.note(evaluation, self.label)


class Reading(Measuring):
    """Read what earlier calls measured; the outcome's `found` is None where something is missing."""

    def handle(self, evaluation: Evaluation, where: Folders, outcome: Outcome) -> None:
        if outcome.found is None:
            return
        ds = evaluation.stored(where)
        if ds is None:
            outcome.found = None
            return
        outcome.found.append(ds)
        outcome.note(evaluation, self.label)


class Filling(Measuring):
    """Measure without fitting; several of these tasks share the shards of one checkpoint.

    The outcome's `found` are (data, forwards made here).
    """

    def handle(self, evaluation: Evaluation, where: Folders, outcome: Outcome) -> None:
        outcome.found.append((evaluation.sets.name, evaluation.fill(where)))


class Costing(Measuring):
    """Count what `Measuring` would do, and time one batch."""

    def handle(self, evaluation: Evaluation, where: Folders, outcome: Outcome) -> None:
        planned = evaluation.costs(where)
        missing = any(one.missing for one in planned)
        with fitting_threads(evaluation.prepared):
            each = costs.seconds_per_forward(evaluation.prepared, evaluation.sets) if missing else 0.0
        outcome.found.append((self.label, evaluation.sets.name, each, planned))
