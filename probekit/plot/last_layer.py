"""The other charts: quantities at the last layer, paired differences, theory beside measurement, published figures,
t-SNE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from probekit.measures.inference import rank_correlation
from probekit.plot import theme
from probekit.plot.curves import WHO, choice_panels, why_none
from probekit.plot.expectations import expected, expected_on
from probekit.plot.figure import (
    HAS_INTERVAL,
    Figure,
    Json,
    Key,
    Panel,
    bounded,
    channel,
    columns,
    domain,
    either,
    layer,
    lowered,
    number_fields,
    tooltip,
)
from probekit.plot.headline import Headline
from probekit.plot.legends import MOST_KEYS, SOFT, colouring
from probekit.plot.rows import Results, Row, nanmean, number, plain, rounded

APART = ("shift", "property", "map", "level", "baseline")
"""Dimensions of which every label gets a panel of its own."""


def choice_figure(results: Results, names: Iterable[str], data: str, key: str, title: str) -> Figure | None:
    """Several quantities on one image set against the training choice, a panel each."""
    panels, words, missing = [], set(), set()
    for name in names:
        if data not in results.where(name):
            continue
        own = []
        for label, rows in split(results, name, data):
            heading = results.title(name) + (f", {label}" if label else "")
            own += choice_panels(results, name, rows, title=heading)
        panels += own
        if not bounded(own):
            missing.add(f"{results.title(name)}: {why_none(results, name)}")
        if results.choose(name, APART).words:
            words.add(f"{results.title(name)}: {results.choose(name, APART).words}")
    if not panels:
        return None
    if len(panels) == 1:  # then the figure's title says it
        panels = [replace(panels[0], title="")]
    drawn = {one["mark"]["type"] for panel in panels for one in panel.layers}
    dashed = any("strokeDash" in one["mark"] for panel in panels for one in panel.layers)
    lines = ("; " + line_words(panels) if "line" in drawn else "") + ("; level dashes: baselines" if dashed else "")
    caption = f"Dots: checkpoints{' with the 95 % interval of each' if bounded(panels) else ''}{lines}."
    caption += f" {'; '.join(sorted(words))}." if words else ""
    caption += f" No interval for {'; '.join(sorted(missing))}." if missing else ""
    return Figure(key, title, panels, caption, columns=columns(len(panels)))


def line_words(panels: Iterable[Panel]) -> str:
    """What lines through settings join: means over seeds, where a setting has several runs."""
    runs = [Counter(row["setting_index"] for row in panel.rows if not row["untrained"]) for panel in panels]
    return (
        "lines: means over seeds"
        if max(max(each.values(), default=0) for each in runs) > 1
        else "lines: one run per setting"
    )


def split(results: Results, name: str, data: str) -> list[tuple[str, list[Row]]]:
    """Rows of a quantity for each label of a dimension in `APART`, where it has one."""
    dim = next((dim for dim in APART if dim in results.dims(name)), None)
    rows = results.rows(name, data, keep=(dim,) if dim else ())
    if dim is None:
        return [("", rows)]
    found = []
    for label in dict.fromkeys(row[dim] for row in rows):
        named = f"level {label}" if dim == "level" else plain(label).replace("_", " ")
        found.append((named, [row for row in rows if row[dim] == label]))
    return found


def heat_rows(labels: list[str], levels: list[int], values: np.ndarray) -> list[Row]:
    return [
        {"setting": label, "level": level, "value": rounded(values[i, j], 3), "checkpoint": label}
        for i, label in enumerate(labels)
        for j, level in enumerate(levels)
        if np.isfinite(values[i, j])
    ]


def level_heat(rows: list[Row], order: list[str], title: str, words: str, *, top: float) -> Panel:
    """A heat map of settings by level on a common 0..top scale."""
    quiet = {"domain": False, "ticks": False}
    place: Json = {
        "x": channel("level:O", title="Level", axis={"labelAngle": 0, **quiet}),
        "y": channel("setting:N", title=None, sort=order, axis=quiet),
    }
    place["tooltip"] = tooltip(("setting:N", "Setting", ""), ("level:O", "Level", ""), ("value:Q", title, ".3f"))
    colour = channel(
        "value:Q",
        title=None,
        legend=None,
        scale={"range": theme.HEAT, "domain": [0, top], "clamp": True, "interpolate": "lab"},
    )
    ink = either(f"datum.value > {0.55 * top}", "#14171b", "#ffffff")
    cells = layer("rect", place | {"color": colour}, stroke="var(--paper)", strokeWidth=2)
    texts = layer("text", place | {"text": channel("value:Q", format=".2f"), "color": ink}, fontSize=11)
    return Panel([cells, texts], rows, words, title, 24 * len(order) + 40)


def theory(results: Results, headline: Headline | None) -> list[Figure]:
    """What the theory expects of each setting beside what was measured."""
    sets = expected_on(results, "expected_level_share")
    levels = [by_level(results, data, f"theory-levels-{data}" if len(sets) > 1 else "theory-levels") for data in sets]
    return [figure for figure in (binding(results, headline), *levels) if figure]


def binding(results: Results, headline: Headline | None) -> Figure | None:
    """Measured representation level against the expected binding level (and mean height of c)."""
    if headline is None or headline.name != "representation_level":
        return None
    panels = []
    for name, title in (
        ("expected_binding_level", "Expected binding level"),
        ("expected_mean_height", "Expected mean height of c (Theorem 1)"),
    ):
        values = expected(results, name, headline.data)
        if values is None or values.ndim != 1:
            continue
        place = {c.name: number(values[c.index]) for c in results.checkpoints}
        rows = [
            {**row, "expected": rounded(place[row["checkpoint"]], 4)}
            for row in headline.trained
            if place[row["checkpoint"]] is not None
        ]
        if len({row["expected"] for row in rows}) > 1:
            panels.append(scatter(results, headline, rows, title))
    if not panels:
        return None
    text = (
        f"Each mark is a checkpoint{' with its interval' if bounded(panels) else ''}, coloured by ratio and shaped by "
        "patch size. "
        "Rank correlations are over checkpoints, which are a designed grid and no sample: they have no interval."
    )
    legend = colouring(results, panels[0].rows, "ratio").keys()
    legend += [
        Key(f"{patch:g} px", SOFT, shape)
        for patch, shape in zip(headline.patches, theme.MARKS, strict=False)  # as many as there are
    ]
    return Figure("theory-binding", "Measured level against what the masks ask for", panels, text, legend, columns=2)


def scatter(results: Results, headline: Headline, rows: list[Row], title: str) -> Panel:
    looks = {"title": results.axis_title(headline.name), "scale": {"domain": domain(rows), "zero": False}}
    x = channel("expected:Q", title=title, scale={"zero": False, "padding": 14}, axis={"tickCount": 6})
    colour = colouring(results, rows, "ratio").encode()
    shape = channel("patch:N", title="Patch size (px)", scale={"domain": headline.patches, "range": list(theme.MARKS)})
    tips = tooltip(*WHO, ("expected:Q", title, ".3f"), *number_fields(results.title(headline.name)))
    bars = {"x": x, "y": channel("lower:Q", **looks), "y2": {"field": "upper"}, "color": colour}
    marks = {"x": x, "y": channel("value:Q", **looks), "color": colour, "shape": shape, "tooltip": tips}
    layers = [layer("point", marks, filled=True, size=70, opacity=1)]
    if any(row["lower"] is not None for row in rows):
        layers.insert(0, layer("rule", bars, HAS_INTERVAL))
    rho = rank_correlation([row["expected"] for row in rows], [row["value"] for row in rows])
    heading = f"{title}: rank correlation {rho:.2f}".replace("-", "−") if np.isfinite(rho) else title
    return Panel(
        layers,
        rows,
        f"{results.title(headline.name)} against {lowered(title)}, {len(rows)} checkpoints. {heading}.",
        heading,
        260,
        shared_legend=True,
    )


def by_level(results: Results, data: str, key: str) -> Figure | None:
    """Three heat maps of an image set, settings by level: what Theorem 1 asks for, what can be read out, what the
    features are made of."""
    asked = expected(results, "expected_level_share", data)
    panels: list[Panel] = []
    members = [
        c for c in results.checkpoints if not c.untrained and asked is not None and np.isfinite(asked[c.index]).any()
    ]
    rows_of: dict[str, list[int]] = {}
    for c in sorted(members, key=lambda c: (c.patch or 0, c.ratio or 0)):
        alike = {other.setting_index for other in members if other.setting == c.setting}
        rows_of.setdefault(c.setting if len(alike) == 1 else f"{c.setting}, {c.family or c.name}", []).append(c.index)
    order = list(rows_of)
    if asked is None or asked.ndim != 2 or not order or "level" not in results.ds.dims:
        return None
    levels = [int(level) for level in results.labels("level")]

    def averaged(values: np.ndarray) -> np.ndarray:
        return np.array([nanmean(values[rows], 0) for rows in rows_of.values()])

    tables = [("Asked for: share of c (Theorem 1)", asked)]
    twin = "expected_level_share_ci"
    intervals = twin in results.ds and bool(np.isfinite(results.picked(twin).values).any())
    for name, title in (("latent_r2", "Recovered: R² of latents"), ("level_share", "Made of: share of variance")):
        if name in results.names and data in results.where(name):
            values, bounds = results.values(name, data, keep=("level",))
            tables.append((title, values))
            intervals |= bounds is not None and bool(np.isfinite(bounds).any())
    for title, values in tables:
        cells = averaged(values)
        rows = heat_rows(order, levels, cells)
        if rows:
            panels.append(
                level_heat(rows, order, title, f"{title}: {len(order)} settings by {len(levels)} levels.", top=1.0)
            )
    text = f"Rows are settings, means over seeds{' (intervals: in the table of all numbers)' if intervals else ''}; "
    text += f"{level_words(levels)}. "
    text += "; ".join(
        f"{results.title(name)}: {results.choose(name, keep=('level',)).words}"
        for name in ("latent_r2", "level_share")
        if name in results.names and data in results.where(name)
    )
    title = f"Asked for, recovered, made of, {data}"
    return Figure(key, title, panels, text.rstrip(" .") + ".", columns=3)


def level_words(levels: Sequence[int]) -> str:
    """What the ends of a file's levels are."""
    return "level 0 is pixel noise, the highest the root" if 0 in levels else "the highest level is the root"


def embeddings(results: Results, *, points: int = 300, dots: int = 2400) -> list[Figure]:
    """t-SNE of features, a panel for each checkpoint: up to `points` images each and `dots` in all, by image set."""
    if "embedding_xy" not in results.ds:
        return []
    last = {"layer_kept": -1} if "layer_kept" in results.ds.variables["embedding_xy"].dims else {}
    array = results.picked("embedding_xy", **last).transpose("checkpoint", "data", "image", "axis")
    found = []
    for j, data in enumerate(results.data):
        xy = np.asarray(array.values[:, j], dtype=float)
        alive = [c for c in results.checkpoints if np.isfinite(xy[c.index]).all(-1).any()]
        labels = np.asarray(results.ds.variables["label"].values[j]) if "label" in results.ds else np.zeros(xy.shape[1])
        each = max(60, min(points, dots // max(len(alive), 1)))
        panels = [scatter_xy(xy[c.index], labels, c.name, each) for c in alive]
        if panels:
            caption = f"One mark per test image ({counted(panels, each)}), by class."
            caption += " t-SNE keeps neighbourhoods, not distances."
            found.append(Figure(f"embedding-{data}", f"t-SNE of features, {data}", panels, caption, columns=4))
    return found


def counted(panels: Sequence[Panel], most: int) -> str:
    """How many marks panels have, e.g. "the first 300" where no more are drawn, "120" where there are no more."""
    few, many = min(len(panel.rows) for panel in panels), max(len(panel.rows) for panel in panels)
    count = f"{few} to {many}" if few < many else f"{many}"
    return f"the first {count}" if many == most else count


def scatter_xy(xy: np.ndarray, labels: np.ndarray, name: str, points: int) -> Panel:
    alive = np.flatnonzero(np.isfinite(xy).all(-1))[:points]
    rows: list[Row] = [
        {"x": rounded(xy[i, 0], 4), "y": rounded(xy[i, 1], 4), "class": plain(labels[i]), "checkpoint": name}
        for i in alive
    ]
    bare = {"axis": None, "scale": {"zero": False, "padding": 6}}
    classes = sorted({row["class"] for row in rows}, key=lambda label: (len(label), label))
    keys = class_keys(classes)
    looks = {"color": [key.colour for key in keys], "shape": [key.shape for key in keys]}
    told = {
        name: channel("class:N", title="Class", scale={"domain": classes, "range": each})
        for name, each in looks.items()
    }
    encoding = {
        "x": channel("x:Q", **bare),
        "y": channel("y:Q", **bare),
        "tooltip": tooltip(("class:N", "Class", "")),
        **told,
    }
    marks = [layer("point", encoding, filled=True, size=24, opacity=0.8)]
    words = f"t-SNE of {len(rows)} images by {name}, coloured by {len(classes)} classes."
    shown = tuple(keys) if len(keys) <= MOST_KEYS else ()
    return Panel(marks, rows, words, name, 200, shared_legend=True, keys=shown)


def class_keys(classes: list[str]) -> list[Key]:
    """A colour and a shape for each class; of more classes than colours, no two have both alike (up to 56)."""
    colours, shapes = theme.categories(len(classes)), theme.MARKS
    step = len(shapes) if len(classes) <= len(shapes) else len(shapes) - 1
    return [Key(label, colours[i], shapes[i % step], group="Class") for i, label in enumerate(classes)]
