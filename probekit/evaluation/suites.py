"""What a suite, a probe or a list of probes runs: on which image sets, and on how many images of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from probekit import probes
from probekit.collect import Counts
from probekit.data import ImageSet
from probekit.errors import ProbeError, did_you_mean
from probekit.evaluation.suite_versions import EARLIER, HOME, PHOTOS, QUADTREE, SHAPES, SUITES, Plan, Suite


def as_list(suite: Any) -> Any:
    """An iterable of probe names as a list; a name as it is; a `ProbeError` for what is neither."""
    if not isinstance(suite, Iterable):
        raise ProbeError(f"suite={suite!r}: expected a suite ({', '.join(SUITES)}), a probe, or a list of probes.")
    return suite if isinstance(suite, str) else list(suite)


def published(suite: Any) -> Suite | None:
    """The suite called `paper` (newest version) or `paper@1`; None if there is no such suite.

    Raises:
        ProbeError: a version that the suite does not have.
    """
    if not isinstance(suite, str):
        return None
    if suite in SUITES or suite in EARLIER:
        return SUITES.get(suite) or EARLIER[suite]
    name, at, version = suite.partition("@")
    if not at or name not in SUITES:
        return None
    if version == str(SUITES[name].version):
        return SUITES[name]
    known = [key for key in EARLIER if key.startswith(f"{name}@")]
    known += [f"{name}@{SUITES[name].version}"] if f"{name}@{SUITES[name].version}" not in known else []
    raise ProbeError(f"The suite {name!r} has no version {version!r}. Known: {', '.join(known)}.")


def beside(names: Sequence[str]) -> tuple[str, ...]:
    """Probes that also run, where they apply, without being asked for.

    `expected_levels` beside all (what theory expects of the checkpoint's masks); `colour_accuracy` beside accuracies.
    """
    measured = [variable.name for name in names for variable in probes.find(name).variables]
    found = ["expected_levels", *(["colour_accuracy"] if any("accuracy" in name for name in measured) else [])]
    return tuple(name for name in found if name not in names)


def plans(suite: str | Sequence[str], data: Any = None, counts: Counts | None = None) -> list[Plan]:
    """What to run where.

    Args:
        suite: a suite's name, a probe's name, or a list of probe names.
        data: None (the suite's own sets), one source, or a list of them.
        counts: how many images, instead of the plans' own.

    Raises:
        ProbeError: an unknown suite or probe.
    """
    if isinstance(data, list | tuple) and not data:
        raise ProbeError("data is an empty list; expected an image set, a list of some, or None for the suite's own.")
    several = isinstance(data, list | tuple) and not _pair(data)
    data = tuple(data) if isinstance(data, list) and not several else data  # [images, labels] is (images, labels)
    found = _named(suite) if data is None else _on(suite, data if several else [data])
    return [replace(plan, counts=counts or plan.counts) for plan in found]


def _pair(data: Sequence[Any]) -> bool:
    """Whether this is one image set given as (images, labels), rather than a list of image sets."""
    return len(data) == 2 and hasattr(data[0], "shape")


def listed(suite: str | Sequence[str]) -> tuple[str, ...]:
    """Names of the probes asked for one by one; every one exists."""
    chosen = (suite,) if isinstance(suite, str) else tuple(as_list(suite))
    if not chosen:
        raise ProbeError(f"An empty list of probes. Known: {', '.join(probes.names())}.")
    for name in chosen:
        if name in probes.names():
            continue
        if published(name):
            raise ProbeError(f"{name!r} is a suite, and goes alone; a list is of probes: {', '.join(probes.names())}.")
        known = [*SUITES, *probes.names()] if isinstance(suite, str) else probes.names()
        what = "suite or probe" if isinstance(suite, str) else "probe"
        raise ProbeError(f"No {what} is called {name!r}. {did_you_mean(name, known, limit=30)}")
    return tuple(dict.fromkeys(chosen))


def _named(suite: str | Sequence[str]) -> list[Plan]:
    if found := published(suite):
        return list(found.plans)
    grouped: dict[str, list[str]] = {}
    for name in listed(suite):
        grouped.setdefault(HOME.get(name, SHAPES), []).append(name)
    return [Plan(data, tuple(names), explicit=True) for data, names in grouped.items()]


def _on(suite: str | Sequence[str], data: Sequence[Any]) -> list[Plan]:
    chosen = published(suite)
    if chosen is None:
        return [Plan(one, listed(suite), explicit=True) for one in data]
    out = []
    for one in data:
        home = str(one).partition("?")[0] if isinstance(one, str) else one.name if isinstance(one, ImageSet) else None
        same = next((plan for plan in chosen.plans if plan.data == home), None)
        out.append(replace(same, data=one) if same else Plan(one, chosen.probes, Counts()))
    return out


def describe(suite: str | Sequence[str]) -> dict[str, Any]:
    """For provenance: the suite's name and version, or the probes asked for."""
    if found := published(suite):
        return {"suite": str(suite).partition("@")[0], "suite_version": found.version}
    return {"suite": list(listed(suite))}


def recorded(told: Mapping[str, Any]) -> Any:
    """The suite of a provenance, as `plans` takes it: of its own version, if there is a newer one; None if unknown."""
    suite = told.get("suite")
    if not isinstance(suite, str) or suite not in SUITES or told.get("suite_version") in (None, SUITES[suite].version):
        return suite
    return f"{suite}@{told['suite_version']}"


def own(training_data: str | None) -> Mapping[str, str] | None:
    """Which shipped sets fit a checkpoint by what it was trained on: plan data -> spec to use; None = no opinion.

    One that was trained on the generated quadtree sees the same process again; every other sees pictures.
    """
    if training_data is None:
        return None
    spec = training_data.split(" ")[0].rstrip(",;")  # a card says "quadtree?height=4, train split"
    if spec.partition("?")[0] == QUADTREE:
        return {QUADTREE: spec}
    return {SHAPES: SHAPES, PHOTOS: PHOTOS}


SOURCE = re.compile(r"^(torchvision:|hf:([\w.-]+/)?)")
"""Where a training set came from, before its name."""


def fitting(chosen: Sequence[Plan], training_data: str | None) -> Sequence[Plan]:
    """The plans whose images fit a checkpoint's training data; all of them if those are unknown, or if none fits."""
    wanted = own(training_data)
    if training_data is None or wanted is None:
        return chosen
    name = SOURCE.sub("", training_data.strip().lower())
    fits = [plan for plan in chosen if plan.data in wanted and not name.startswith(plan.not_for)]
    return [replace(plan, data=wanted[plan.data]) for plan in fits] or chosen
