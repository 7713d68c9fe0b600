"""Which checkpoints are compared by their masking, and how rows are split into panels.

No checkpoint is left out: what has no place on a line of ratios or patch sizes stands under "other checkpoints".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from probekit.plot.baselines import baselines_for
from probekit.plot.rows import Row


def in_grid(rows: Sequence[Row]) -> list[Row]:
    """Rows of known masking whose ratio and patch size no other setting among them shares."""
    places: dict[Any, set[int]] = defaultdict(set)
    for row in rows:
        places[row["ratio"], row["patch"]].add(row["setting_index"])
    known = [row for row in rows if row["ratio"] is not None or row["patch"] is not None]
    return [row for row in known if len(places[row["ratio"], row["patch"]]) == 1]


def on_axis(trained: Sequence[Row], most: int) -> tuple[str | None, list[Row]]:
    """Along what rows stand ("ratio", "patch", or None), and those that have a place there: of every family that has a
    line of settings, then of families with a single setting, up to `most` families that one chart can tell apart."""
    families: dict[str, list[Row]] = defaultdict(list)
    for row in trained:
        families[row["family"]].append(row)
    known = {name: in_grid(rows) for name, rows in families.items()}

    def steps(key: str, name: str) -> int:
        return len({row[key] for row in known[name] if row[key] is not None})

    key = next((key for key in ("ratio", "patch") if any(steps(key, name) > 1 for name in known)), None)
    if key is None:
        return None, []
    best = sorted((name for name in known if steps(key, name)), key=lambda name: -steps(key, name))[:most]
    return key, [row for name in families if name in best for row in known[name] if row[key] is not None]


def by_family(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Trained rows by family, with the family's words where there are several; families of which no two settings differ
    in masking alone come last, together."""
    families: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if not row["untrained"]:
            families[row["family"]].append(row)
    grids = [name for name, each in families.items() if len({row["setting_index"] for row in in_grid(each)}) > 1]
    rest = [row for name, each in families.items() if name not in grids for row in each]
    found = [(name if len(families) > 1 else "", families[name]) for name in grids]
    return found + ([("other checkpoints" if found else "", rest)] if rest else [])


@dataclass(frozen=True)
class Group:
    """Rows for one panel and what colours them."""

    title: str
    rows: list[Row]
    key: str


def groups(rows: Sequence[Row]) -> list[Group]:
    """Split rows into panels by family, then by the shape of the grid (see the module), each with the baselines that
    fit."""
    if any(row["by"] is not None for row in rows):  # the reader's own grouping takes the place of the grid
        return [Group("", list(rows), "by")]
    found = [
        Group(
            ", ".join(part for part in (name, group.title) if part),
            group.rows + baselines_for(rows, members),
            group.key,
        )
        for name, members in by_family(rows)
        for group in lines(members)
    ]
    return found or [Group("", list(rows), "checkpoint")]


def lines(trained: Sequence[Row]) -> list[Group]:
    """The lines of one family's grid, then the checkpoints that have no place on one."""
    known = [row for row in in_grid(trained) if row["ratio"] is not None]
    ratios, patches = defaultdict(set), defaultdict(set)
    for row in known:
        ratios[row["patch"]].add(row["ratio"])
        patches[row["ratio"]].add(row["patch"])
    found = []
    full = sorted((patch for patch in ratios if len(ratios[patch]) > 1), key=lambda patch: patch or 0)
    if len(full) > 1:
        for patch in full:
            found.append(
                Group(
                    f"Patch size {patch:g} px" if patch else "Patch size unknown",
                    [r for r in known if r["patch"] == patch],
                    "ratio",
                )
            )
    else:
        if full:
            title = f"Ratios at {full[0]:g} px" if full[0] else "Ratios"
            found.append(Group(title, [row for row in known if row["patch"] == full[0]], "ratio"))
        ratio = max(patches, key=lambda ratio: len(patches[ratio]), default=None)
        if ratio is not None and len(patches[ratio]) > 1:
            found.append(
                Group(f"Patch sizes at ratio {ratio:g}", [row for row in known if row["ratio"] == ratio], "patch")
            )
    placed = {row["checkpoint"] for group in found for row in group.rows}
    left = [row for row in trained if row["checkpoint"] not in placed]
    if left or not found:
        found.append(Group("Other checkpoints" if found else "", left, "checkpoint"))
    return found
