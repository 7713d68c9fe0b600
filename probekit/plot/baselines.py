"""What stands beside trained encoders: untrained ones of their own architecture, raw pixels, chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    Of each architecture those of the first checkpoint that has them (`of`), since checkpoints of one architecture share
    their twin; of what no encoder made those of the first.
    """
    found: list[Row] = []
    for label, rows in others.items():
        first: dict[Any, str] = {}
        for row in rows:
            kin = row["kin"] if label == UNTRAINED else None
            if first.setdefault(kin, row["checkpoint"]) == row["checkpoint"]:
                blank = {
                    "checkpoint": label, "setting": label, "ratio": None, "patch": None, "seed": None, "family": "",
                    "setting_index": -1, "untrained": True, "by": None, "kin": kin, "of": row["checkpoint"],
                }  # fmt: skip
                found.append({**row, **blank})
    return found


def with_baselines(rows: Sequence[Row], beside: Sequence[Row]) -> list[Row]:
    """Rows and their baselines; twins of an architecture of which an untrained checkpoint is among the rows would say
    it twice. Where there are several architectures, untrained encoders are named with theirs."""
    shown = {row["kin"] for row in rows if row["untrained"]}
    kept = [row for row in beside if row["setting"] != UNTRAINED or row["kin"] not in shown]
    several = len({row["kin"] for row in (*rows, *kept)} - {None}) > 1
    return [*rows, *kept] if not several else [_named(row) if row["untrained"] else row for row in (*rows, *kept)]


def _named(row: Row) -> Row:
    """An untrained encoder's row with its architecture in words, and a twin's under a name of its own."""
    if row["kin"] is None:
        return row
    words = ", ".join(text.format(value) for text, value in zip(ARCHITECTURE.values(), row["kin"], strict=True))
    called = f"{row['setting']} ({words})"
    return {
        **row,
        "setting": called,
        "checkpoint": called if row["checkpoint"] == row["setting"] else row["checkpoint"],
    }


def fitting(rows: Sequence[Row], members: Sequence[Row]) -> list[Row]:
    """Those of the baselines among `rows` that fit these trained rows: of an architecture that they have, or that no
    trained row has."""
    own, trained = {row["kin"] for row in members}, {row["kin"] for row in rows if not row["untrained"]}
    baselines = [row for row in rows if row["untrained"]]
    return [row for row in baselines if row["kin"] is None or row["kin"] in own or row["kin"] not in trained]
