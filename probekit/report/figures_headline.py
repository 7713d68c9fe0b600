"""The charts of the first screen: the heat map of ratio against patch size, and the curve with intervals and seeds."""

from __future__ import annotations

import altair as alt

from probekit.report import theme
from probekit.report.figure import Figure, Panel, base, domain, number_fields, tooltip
from probekit.report.headline import Headline
from probekit.report.results import Row

WHO = [("checkpoint:N", "Checkpoint", ""), ("setting:N", "Setting", "")]


def figures(headline: Headline) -> list[Figure]:
    """The heat map (where both choices vary) and the curve; a plain comparison where neither is known."""
    found = []
    if headline.is_grid:
        found.append(heat_map(headline))
    if len(headline.ratios) > 1 or len(headline.patches) > 1:
        found.append(curve(headline))
    if not found:
        found.append(comparison(headline))
    return found


def heat_map(headline: Headline) -> Figure:
    title = headline.results.title(headline.name)
    rows = [row for row in headline.trained if row["ratio"] is not None and row["patch"] is not None]
    means = [setting.mean for setting in headline.settings]
    middle = (min(means) + max(means)) / 2
    x = alt.X("ratio:O", title="Mask ratio", axis=alt.Axis(labelAngle=0, domain=False, ticks=False))
    y = alt.Y("patch:O", title="Patch size (px)", sort="descending", axis=alt.Axis(domain=False, ticks=False))
    mean = base().transform_aggregate(mean="mean(value)", low="min(value)", high="max(value)", seeds="count()", groupby=["ratio", "patch"])
    colour = alt.Color("mean:Q", title=None, scale=alt.Scale(range=theme.HEAT, interpolate="lab", domain=domain([{"value": v} for v in means], pad=0)), legend=None)
    tips = tooltip(("ratio:O", "Mask ratio", ""), ("patch:O", "Patch size (px)", ""), ("mean:Q", "Mean over seeds", ".3f"), ("low:Q", "Lowest seed", ".3f"), ("high:Q", "Highest seed", ".3f"), ("seeds:Q", "Runs", "d"))
    cells = mean.mark_rect(cornerRadius=2, stroke="var(--paper)", strokeWidth=3).encode(x, y, colour, tooltip=tips)
    label = alt.condition(f"datum.mean > {middle}", alt.value("#14171b"), alt.value("#ffffff"))
    texts = mean.mark_text(fontSize=14, fontWeight=600).encode(x, y, alt.Text("mean:Q", format=".2f"), color=label, tooltip=tips)
    best = max(headline.settings, key=lambda setting: setting.mean)
    words = f"Heat map: {title} for {len(headline.ratios)} mask ratios and {len(headline.patches)} patch sizes; highest, {best.mean:.2f}, at ratio {best.ratio:g} and {best.patch:g} px."
    panel = Panel(alt.layer(cells, texts), rows, words, "", 52 * len(headline.patches) + 20)
    several = max(len(setting.values) for setting in headline.settings) > 1
    return Figure("headline-heat-map", f"{title} by mask ratio and patch size", [panel], "Means over seeds; brighter is higher." if several else "One run per cell; brighter is higher.")


def curve(headline: Headline) -> Figure:
    """Along the ratio if it varies, else along the patch size: one line per value of the other."""
    along, other = ("ratio", "patch") if len(headline.ratios) > 1 else ("patch", "ratio")
    noun = {"ratio": "Mask ratio", "patch": "Patch size (px)"}
    results, name = headline.results, headline.name
    rows = dodge([row for row in headline.trained if row[along] is not None], along, other)
    groups = sorted({row[other] for row in rows if row[other] is not None})
    looks = {"title": results.axis_title(name), "scale": alt.Scale(domain=domain(headline.rows), zero=False)}
    y, y_low = alt.Y("value:Q", **looks), alt.Y("lower:Q", **looks)
    ticks = headline.ratios if along == "ratio" else headline.patches
    scale = alt.Scale(zero=False, nice=False, padding=18, **({} if along == "ratio" else {"type": "log", "base": 2}))
    axis = alt.Axis(values=ticks, format="~g", grid=False)
    colour = alt.Color(f"{other}:O", title=noun[other], scale=alt.Scale(domain=groups, range=theme.CATEGORIES[: len(groups)]), legend=alt.Legend() if len(groups) > 1 else None)
    means = base().transform_aggregate(value="mean(value)", groupby=[along, other]).mark_line().encode(alt.X(f"{along}:Q", title=noun[along], scale=scale, axis=axis), y, colour)
    place = alt.X("place:Q", scale=scale, title=noun[along], axis=axis)
    tips = tooltip(*WHO, ("seed:Q", "Seed", ""), *number_fields(results.title(name)))
    dots = base().mark_circle(size=42, opacity=1).encode(place, y, colour, tooltip=tips)
    rules = base().transform_filter("isValid(datum.lower)").mark_rule(opacity=0.75).encode(place, y_low, alt.Y2("upper:Q"), colour)
    layers = [means, rules, dots]
    layers += baseline_layers(headline, y)
    words = f"{results.title(name)} against {noun[along].lower()}, one line for each of {len(groups) or 1} {noun[other].lower()}s, one dot with interval for each of {len(rows)} checkpoints."
    several = headline.seeds.freedom > 0
    caption = ("Dots are checkpoints (one per seed) with the 95 % interval of each; lines join means over seeds." if several else "Dots are checkpoints with the 95 % interval of each.") + (
        " Dashed: untrained." if headline.baseline else ""
    )
    return Figure("headline-curve", f"{results.title(name)} against {noun[along].lower()}", [Panel(alt.layer(*layers), rows + headline.baseline, words, "", 280)], caption)


def dodge(rows: list[Row], along: str, other: str) -> list[Row]:
    """Rows with a `place` beside their true position, so that dots of one setting don't cover each other."""
    values = sorted({row[along] for row in rows})
    width = (values[-1] - values[0]) * 0.012
    groups = sorted({(row[other] or 0, row["seed"] or 0) for row in rows})
    middle = (len(groups) - 1) / 2
    out = []
    for row in rows:
        step = groups.index((row[other] or 0, row["seed"] or 0)) - middle
        shift = width * step / max(middle, 1) * min(len(groups), 4) / 2
        place = row[along] + shift if along == "ratio" else row[along] * (1 + 0.02 * step)
        out.append({**row, "place": round(place, 5)})
    return out


def baseline_layers(headline: Headline, y: alt.Y) -> list[alt.Chart]:
    """A dashed line where an untrained encoder stands."""
    if not headline.baseline:
        return []
    only = base().transform_filter("datum.untrained")
    rule = only.mark_rule(strokeDash=[3, 3], color="var(--soft)").encode(y)
    return [rule]


def comparison(headline: Headline) -> Figure:
    """One dot per checkpoint: what is left to show when nothing is known about how they were masked."""
    results, name = headline.results, headline.name
    looks = {"title": results.axis_title(name), "scale": alt.Scale(zero=False, domain=domain(headline.rows))}
    x, x_low = alt.X("value:Q", **looks), alt.X("lower:Q", **looks)
    y = alt.Y("checkpoint:N", title=None, sort=alt.EncodingSortField("value", order="descending"), axis=alt.Axis(labelLimit=220))
    tips = tooltip(*WHO, *number_fields(results.title(name)))
    rules = base().transform_filter("isValid(datum.lower)").mark_rule(color="var(--c1)").encode(x_low, y, alt.X2("upper:Q"))
    dots = base().mark_circle(size=60, color="var(--c1)", opacity=1).encode(x, y, tooltip=tips)
    words = f"{results.title(name)} of {len(headline.rows)} checkpoints, each with its interval."
    panel = Panel(alt.layer(rules, dots), list(headline.rows), words, "", max(60, 26 * len(headline.rows)))
    return Figure("headline-comparison", f"{results.title(name)} by checkpoint", [panel], "Dots with 95 % intervals, highest first.")

