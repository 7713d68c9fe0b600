"""How charts look. The same specification is drawn twice: in the page its colours are CSS variables, so that light,
dark and print are one stylesheet's business and need no redraw; in exported files they are the light theme's values.

Categories use Okabe and Ito's palette (distinguishable with any of the common colour-vision deficiencies), ordered
quantities a single ramp of rising lightness, and heat maps a ramp like viridis, whose lightness alone carries the
order.
"""

from __future__ import annotations

import json
import re
from typing import Any

LIGHT = {
    "ink": "#1b1f24", "soft": "#59636e", "faint": "#d5dae0", "grid": "#e9ecef", "paper": "#ffffff", "panel": "#f6f7f9",
    "accent": "#0b5cad", "on": "#ffffff",
    "c1": "#0072b2", "c2": "#d55e00", "c3": "#009e73", "c4": "#cc79a7",
    "c5": "#b8860b", "c6": "#56b4e9", "c7": "#8c6d46", "c8": "#5e4fa2",
    "s0": "#2a1a5e", "s1": "#31408f", "s2": "#2b67a6", "s3": "#2288a5", "s4": "#2ea391",
    "s5": "#55b06a", "s6": "#86b13a", "s7": "#c8ae14",
}  # fmt: skip
DARK = {
    "ink": "#e8eaed", "soft": "#a3acb6", "faint": "#3c444d", "grid": "#2a3037", "paper": "#14171b", "panel": "#1c2026",
    "accent": "#7db8f0", "on": "#14171b",
    "c1": "#4fa8e0", "c2": "#f08a3c", "c3": "#2cc79b", "c4": "#e3a1c6",
    "c5": "#e6b93c", "c6": "#8fd0f7", "c7": "#c7a87f", "c8": "#a99be0",
    "s0": "#8d7bd6", "s1": "#7f93e6", "s2": "#62aee8", "s3": "#46c2d6", "s4": "#4ed2b4",
    "s5": "#86dd94", "s6": "#bde567", "s7": "#f2dc4a",
}  # fmt: skip

CATEGORIES = [f"var(--c{i})" for i in range(1, 9)]
STEPS = [f"var(--s{i})" for i in range(8)]
MARKS = (
    "circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-left", "triangle-right",
)  # fmt: skip
DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3), (12, 3), (4, 4))
"""Shapes of marks and dashes of lines, which tell up to eight and up to six values apart without colours."""
OUTLINES = {
    "circle": "M4,0A4,4,0,1,1,-4,0A4,4,0,1,1,4,0",
    "square": "M-3.6,-3.6h7.2v7.2h-7.2Z",
    "triangle-up": "M0,-4L-4.6,4L4.6,4Z",
    "diamond": "M-4.4,0L0,-4.8L4.4,0L0,4.8Z",
    "cross": "M-4.2,-1.4V1.4H-1.4V4.2H1.4V1.4H4.2V-1.4H1.4V-4.2H-1.4V-1.4Z",
    "triangle-down": "M0,4L-4.6,-4L4.6,-4Z",
    "triangle-left": "M-4,0L4,-4.6L4,4.6Z",
    "triangle-right": "M4,0L-4,-4.6L-4,4.6Z",
}
"""The same shapes as SVG paths around 0, 0, for legends outside charts."""
HEAT = ["#3b2a78", "#34618d", "#22908b", "#58c765", "#f4e53b"]
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


FINE = 24
"""Steps of the ramp for many ordered values."""


def finer(colours: dict[str, str]) -> dict[str, str]:
    """A theme's ramp in `FINE` steps, between its eight."""
    ends = [[int(colours[f"s{i}"][k : k + 2], 16) for k in (1, 3, 5)] for i in range(len(STEPS))]

    def at(place: float) -> str:
        left = min(int(place), len(ends) - 2)
        mixed = [a + (b - a) * (place - left) for a, b in zip(ends[left], ends[left + 1], strict=True)]
        return "#" + "".join(f"{round(one):02x}" for one in mixed)

    return {f"f{i}": at(i * (len(ends) - 1) / (FINE - 1)) for i in range(FINE)}


LIGHT |= finer(LIGHT)
DARK |= finer(DARK)


def ramp(count: int) -> list[str]:
    """`count` colours for ordered values, dark to light."""
    if count <= 1:
        return [STEPS[2]]
    if count > len(STEPS):
        return [f"var(--f{round(i * (FINE - 1) / (count - 1))})" for i in range(count)]
    return [STEPS[round(i * (len(STEPS) - 1) / (count - 1))] for i in range(count)]


def categories(count: int) -> list[str]:
    """`count` colours for unordered values; they repeat beyond eight."""
    return [CATEGORIES[i % len(CATEGORIES)] for i in range(count)]


def config() -> dict[str, Any]:
    """The Vega-Lite config of every chart."""
    text = {"labelColor": "var(--soft)", "titleColor": "var(--soft)", "labelFontSize": 12, "titleFontSize": 12}
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            **text,
            "titleFontWeight": "normal",
            "domainColor": "var(--faint)",
            "tickColor": "var(--faint)",
            "gridColor": "var(--grid)",
            "tickSize": 4,
            "labelPadding": 4,
            "titlePadding": 8,
            "labelLimit": 190,
        },
        "axisX": {"grid": False, "labelSeparation": 6},
        "axisY": {"domain": False, "ticks": False, "tickCount": 5},
        "legend": {
            **text,
            "titleFontWeight": "normal",
            "symbolSize": 70,
            "symbolStrokeWidth": 1,
            "symbolOpacity": 1,
            "orient": "top",
            "titleOrient": "left",
            "labelLimit": 220,
            "symbolBaseFillColor": "var(--soft)",
            "symbolBaseStrokeColor": "var(--soft)",
        },
        "title": {
            "color": "var(--ink)",
            "fontSize": 13,
            "fontWeight": 600,
            "anchor": "start",
            "offset": 10,
            "subtitleColor": "var(--soft)",
        },
        "line": {"strokeWidth": 1.75},
        "rule": {"strokeWidth": 1.25},
        "text": {"fontSize": 12, "color": "var(--ink)"},
    }


def stylesheet(colours: dict[str, str]) -> str:
    """CSS declarations of a theme's variables."""
    return "".join(f"--{name}:{value};" for name, value in colours.items())


def concrete(spec: dict[str, Any]) -> dict[str, Any]:
    """The same specification with the light theme's values, for files outside a page."""
    text = re.sub(r"var\(--(\w+)\)", lambda match: LIGHT[match[1]], json.dumps(spec))
    spec = json.loads(text)
    spec["config"]["background"] = LIGHT["paper"]
    spec["config"]["font"] = "DejaVu Sans, Arial, sans-serif"
    return spec
