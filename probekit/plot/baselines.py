"""What stands beside trained encoders: untrained ones of their own architecture, raw pixels, chance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import xarray as xr

from probekit.results import settings

Row = dict[str, Any]
UNTRAINED = "untrained encoder"
BASELINES = {"_untrained": UNTRAINED, "_pixels": "raw pixels", "_chance": "chance"}
"""Variables named like another with one of these endings are its baselines, and are drawn with it."""

ARCHITECTURE = {"width": "width {:g}", "depth": "{:g} blocks", "vit_patch_size": "ViT patch {:g} px"}
"""Facts of a checkpoint that its untrained twin shares, and how they are said."""


def architectures(ds: xr.Dataset) -> list[tuple[Any, ...] | None]:
    """The architecture of each checkpoint, comparable; None where a part of it is unknown."""
    columns = (settings.facts(ds, name) for name in ARCHITECTURE)
    return [None if None in each else each for each in zip(*columns, strict=True)]


def twins(others: Mapping[str, Sequence[Row]]) -> list[Row]:
    """Rows of variables that are baselines of another, by what they are called, marked `untrained`.

    Of each architecture those of the first checkpoint that has them (`twin_of`), since checkpoints of one architecture
    share their twin; of what no encoder made those of the first.
    """
    found: list[Row] = []
    for label, rows in others.items():
        first: dict[Any, str] = {}
        for row in rows:
            architecture = row["architecture"] if label == UNTRAINED else None
            if first.setdefault(architecture, row["checkpoint"]) == row["checkpoint"]:
                blank = {
                    "checkpoint": label, "setting": label, "ratio": None, "patch": None, "seed": None, "family": "",
                    "setting_index": -1, "untrained": True, "by": None, "architecture": architecture,
                    "twin_of": row["checkpoint"],
                }  # fmt: skip
                found.append({**row, **blank})
    return found


def with_baselines(rows: Sequence[Row], beside: Sequence[Row]) -> list[Row]:
    """Rows and their baselines; twins of an architecture of which an untrained checkpoint is among the rows would say
    it twice. Where there are several architectures, untrained encoders are named by what tells theirs."""
    shown = {row["architecture"] for row in rows if row["untrained"]}
    kept = [row for row in beside if row["setting"] != UNTRAINED or row["architecture"] not in shown]
    every = {row["architecture"] for row in (*rows, *kept)} - {None}
    if len(every) < 2:
        return [*rows, *kept]
    alone = [i for i in range(len(ARCHITECTURE)) if len({each[i] for each in every}) == len(every)]
    facts = alone[:1] or range(len(ARCHITECTURE))
    return [_named(row, facts) if row["untrained"] else row for row in (*rows, *kept)]


def _named(row: Row, facts: Iterable[int]) -> Row:
    """An untrained encoder's row with these facts of its architecture in words; a twin is also called so."""
    if row["architecture"] is None:
        return row
    texts = [*ARCHITECTURE.values()]
    called = f"{row['setting']} ({' / '.join(texts[i].format(row['architecture'][i]) for i in facts)})"
    own = row["checkpoint"] == row["setting"]
    return {**row, "setting": called, "checkpoint": called if own else row["checkpoint"]}


def baselines_for(rows: Sequence[Row], members: Sequence[Row]) -> list[Row]:
    """Those of the baselines among `rows` that fit these trained rows: of an architecture that they have, or that no
    trained row has."""
    own = {row["architecture"] for row in members}
    others = {row["architecture"] for row in rows if not row["untrained"]} - own
    return [row for row in rows if row["untrained"] and row["architecture"] not in others - {None}]
