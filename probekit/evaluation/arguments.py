"""What callers pass to `evaluate` and `compare`, checked before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from probekit import probes
from probekit.checks import whole
from probekit.collect import Counts
from probekit.errors import ProbeError, did_you_mean
from probekit.evaluation import suites


def counts_of(counts: Counts | Mapping[str, int] | None) -> Counts | None:
    """How many images to use; None for the suite's own numbers."""
    if counts is None or isinstance(counts, Counts):
        return counts
    known = Counts.__dataclass_fields__
    if not isinstance(counts, Mapping):
        raise ProbeError(f"counts={counts!r}: expected a dict with some of {', '.join(known)}.")
    checked = {}
    for name, value in counts.items():
        if name not in known:
            raise ProbeError(f"counts has no {name!r}. {did_you_mean(str(name), known)}")
        least = 2 if name == "views" else 1
        checked[name] = whole(f"counts: {name}", value, least=least, error=ProbeError)
    return replace(Counts(), **checked)


def options_of(options: Any, chosen: Sequence[suites.Plan]) -> dict[str, dict[str, Any]]:
    """Probe -> the options that it was given, checked before anything is measured."""
    if options is not None and not isinstance(options, Mapping):
        raise ProbeError(
            f"options={options!r}; expected a dict: probe -> its options, such as {{'knn': {{'ks': [5]}}}}."
        )
    running = {name for plan in chosen for name in plan.probes}
    checked: dict[str, dict[str, Any]] = {}
    for name, given in (options or {}).items():
        if name not in running:
            suites.listed([name])
            raise ProbeError(
                f"options were given for {name}, which is not among the probes to run: {', '.join(sorted(running))}."
            )
        if not isinstance(given, Mapping):
            raise ProbeError(f"options of {name}: {given!r}; expected a dict of its options, such as {{'ks': [5]}}.")
        settings = probes.find(name).settings(given)
        checked[name] = {key: settings[key] for key in given}
    return checked


def check_names(names: Any, measured: int) -> None:
    """A `ProbeError` unless these are texts, one for each checkpoint that is measured."""
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
        raise ProbeError(f"names={names!r}: expected a list of texts, one for each checkpoint.")
    if len(names) != measured:
        raise ProbeError(
            f"{len(names)} names for {measured} checkpoints to measure. Those in results keep the names that they have."
        )
