"""One checkpoint on one image set: what lies in the caches is read, what is missing is measured in one pass, probed,
kept.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from threadpoolctl import threadpool_limits

from probekit import cache, probes, progress
from probekit.collect import Counts, Measurements, PassSettings, PreparedModel, Splits
from probekit.collect.freed import give_back
from probekit.collect.needs import LIMITS, NEEDS, Planned, measurable, of_twin, reads_pooled
from probekit.data import SPLITS
from probekit.errors import ProbeError, ProbekitError
from probekit.evaluation import costs, results, suites
from probekit.evaluation.labelling import labelled
from probekit.measures import resample
from probekit.probes import Probe

if TYPE_CHECKING:
    from probekit.models import Checkpoint


class Folders(NamedTuple):
    """The folder of measurements, the folder of results if there is one, and whether new results are saved."""

    measurements: Path
    results: Path | None
    keep: bool


@contextmanager
def folders(use_cache: bool) -> Iterator[Folders]:
    """The cache's folders, or temporary ones.

    Warns once if the cache folder is read-only: its results are read, and the evaluation goes on in scratch.
    """
    results = cache.folder("results") if use_cache else None
    if use_cache:
        root = cache.folder()
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                pass
        except OSError as error:
            warnings.warn(
                f"The cache folder {root} cannot be written ({error.strerror or error}): going on without a cache. "
                "Results that lie there are read, but new ones will not be there for the next call. Point "
                "PROBEKIT_CACHE at a writable folder.",
                RuntimeWarning,
                stacklevel=4,
            )
        else:
            yield Folders(cache.folder("measurements"), results, keep=True)
            return
    with tempfile.TemporaryDirectory(prefix="probekit-") as scratch:
        yield Folders(Path(scratch), results, keep=False)


NARROW = 256
"""Width up to which a model's products are too small to be worth sharing among threads."""


@contextmanager
def fitting_threads(prepared: PreparedModel) -> Iterator[None]:
    """One thread for a narrow model on a processor, for the pass and the fits.

    Its products take microseconds. To share them brings next to nothing on an idle machine, and on a busy one threads
    wait for each other at every single one: two cores with other work were 30 times slower with two threads than with
    one.
    """
    if prepared.device.type != "cpu" or prepared.model.width > NARROW:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


class Evaluation:
    """The evaluation of one checkpoint on one image set.

    Args:
        prepared, sets: what is measured.
        chosen: probes with their settings.
        explicit: the user named the probes, so one that cannot run is an error.
        beside: those of them that stand beside others where they apply; nobody asked for them.
    """

    def __init__(
        self, prepared: PreparedModel, sets: Splits, chosen: Mapping[str, dict[str, Any]], *, explicit: bool,
        beside: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.prepared, self.sets, self.chosen, self.explicit = prepared, sets, chosen, explicit
        self.beside = beside
        self.reasons: dict[str, str] = {}
        self.forwards = 0
        self.failures: list[ProbeError] = []

    def run(self, where: Folders) -> xr.Dataset:
        """The dataset, dims checkpoint = 1 and data = 1. Failures of single probes are kept in `failures`."""
        arrays, missing = self.found(where)
        if missing:
            with fitting_threads(self.prepared):
                arrays |= self.measure(missing, where.measurements)
        return labelled(self.prepared, self.sets, self.reasons, arrays)

    def stored(self, where: Folders) -> xr.Dataset | None:
        """What `run` gives, if all of it lies in the cache; else None."""
        arrays, missing = self.found(where)
        return None if missing else labelled(self.prepared, self.sets, self.reasons, arrays)

    def fill(self, where: Folders) -> int:
        """Measure what the probes need, sharing the work with other processes; returns the number of forwards made
        here."""
        _, missing = self.found(where)
        measurements = Measurements(self.prepared, self.sets, where.measurements)
        needs = costs.needs(measurements, {name: self.chosen[name] for name in missing})
        with fitting_threads(self.prepared):
            measurements.gather(need for need in needs if measurable(need))
        return measurements.forwards

    def costs(self, where: Folders) -> list[Planned]:
        """What `run` would measure, without measuring it."""
        _, missing = self.found(where)
        measurements = Measurements(self.prepared, self.sets, where.measurements)
        return measurements.planned(costs.needs(measurements, {name: self.chosen[name] for name in missing}))

    def found(self, where: Folders) -> tuple[results.Arrays, dict[str, Path | None]]:
        """Cached results, and the probes still to run, each with the file for its results."""
        arrays: results.Arrays = {}
        missing: dict[str, Path | None] = {}
        for name, settings in self.chosen.items():
            probe = probes.find(name)
            file = None if where.results is None else where.results / f"{self.key(probe, settings)}.npz"
            stored = results.load(file) if file else None
            if stored is not None:
                arrays |= stored[0]
                self.reasons |= {key: f"{self.sets.name}: {reason}" for key, reason in stored[1].items()}
                continue
            reason = probe.lacking(self.prepared, self.sets)
            if reason and name in self.beside:
                continue
            if reason:
                self.cannot(name, ProbeError(f"The probe {name} cannot run on {self.sets.name}: {reason}."), reason)
                continue
            missing[name] = file if where.keep else None
        return arrays, missing

    def cannot(self, name: str, error: ProbeError, reason: str) -> None:
        self.reasons[name] = f"{self.sets.name}: {reason}"
        if self.explicit and name not in self.beside:
            self.failures.append(error)

    def measure(self, missing: Mapping[str, Path | None], root: Path) -> results.Arrays:
        """Run the probes whose results are not in the cache."""
        measurements = Measurements(self.prepared, self.sets, root)
        needs = costs.needs(measurements, {name: self.chosen[name] for name in missing})
        planned = measurements.planned(needs)
        title = f"{self.prepared.checkpoint.name} on {self.sets.name}"
        with progress.run(title, sum(one.missing for one in planned), costs.line(planned)):
            measurements.gather(need for need in needs if measurable(need))
            out = self.probed(missing, measurements)
        self.forwards += measurements.forwards
        return out

    def probed(self, missing: Mapping[str, Path | None], measurements: Measurements) -> results.Arrays:
        """Run probes on what was measured, and keep what they find."""
        out: results.Arrays = {}
        twin = [any(map(of_twin, probes.find(name).measured(self.chosen[name]))) for name in missing]
        for place, (name, file) in enumerate(missing.items()):
            measurements.lacking.clear()
            if not any(twin[place:]):
                measurements.forget_untrained()
            give_back()
            try:
                found = self.probe(name, measurements)
            except (OSError, MemoryError):  # the machine's faults are nobody's missing number
                raise
            except Exception as error:  # a probe of one's own may raise anything: it takes its own numbers alone
                if isinstance(error, ProbekitError) and not isinstance(error, ProbeError):
                    raise
                known = isinstance(error, ProbeError | ArithmeticError | np.linalg.LinAlgError)
                what = str(error) if known else f"it raised {type(error).__name__}: {error}"
                named = ProbeError(f"The probe {name} on {self.sets.name}: {what}")
                named.__cause__ = error
                self.cannot(name, named, what)
                continue
            if file is not None:
                results.save(file, found, measurements.lacking, self.facts(probes.find(name), self.chosen[name]))
            self.reasons |= {key: f"{self.sets.name}: {reason}" for key, reason in measurements.lacking.items()}
            out |= found
        return out

    def probe(self, name: str, measurements: Measurements) -> results.Arrays:
        probe = probes.find(name)
        found = probe.run(measurements, **self.chosen[name])
        changed = {key: value for key, value in self.chosen[name].items() if value != probe.options[key]}
        for variable in probe.variables:
            if variable.name in found:
                attrs = found[variable.name].attrs
                attrs["probe"] = name
                attrs["counts"] = json.dumps(self.used(probe), sort_keys=True)
                attrs["images"] = self.images(probe)
                attrs["precision"] = self.prepared.settings.precision
                attrs["seed"] = self.prepared.settings.seed
                if self.prepared.settings.features_dtype != "float32" and any(map(reads_pooled, probe.needs)):
                    attrs["features_dtype"] = self.prepared.settings.features_dtype
                attrs["options"] = json.dumps(changed, sort_keys=True)
                if self.prepared.checkpoint.card.finetuned:
                    attrs["finetuned"] = self.prepared.checkpoint.card.finetuned
                if self.sets.sampling != "proportional":
                    attrs["sampling"] = self.sets.sampling
                if self.prepared.settings.preparation.asked:
                    attrs["preparation"] = json.dumps(self.prepared.settings.preparation.asked, sort_keys=True)
        return {key: measurements.asked_for(array) for key, array in found.items()}

    def images(self, probe: Probe) -> str:
        """Fingerprints of the images that a probe uses, shifted sets included."""
        shifts = self.shifts(probe)
        own = self.sets.any.fingerprint
        return f"{own}+{cache.key(**shifts)}" if shifts else own

    def shifts(self, probe: Probe) -> dict[str, str]:
        """Spec -> fingerprint of the shifted sets that a probe looks at."""
        sets = self.sets
        specs = (
            *(sets.shifts if "shifts" in probe.needs else ()),
            *([sets.conflict] if "conflict" in probe.needs else ()),
        )
        return {spec: sets.shifted(spec).fingerprint for spec in specs if spec}

    def splits(self, probe: Probe) -> list[str]:
        """The splits that a probe looks at; no other is opened for it."""
        looked = {NEEDS[need].split if need in NEEDS else "test" for need in probe.needs}
        return [split for split in SPLITS if split in looked and self.sets.has(split)]

    def used(self, probe: Probe) -> dict[str, int]:
        """How many images a probe uses, by the name of the count that limits them."""
        counts = asdict(self.sets.counts)
        limits = {NEEDS[need].limit if need in NEEDS else LIMITS[need] for need in probe.needs}
        test = self.sets.size("test") if self.sets.has("test") else 0
        sizes = {split: self.sets.size(split) for split in self.splits(probe)}
        return {limit: sizes[limit] if limit in sizes else min(counts[limit], test) for limit in sorted(limits)}

    def facts(self, probe: Probe, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What determines a probe's numbers."""
        run, card = self.prepared.settings, self.prepared.checkpoint.card
        return {
            "probe": probe.name,
            "versions": probe.version,
            "intervals": resample.VERSION,
            "settings": dict(settings),
            "frame": self.prepared.facts,
            "images": {split: self.sets[split].fingerprint for split in self.splits(probe)},
            "shifts": self.shifts(probe),
            "counts": asdict(self.sets.counts),
            "card": [card.mask_ratio, card.patch_size] if "mask" in probe.requires else [],
            "run": {**run.facts, "mask_grid": self.prepared.mask_grid, "picture_side": run.picture_side},
        } | ({"finetuned": card.finetuned} if card.finetuned else {})

    def key(self, probe: Probe, settings: Mapping[str, Any]) -> str:
        return cache.key(**self.facts(probe, settings))

    def provenance(self) -> dict[str, Any]:
        """For the record, besides what the attributes say."""
        card, sets = self.prepared.checkpoint.card, self.sets
        converted = self.prepared.preprocess.conversion(sets.any.channels, grey_as_rgb=sets.any.grey_as_rgb)
        return {
            "checkpoint": {
                "source": str(self.prepared.checkpoint.source),
                "sha256": card.sha256,
                "architecture": card.architecture,
                "licence": card.licence,
                "verdict": self.prepared.checkpoint.verdict.record(),
            },
            "data": {
                "spec": sets.any.spec,
                "fingerprints": sets.fingerprints,
                "counts": asdict(sets.counts),
                "licence": sets.any.licence,
                "notes": sets.notes | ({"channels": [converted]} if converted else {}),
            },
            "settings": asdict(self.prepared.settings),
            "forwards": self.forwards,
        }


def make_evaluation(
    checkpoint: Checkpoint,
    source: Splits,
    names: tuple[str, ...],
    settings: PassSettings,
    options: Mapping[str, Mapping[str, Any]],
    explicit: bool,
) -> Evaluation:
    """Make an evaluation: check the options, and add the probes that always run."""
    beside = suites.beside(names)
    chosen = {name: probes.find(name).settings(options.get(name)) for name in (*names, *beside)}
    return Evaluation(PreparedModel(checkpoint, settings), source, chosen, explicit=explicit, beside=beside)


__all__ = ["Counts", "Evaluation", "folders", "make_evaluation"]
