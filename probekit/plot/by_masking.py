"""The charts of the first screen: the heat map of ratio against patch size, and the curve with intervals and seeds."""

from __future__ import annotations

from dataclasses import replace

from probekit.plot import recovery, theme
from probekit.plot.curves import choice_panels, dot_panel, why_none
from probekit.plot.figure import TRAINED, Figure, Panel, bounded, channel, either, fitting, layer, tooltip
from probekit.plot.grids import on_axis
from probekit.plot.headline import Headline
from probekit.plot.last_layer import choice_figure
from probekit.plot.legends import NOUN

ACCURACIES = ("attentive_accuracy", "linear_accuracy", "knn_accuracy")
"""What stands beside the ladder on ordinary images: the first that was measured."""


def figures(headline: Headline) -> list[Figure]:
    """Two figures: on known latents the recovery profile and its sums, on ordinary images the ladder and an accuracy;
    else the heat map (where both choices vary) and the curve. A plain comparison where no choice varies."""
    results, data = headline.results, headline.data
    if headline.name == "gain_amount":
        found = [recovery.gain_figure(results, data), recovery.summary_figure(results, data)]
        if found[0] is not None:
            return [figure for figure in found if figure]
    varies = len(headline.ratios) > 1 or len(headline.patches) > 1
    first = curve(headline) if varies else comparison(headline)
    beside = accuracy(headline) if headline.name == "ladder_level" else None
    if beside is not None:
        return [first, beside]
    return [*([heat_map(headline)] if headline.is_grid else []), first]


def accuracy(headline: Headline) -> Figure | None:
    """The accuracy that stands beside the ladder, on the same images where it was measured there."""
    results = headline.results
    for name in ACCURACIES:
        where = results.where(name) if name in results.names else []
        if where:
            data = headline.data if headline.data in where else where[0]
            title = f"{results.title(name)}, {data}"
            found = choice_figure(results, [name], data, "headline-accuracy", title)
            return found and replace(found, columns=min(2, len(found.panels)))
    return None


def heat_map(headline: Headline) -> Figure:
    title = headline.results.title(headline.name)
    rows = [row for row in headline.grid_rows if row["ratio"] is not None and row["patch"] is not None]
    means = [setting.mean for setting in headline.settings]
    low, high = min(means), max(means)
    quiet = {"domain": False, "ticks": False}
    x = channel("ratio:O", title="Mask ratio", axis={"labelAngle": 0, **quiet})
    y = channel("patch:O", title="Patch size (px)", sort="descending", axis=quiet)
    kinds = (("mean", "mean"), ("min", "low"), ("max", "high"), ("count", "seeds"))
    over_seeds = [
        {"aggregate": [{"op": op, "field": "value", "as": name} for op, name in kinds], "groupby": ["ratio", "patch"]}
    ]
    scale = {"range": theme.HEAT, "interpolate": "lab", "domain": [low, high if high > low else low + 1]}
    tips = tooltip(
        ("ratio:O", "Mask ratio", ""), ("patch:O", "Patch size (px)", ""), ("mean:Q", "Mean over seeds", ".3f"),
        ("low:Q", "Lowest seed", ".3f"), ("high:Q", "Highest seed", ".3f"), ("seeds:Q", "Runs", "d"),
    )  # fmt: skip
    colour = channel("mean:Q", title=None, scale=scale, legend=None)
    ink = either(f"datum.mean > {low + 0.55 * (high - low)}", "#14171b", "#ffffff")
    cell = {"x": x, "y": y, "tooltip": tips}
    layers = [
        layer(
            "rect",
            cell | {"color": colour},
            TRAINED,
            transform=over_seeds,
            cornerRadius=2,
            stroke="var(--paper)",
            strokeWidth=3,
        ),
        layer(
            "text",
            cell | {"text": channel("mean:Q", format=".2f"), "color": ink},
            TRAINED,
            transform=over_seeds,
            fontSize=fitting(14, len(headline.ratios), 5),
            fontWeight=600,
        ),
    ]
    best = max(headline.settings, key=lambda setting: setting.mean)
    words = (
        f"Heat map: {title} for {len(headline.ratios)} mask ratios and {len(headline.patches)} patch sizes; "
        f"highest, {best.mean:.2f}, at ratio {best.ratio:g} and {best.patch:g} px."
    )
    panel = Panel(layers, rows, words, "", 260)
    several = max(len(setting.values) for setting in headline.settings) > 1
    bounds = any(row["lower"] is not None for row in rows)
    return Figure(
        "headline-heat-map",
        f"{title} by mask ratio and patch size",
        [panel],
        ("Means over seeds" if several else "One run per cell")
        + f"; brighter is higher{'; intervals in the curve' if bounds else ''}.{meaning(headline)}",
    )


def meaning(headline: Headline) -> str:
    """What the ends of the scale are, for a height among the levels of the file."""
    results = headline.results
    if headline.name != "representation_level" or "level" not in results.ds.dims:
        return ""
    levels = results.labels("level")
    noise = "Level 0 is pixel noise, level" if 0 in levels else "Level"
    return f" {noise} {levels[-1]} {'' if 0 in levels else 'is '}the root of the generating process."


def curve(headline: Headline) -> Figure:
    """Along the ratio if it varies, else along the patch size: one line per value of the other."""
    results, name = headline.results, headline.name
    panels = choice_panels(results, name, headline.rows, height=235)
    noun = NOUN[on_axis(headline.trained, len(theme.DASHES))[0] or "ratio"].removesuffix(" (px)").lower()
    against = f"against {noun}" if results.by is None else f"by {results.by.replace('_', ' ')}"
    seeds = any(setting.by_seed for setting in headline.settings)
    dots = "Dots: checkpoints" + (", one per seed," if seeds else "")
    dots += " with the 95 % interval of each" if bounded(panels) else f" (no interval: {why_none(results, name)})"
    lines = "; lines: means over seeds" if seeds else ""
    dashed = "; level dashes: baselines" if headline.baseline else ""
    return Figure(
        "headline-curve",
        f"{results.title(name)} {against}",
        panels,
        f"{dots}{lines}{dashed}." + ("" if headline.is_grid else meaning(headline)),
    )


def comparison(headline: Headline) -> Figure:
    """One dot per checkpoint: what is left to show when nothing is known about how they were masked."""
    results, name = headline.results, headline.name
    panel = dot_panel(results, name, headline.rows)
    several = len(headline.rows) > 1
    dots = f"Dot{'s' if several else ''} with 95 % interval{'s' if several else ''}"
    bars = dots if bounded([panel]) else f"No interval: {why_none(results, name)}"
    order = ", highest first" if several else ""
    return Figure("headline-comparison", f"{results.title(name)} by checkpoint", [panel], f"{bars}{order}.")
