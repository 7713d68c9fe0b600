"""The recovery profile: what training added at each level, how much in all, and how high it lies.

A heat map of level by setting. A star marks a level's best setting where runs of several seeds tell it from every other
setting; all levels are tested as one family.
"""

from __future__ import annotations

from collections import defaultdict

from probekit.plot import theme
from probekit.plot.curves import choice_panels
from probekit.plot.figure import Figure, Panel, channel, either, layer, tooltip
from probekit.plot.rows import Results, Row, rounded
from probekit.results.directions import directions

NAME = "recovery_gain"
SUMMARIES = ("gain_amount", "gain_height")


def profile_figure(results: Results, data: str) -> Figure | None:
    """Heat map, amount and height on one image set; None where there is no recovery profile."""
    if NAME not in results.names or data not in results.where(NAME):
        return None
    rows = [row for row in results.rows(NAME, data, keep=("level",)) if not row["untrained"]]
    panels = [profile_panel(rows)] if rows else []
    for name in SUMMARIES:
        if name in results.names and data in results.where(name):
            panels += choice_panels(results, name, results.rows(name, data), title=results.title(name))
    if not panels:
        return None
    caption = (
        "Gain: R² of each level's own noise, minus that of the untrained encoder of the same architecture; means over "
        "seeds. A star: seeds tell this setting from every other one at its level (one corrected family). Amount: the "
        "sum of the gains; height: their mean level, where the amount is above 0. Dots: checkpoints, with 95 % "
        "intervals over images."
    )
    return Figure(f"profile-{data}", f"Recovery profile, {data}", panels, caption, columns=min(3, len(panels)))


def profile_panel(rows: list[Row]) -> Panel:
    """The heat map: a row per level, the highest on top; a column per setting."""
    values: dict[int, dict[int, dict[float, float]]] = defaultdict(lambda: defaultdict(dict))
    words: dict[int, str] = {}
    for row in rows:
        here = values[row["level"]][row["setting_index"]]
        here[row["seed"] if row["seed"] is not None else -1.0 - len(here)] = row["value"]
        words[row["setting_index"]] = row["setting"]
    masking = {row["setting_index"]: (row["patch"] or 0, row["ratio"] or 0) for row in rows}
    order = sorted(words, key=lambda index: (masking[index], index))
    levels = sorted(values)
    found = directions([[values[level][index] for index in order] for level in levels])
    cells: list[Row] = []
    for level, direction in zip(levels, found, strict=True):
        best = direction.extreme if direction.shape != "dips" else int(direction.means.argmax())
        alone = direction.tested and all(direction.differ(best, i) for i in range(len(order)) if i != best)
        for i, index in enumerate(order):
            mean = direction.means[i]
            if mean == mean:
                mark = f"{mean:.2f}{' ★' if alone and i == best else ''}".replace("-", "−")
                cells.append(
                    {"checkpoint": words[index], "setting": words[index], "level": level, "value": rounded(mean, 4),
                     "mark": mark, "runs": len(values[level][index])}
                )  # fmt: skip
    quiet = {"domain": False, "ticks": False}
    place = {
        "x": channel(
            "setting:N", title=None, sort=[words[index] for index in order], axis={"labelAngle": -40, **quiet}
        ),
        "y": channel("level:O", title="Level", sort="descending", axis=quiet),
        "tooltip": tooltip(
            ("setting:N", "Setting", ""), ("level:O", "Level", ""), ("value:Q", "Gain", ".3f"), ("runs:Q", "Runs", "d")
        ),
    }
    top = max((cell["value"] for cell in cells), default=1.0)
    low = min(0.0, min((cell["value"] for cell in cells), default=0.0))
    scale = {"range": theme.HEAT, "domain": [low, top if top > low else low + 1], "interpolate": "lab"}
    colour = channel("value:Q", title=None, legend=None, scale=scale)
    ink = either(f"datum.value > {low + 0.55 * (top - low)}", "#14171b", "#ffffff")
    layers = [
        layer("rect", place | {"color": colour}, stroke="var(--paper)", strokeWidth=2),
        layer("text", place | {"text": channel("mark:N"), "color": ink}, fontSize=12),
    ]
    text = f"Heat map of the gain by level and setting: {len(levels)} levels, {len(order)} settings."
    return Panel(layers, cells, text, "Gain by level and setting", 44 * len(levels) + 80)
