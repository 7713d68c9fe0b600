"""The other charts: quantities at the last layer, paired differences, theory beside measurement, published figures,
t-SNE."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from probekit.report import theme
from probekit.report.differences import Differences
from probekit.report.figure import (
    HAS_INTERVAL,
    Figure,
    Json,
    Panel,
    channel,
    columns,
    domain,
    either,
    layer,
    number_fields,
    tooltip,
)
from probekit.report.figures_curves import WHO, choice_panel, colouring, dot_panel
from probekit.report.headline import Headline
from probekit.report.results import Results, Row, nanmean, number, plain, rounded
from probekit.report.statistics import rank_correlation

APART = ("shift", "property", "map", "level")
"""Dimensions of which every label gets a panel of its own."""


def choice_figure(results: Results, names: Iterable[str], data: str, key: str, title: str) -> Figure | None:
    """Several quantities on one image set against the training choice, a panel each."""
    panels, words = [], set()
    for name in names:
        if data not in results.where(name):
            continue
        for label, rows in split(results, name, data):
            heading = results.title(name) + (f", {label}" if label else "")
            panel = choice_panel(results, name, rows, title=heading) or dot_panel(results, name, rows, title=heading)
            panels.append(panel)
        if results.choose(name, APART).words:
            words.add(f"{results.title(name)}: {results.choose(name, APART).words}")
    if not panels:
        return None
    caption = "Dots: checkpoints with the 95 % interval of each; lines: means over seeds; dashed: baselines."
    caption += f" {'; '.join(sorted(words))}." if words else ""
    missing = sorted(
        {f"{results.title(name)}: {results.no_interval(name)}" for name in names if results.interval(name) is None}
    )
    caption += f" No interval for {'; '.join(missing)}." if missing else ""
    return Figure(key, title, panels, caption, columns=columns(len(panels)))


def split(results: Results, name: str, data: str) -> list[tuple[str, list[Row]]]:
    """Rows of a quantity for each family of checkpoints, and for each label of a dimension in `APART`, where it has
    one."""
    dim = next((dim for dim in APART if dim in results.dims(name)), None)
    rows = results.rows(name, data, keep=(dim,) if dim else ())
    labels = list(dict.fromkeys(row[dim] for row in rows)) if dim else [""]
    families = list(dict.fromkeys(row["family"] for row in rows if not row["untrained"])) or [""]
    found = []
    for label in labels:
        for family in families:
            mine = [r for r in rows if (dim is None or r[dim] == label) and (r["untrained"] or r["family"] == family)]
            named = f"level {label}" if dim == "level" else plain(label).replace("_", " ")
            title = ", ".join(part for part in (named, family if len(families) > 1 else "") if part)
            found.append((title, mine))
    return found


def forest(differences: Differences) -> Figure | None:
    """Differences to one reference, each with its interval; the page can change quantity and reference."""
    if not differences.quantities:
        return None
    first = differences.quantities[0]
    rows = differences.rows(first)
    if not rows:
        return None
    names = max(len(quantity.checkpoints) for quantity in differences.quantities)
    y = channel("checkpoint:N", title=None, sort={"field": "value", "order": "descending"}, axis={"labelLimit": 190})
    apart = either("datum.lower > 0 || datum.upper < 0", "var(--c1)", "var(--c7)")
    tips = tooltip(*WHO, *number_fields("Difference"))
    x = {"title": "Difference", "axis": {"tickCount": 7}}
    bars = {"x": channel("lower:Q", **x), "x2": {"field": "upper"}, "y": y, "color": apart, "tooltip": tips}
    dots = {"x": channel("value:Q", **x), "y": y, "color": apart, "tooltip": tips}
    zero: Json = {
        "data": {"values": [{}]},
        **layer("rule", {"x": {"datum": 0}}, color="var(--soft)", strokeDash=[2, 2]),
    }
    layers = [zero, layer("rule", bars, strokeWidth=2), layer("circle", dots, size=46, opacity=1)]
    reference = differences.results.checkpoints[first.checkpoints[first.reference]].name
    words = f"Paired differences of {first.title} to {reference}, with intervals; {len(rows)} checkpoints."
    panel = Panel(layers, rows, words, "", 16 * min(names, len(rows)) + 30)
    caption = (
        "Each checkpoint minus the reference, over the images both were measured on; 95 % interval by normal "
        "approximation to the "
        "per-image differences. Blue: the interval excludes 0. It separates two checkpoints, not two settings: "
        "that takes seeds."
    )
    return Figure("differences", "Paired differences", [panel], caption, columns=1)


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
    place = {
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
    return [figure for figure in (binding(results, headline), by_level(results)) if figure]


def expected(results: Results, name: str) -> np.ndarray | None:
    """An expectation per checkpoint, the first finite one where it is stored for several image sets."""
    if name not in results.ds:
        return None
    array = results.ds[name]
    array = array.max("data") if "data" in array.dims else array
    values = np.asarray(array.transpose("checkpoint", ...).values, dtype=float)
    return values if np.isfinite(values).any() else None


def binding(results: Results, headline: Headline | None) -> Figure | None:
    """Measured representation level against the expected binding level (and mean height of c)."""
    if headline is None or headline.name != "representation_level":
        return None
    panels = []
    for name, title in (
        ("expected_binding_level", "Expected binding level"),
        ("expected_mean_height", "Expected mean height of c (Theorem 1)"),
    ):
        values = expected(results, name)
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
        "Each mark is a checkpoint with its interval, coloured by ratio and shaped by patch size. "
        "Rank correlations are over checkpoints, which are a designed grid and no sample: they have no interval."
    )
    legend = colouring(results, panels[0].rows, "ratio").legend()
    legend += [
        (f"{sign} {patch:g} px", "transparent")
        for patch, (_, sign) in zip(headline.patches, SHAPES, strict=False)  # as many as there are
    ]
    return Figure("theory-binding", "Measured level against what the masks ask for", panels, text, legend, columns=2)


SHAPES = (
    ("circle", "●"), ("square", "■"), ("triangle-up", "▲"), ("diamond", "◆"), ("cross", "✚"), ("triangle-down", "▼"),
)  # fmt: skip
"""Marks of patch sizes, and the same as text."""


def scatter(results: Results, headline: Headline, rows: list[Row], title: str) -> Panel:
    looks = {"title": results.axis_title(headline.name), "scale": {"domain": domain(rows), "zero": False}}
    x = channel("expected:Q", title=title, scale={"zero": False, "padding": 14}, axis={"tickCount": 6})
    shapes = [shape for shape, _ in SHAPES]
    colour = colouring(results, rows, "ratio").encode()
    shape = channel("patch:N", title="Patch size (px)", scale={"domain": headline.patches, "range": shapes})
    tips = tooltip(*WHO, ("expected:Q", title, ".3f"), *number_fields(results.title(headline.name)))
    bars = {"x": x, "y": channel("lower:Q", **looks), "y2": {"field": "upper"}, "color": colour}
    marks = {"x": x, "y": channel("value:Q", **looks), "color": colour, "shape": shape, "tooltip": tips}
    layers = [layer("rule", bars, HAS_INTERVAL), layer("point", marks, filled=True, size=70, opacity=1)]
    rho = rank_correlation([row["expected"] for row in rows], [row["value"] for row in rows])
    heading = f"{title}: rank correlation {rho:.2f}".replace("-", "−") if np.isfinite(rho) else title
    return Panel(
        layers,
        rows,
        f"{results.title(headline.name)} against {title.lower()}, {len(rows)} checkpoints. {heading}.",
        heading,
        260,
        shared_legend=True,
    )


def by_level(results: Results) -> Figure | None:
    """Three heat maps, settings by level: what Theorem 1 asks for, what can be read out, what the features are made
    of."""
    asked = expected(results, "expected_level_share")
    panels: list[Panel] = []
    members = [
        c for c in results.checkpoints if not c.untrained and asked is not None and np.isfinite(asked[c.index]).any()
    ]
    order = list(dict.fromkeys(c.setting for c in sorted(members, key=lambda c: (c.patch or 0, c.ratio or 0))))
    if asked is None or asked.ndim != 2 or not order:
        return None
    levels = [int(level) for level in results.labels("level")]

    def averaged(values: np.ndarray) -> np.ndarray:
        rows = [[values[c.index] for c in members if c.setting == setting] for setting in order]
        return np.array([nanmean(np.array(group), 0) for group in rows])

    tables = [("Asked for: share of c (Theorem 1)", asked)]
    for name, title in (("latent_r2", "Recovered: R² of latents"), ("level_share", "Made of: share of variance")):
        if name in results.names and results.measured(name):
            values = results.values(name, results.where(name)[0], keep=("level",))[0]
            tables.append((title, values))
    for title, values in tables:
        cells = averaged(values)
        rows = heat_rows(order, levels, cells)
        if rows:
            panels.append(
                level_heat(rows, order, title, f"{title}: {len(order)} settings by {len(levels)} levels.", top=1.0)
            )
    text = "Rows are settings, means over seeds (intervals: in the table of all numbers); "
    text += "level 0 is pixel noise, the highest the root. "
    text += "; ".join(
        f"{results.title(name)}: {results.choose(name, keep=('level',)).words}"
        for name in ("latent_r2", "level_share")
        if name in results.names
    )
    return Figure("theory-levels", "Asked for, recovered, made of", panels, text + ".", columns=3)


def embeddings(results: Results, *, most: int = 4, points: int = 300) -> list[Figure]:
    """t-SNE of features, for up to `most` checkpoints spread over the settings, each image set a figure."""
    if "embedding_xy" not in results.ds:
        return []
    array = results.ds["embedding_xy"]
    if "layer_kept" in array.dims:
        array = array.isel(layer_kept=-1)
    array = array.transpose("checkpoint", "data", "image", "axis")
    found = []
    for j, data in enumerate(results.data):
        xy = np.asarray(array.values[:, j], dtype=float)
        alive = [c for c in results.checkpoints if np.isfinite(xy[c.index]).all(-1).any()]
        one_each = list({c.setting: c for c in reversed(alive)}.values())[::-1]
        chosen = (
            [one_each[round(i)] for i in np.linspace(0, len(one_each) - 1, min(most, len(one_each)))]
            if one_each
            else []
        )
        labels = np.asarray(results.ds["label"].values[j]) if "label" in results.ds else np.zeros(xy.shape[1])
        panels = [scatter_xy(xy[c.index], labels, c.setting, c.name, points) for c in chosen]
        if panels:
            caption = (
                f"One dot per test image, coloured by class. {len(chosen)} of {len(one_each)} settings. "
                "t-SNE keeps neighbourhoods, not distances."
            )
            found.append(Figure(f"embedding-{data}", f"t-SNE of features, {data}", panels, caption, columns=4))
    return found


def scatter_xy(xy: np.ndarray, labels: np.ndarray, setting: str, name: str, points: int) -> Panel:
    alive = np.flatnonzero(np.isfinite(xy).all(-1))[:points]
    rows = [
        {"x": rounded(xy[i, 0], 4), "y": rounded(xy[i, 1], 4), "class": plain(labels[i]), "checkpoint": name}
        for i in alive
    ]
    bare = {"axis": None, "scale": {"zero": False, "padding": 6}}
    classes = sorted({row["class"] for row in rows}, key=lambda label: (len(label), label))
    colours = [theme.CATEGORIES[i % len(theme.CATEGORIES)] for i in range(len(classes))]
    colour = channel("class:N", scale={"domain": classes, "range": colours}, legend=None)
    encoding = {
        "x": channel("x:Q", **bare),
        "y": channel("y:Q", **bare),
        "color": colour,
        "tooltip": tooltip(("class:N", "Class", "")),
    }
    marks = [layer("circle", encoding, size=18, opacity=0.8)]
    return Panel(
        marks, rows, f"t-SNE of {len(rows)} images by {name}, coloured by {len(classes)} classes.", setting, 200
    )
