"""What a mask at evaluation does: curves over the evaluation ratio, a panel for each unit that is hidden as a whole."""

from __future__ import annotations

from probekit.plot.curves import WHO, entries, extremes
from probekit.plot.figure import (
    HAS_INTERVAL,
    TRAINED,
    UNTRAINED,
    Figure,
    Key,
    Panel,
    channel,
    columns,
    domain,
    in_lines,
    layer,
    number_fields,
    tooltip,
)
from probekit.plot.legends import SOFT, Colouring, colouring, kinds, with_kind
from probekit.plot.rows import Results, Row

NAMES = ("response_similarity", "response_cka", "response_level", "response_ssim", "response_mse")
KEPT = ("eval_mask_ratio", "eval_patch_size")


def response_figure(results: Results, name: str, data: str) -> Figure | None:
    """Curves of one quantity on one image set, coloured by training ratio (or the reader's own grouping)."""
    if name not in results.names or data not in results.where(name):
        return None
    rows = with_kind(results, results.rows(name, data, keep=KEPT))
    key = "by" if results.by is not None else "ratio" if any(row["ratio"] is not None for row in rows) else "checkpoint"
    sizes = sorted({row["eval_patch_size"] for row in rows})
    bounds = domain(rows)
    panels = [
        panel(
            results,
            name,
            [row for row in rows if row["eval_patch_size"] == size],
            key,
            bounds,
            f"Hidden units of {size:g} px",
        )
        for size in sizes
    ]
    colours, signs = told(results, rows, key)
    legend = list(entries(colours, signs, line=True)) if colours.readable else []
    legend += [Key("baseline, untrained", SOFT, dash=(3, 3))] if any(row["untrained"] for row in rows) else []
    caption = "Each curve is a checkpoint."
    if any(map(trained_so, rows)):
        caption += " A ring marks the ratio that it was trained with, where that is on the curve."
    words = results.choose(name, keep=KEPT).words
    caption += f" Shown: {words}." if words else ""
    title = f"{results.title(name)} against the evaluation mask, {data}"
    return Figure(f"{name}-{data}", title, panels, caption, legend, columns=columns(len(panels)))


def told(results: Results, rows: list[Row], key: str) -> tuple[Colouring, Colouring]:
    """What colours the curves, and what tells them by shape and dash: families where there are several and ratios or
    groups have the colours."""
    trained = [row for row in rows if not row["untrained"]]
    colours, families = colouring(results, rows, key), kinds(results, trained)
    return colours, families if families.several and key == "ratio" else colours


def trained_so(row: Row) -> bool:
    """Whether the evaluation ratio is that of training."""
    return bool(row["ratio"] == row["eval_mask_ratio"])


def panel(results: Results, name: str, rows: list[Row], key: str, bounds: list[float], title: str) -> Panel:
    """The curves of one unit."""
    looks = {"title": in_lines(results.axis_title(name)), "scale": {"domain": bounds, "zero": False}}
    ticks = sorted({row["eval_mask_ratio"] for row in rows})
    x = channel("eval_mask_ratio:Q", title="Evaluation mask ratio", axis={"values": ticks, "format": ".2~f"})
    colours, signs = told(results, rows, key)
    y, colour = channel("value:Q", **looks), colours.encode()
    detail = channel("checkpoint:N")
    tips = tooltip(*WHO, ("eval_mask_ratio:Q", "Evaluation ratio", ""), *number_fields(results.title(name)))
    lines = {"x": x, "y": y, "color": colour, "detail": detail, **signs.dash()}
    layers = [layer("line", lines, TRAINED, strokeWidth=1.5)]
    if len({row["checkpoint"] for row in rows}) <= 6 and any(row["lower"] is not None for row in rows):
        band = {"x": x, "y": channel("lower:Q", **looks), "y2": {"field": "upper"}, "color": colour, "detail": detail}
        layers.insert(0, layer("area", band, TRAINED, HAS_INTERVAL, opacity=0.12))
    dots = {"x": x, "y": y, "color": colour, "tooltip": tips, **signs.shape()}
    layers.append(layer("point", dots, TRAINED, filled=True, size=24, opacity=1))
    if any(row["untrained"] for row in rows):
        plain = {"x": x, "y": y, "detail": detail, "tooltip": tips}
        layers.append(layer("line", plain, UNTRAINED, strokeDash=[3, 3], color=SOFT, strokeWidth=1.5))
    if any(map(trained_so, rows)):
        own = {"x": x, "y": y, "color": colour, "tooltip": tips}
        same = "datum.ratio === datum.eval_mask_ratio"
        layers.append(layer("point", own, same, size=110, filled=False, strokeWidth=2))
    words = f"{results.title(name)} over the evaluation mask ratio, {title.lower()}: {extremes(rows)}."
    return Panel(layers, rows, words, title, 200, shared_legend=True)
