"""What a setting is, and what its seeds are: the one definition that tables, charts, pictures and sentences share.

Two checkpoints are runs of one setting if they agree in everything that is known to differ between trainings: data,
architecture, masking, length, and whatever the user states in words. Then they differ by their seed alone. What is
unknown is never taken for equal: a checkpoint with an unknown fact (its seed among them) is a setting of its own, and
so are runs that name one seed twice: they differ in a fact that the file does not have. Only settings of two or more
runs say anything about the luck of a run; an untrained checkpoint is no run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr

from probekit import schema

SETTING = ("trained_on", "depth", "width", "vit_patch_size", "mask_ratio", "patch_size", "images_seen")
"""Coordinates that make up a setting. One that a dataset lacks altogether is left out."""

WHERE_APPLICABLE = ("normalised_targets", "image_height", "finetuned")
"""Facts that some models do not have: there, having none is a fact too."""

MASKING = ("mask_ratio", "patch_size")
"""The facts whose effect is the question; the others make a family."""

Fact = float | str | None
"""A number or a text; None where unknown."""


@dataclass(frozen=True)
class Run:
    """One checkpoint, as one training run."""

    index: int
    name: str
    seed: float | None
    untrained: bool


@dataclass(frozen=True)
class Setting:
    """Checkpoints that differ by their seed alone; a single one where a fact is unknown."""

    facts: Mapping[str, Fact]
    runs: tuple[Run, ...]

    @property
    def ratio(self) -> float | None:
        """Mask ratio of training; None where unknown."""
        return _number(self.facts.get("mask_ratio"))

    @property
    def patch(self) -> float | None:
        """Mask unit of training in pixels; None where unknown."""
        return _number(self.facts.get("patch_size"))

    @property
    def untrained(self) -> bool:
        """Whether it has seen no training image."""
        return self.runs[0].untrained

    @property
    def unknown(self) -> list[str]:
        """Facts that are unknown, so that no other checkpoint can be known to be of this setting."""
        return [name for name, value in self.facts.items() if value is None and name not in WHERE_APPLICABLE]

    @property
    def seeds(self) -> dict[float, Run]:
        """Seed -> run; empty where there is a single run, or its seed is unknown."""
        return {run.seed: run for run in self.runs if run.seed is not None} if len(self.runs) > 1 else {}

    @cached_property
    def words(self) -> str:
        """E.g. "ratio 0.75, 8 px"; the checkpoint's name where the masking is unknown."""
        if self.untrained:
            return "untrained"
        parts = [f"ratio {self.ratio:g}"] if self.ratio is not None else []
        parts += [f"{self.patch:g} px"] if self.patch is not None else []
        return ", ".join(parts) or self.runs[0].name


def settings_of(ds: xr.Dataset, by: Sequence[str] | None = None) -> list[Setting]:
    """The settings of a dataset's checkpoints, in order of appearance; every checkpoint is in exactly one.

    Args:
        ds: results with the dimension `checkpoint`.
        by: coordinates that make up a setting; None for `SETTING`, as far as the dataset has them, and the user's own
            (`own_factors`).

    Example:
        >>> [setting.words for setting in settings_of(ds)]  # doctest: +SKIP
        ['ratio 0.1, 4 px', 'ratio 0.25, 4 px']
    """
    if by is None:
        standing = [name for name in (*SETTING, *WHERE_APPLICABLE) if _along_checkpoint(ds, name)]
        by = [*standing, *own_factors(ds)]
    columns = {name: facts(ds, name) for name in by}
    seeds, seen = facts(ds, "seed"), facts(ds, "images_seen")
    found: dict[Any, list[Run]] = {}
    rows: list[dict[str, Fact]] = []
    for i, label in enumerate(ds["checkpoint"].values if "checkpoint" in ds.coords else range(ds.sizes["checkpoint"])):
        rows.append({name: column[i] for name, column in columns.items()})
        run = Run(i, schema.plain(label), _number(seeds[i]), seen[i] == 0)
        known = all(value is not None for name, value in rows[i].items() if name not in WHERE_APPLICABLE)
        lone = run.untrained or run.seed is None or not known
        found.setdefault(i if lone else tuple(rows[i].values()), []).append(run)
    out: list[Setting] = []
    for members in found.values():
        alike = [members] if len({run.seed for run in members}) == len(members) else [[run] for run in members]
        out += [Setting(rows[runs[0].index], tuple(runs)) for runs in alike]
    return sorted(out, key=lambda setting: setting.runs[0].index)


def facts(ds: xr.Dataset, name: str) -> list[Fact]:
    """A coordinate along checkpoint, None where it is unknown (NaN, an empty text) or missing."""
    if not _along_checkpoint(ds, name):
        return [None] * ds.sizes["checkpoint"]
    values = ds[name].values
    if values.dtype.kind in "fiub":
        return [float(value) if np.isfinite(value) else None for value in values]
    return [schema.plain(value) or None if value is not None and value == value else None for value in values]


def own_factors(ds: xr.Dataset) -> list[str]:
    """The user's coordinates along checkpoint that tell settings apart.

    Texts and booleans do. So do numbers of which some repeat (a learning rate); numbers that are all different are
    outcomes of the runs (a final loss).
    """
    found = []
    for name, coord in ds.coords.items():
        if coord.dims != ("checkpoint",) or name in schema.COORDS or name in schema.DIMS:
            continue
        known = [value for value in facts(ds, str(name)) if value is not None]
        if known and (coord.dtype.kind not in "fiu" or len(set(known)) < len(known)):
            found.append(str(name))
    return found


def families(settings: Sequence[Setting]) -> dict[int, str]:
    """Index of a checkpoint -> what apart from masking and seed tells its setting from the others, in few words.

    Families are all combinations of the facts that differ; their words are those of the fewest facts that tell every
    family from the others.
    """
    trained = [setting for setting in settings if not setting.untrained]
    names = [name for name in (trained[0].facts if trained else ()) if name not in MASKING]
    telling = [name for name in names if len({setting.facts[name] for setting in trained}) > 1]
    one_each = {_listed(setting, telling): setting for setting in trained}
    found = {run.index: "" for setting in settings for run in setting.runs}
    for setting in trained:
        found |= {run.index: _listed(setting, telling) for run in setting.runs}
    for chosen in _fewest(telling):
        short = {words: _listed(setting, chosen, short=True) for words, setting in one_each.items()}
        if len(set(short.values())) == len(short):
            return {index: short.get(words, "") for index, words in found.items()}
    return found


MOST_FACTS = 3
"""Of more facts than these, a family has all that differ in its words."""


def _fewest(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Sets of names, the smaller first, in order."""
    for count in range(1, min(MOST_FACTS, len(names)) + 1):
        yield from combinations(names, count)


def _listed(setting: Setting, names: Iterable[str], *, short: bool = False) -> str:
    words = (_words(name, setting.facts[name], short=short) for name in names)
    return ", ".join(word for word in words if word)


SPOKEN = {
    "trained_on": "trained on {}",
    "depth": "{} blocks",
    "width": "width {}",
    "vit_patch_size": "ViT patch {} px",
    "images_seen": "{} images",
    "image_height": "{} px images",
    "finetuned": "fine-tuned ({})",
}
NONE = {"finetuned": "not fine-tuned", "normalised_targets": "targets not stated", "image_height": "no image size"}
"""How a fact reads where a model has none (`WHERE_APPLICABLE`): of the others, none is unknown, and has no words."""


def _words(name: str, value: Fact, *, short: bool = False) -> str:
    """A fact in words, none where it is unknown; if `short`, of data sets the part before the first comma or
    bracket."""
    if value is None:
        return NONE.get(name, "")
    if name == "normalised_targets":
        return "normalised targets" if value else "plain targets"
    text = value if isinstance(value, str) else f"{value:,.0f}" if name == "images_seen" else f"{value:g}"
    if short and name == "trained_on":
        text = re.split(r"[,;(]", text)[0].strip() or text
    return SPOKEN.get(name, name.replace("_", " ") + " {}").format(text)


def _along_checkpoint(ds: xr.Dataset, name: str) -> bool:
    return name in ds.coords and ds[name].dims == ("checkpoint",)


def _number(value: Fact) -> float | None:
    return value if isinstance(value, float) else None
