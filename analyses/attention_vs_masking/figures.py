"""Figures, numbers and verdicts of `attention_vs_masking`, from results.nc alone.

python analyses/attention_vs_masking/figures.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from probekit import plot

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import panels  # noqa: E402  (they lie beside this folder)
import writing  # noqa: E402  (beside it)
from evidence import Hypothesis, Line, by_ratio, by_unit, over_untrained, text  # noqa: E402  (beside it)

NAMES = {
    "attention_distance": "attention distance (px)",
    "attention_entropy": "attention entropy (nats)",
    "attention_nmi": "attention NMI",
}


def against_untrained(ds: xr.Dataset) -> Sequence[Line]:
    lines = [
        Line(f"{NAMES[name]}, nearest trained cell", "falls", over_untrained(ds, name, highest=True))
        for name in ("attention_distance", "attention_entropy")
    ]
    name = "attention_nmi"
    return [*lines, Line(f"{NAMES[name]}, nearest trained cell", "rises", over_untrained(ds, name))]


def with_ratio(ds: xr.Dataset) -> Sequence[Line]:
    name = "attention_distance"
    return [Line(f"{NAMES[name]}, ratio at 4 px", "rises", by_ratio(ds, name))]


def with_unit(ds: xr.Dataset) -> Sequence[Line]:
    name = "attention_distance"
    return [Line(f"{NAMES[name]}, unit at ratio 0.75", "rises", by_unit(ds, name))]


HYPOTHESES = (
    Hypothesis(
        "H1", "ours", "Trained attention is more local and more selective than that of an untrained encoder, in every "
        "cell.", against_untrained, "a cell that is as global as its initialisation",
    ),
    Hypothesis(
        "H2", "the paper, Figure 6", "Attention grows more global with the ratio.", with_ratio,
        "photographs of single objects, at the paper's scale",
    ),
    Hypothesis(
        "H3", "the paper, Figure 7", "Attention grows more global with the mask unit.", with_unit,
        "photographs of single objects, at the paper's scale",
    ),
)  # fmt: skip
AXES = {name: name for name in NAMES.values()}
CAPTION = (
    "Encoders trained on CIFAR-10, on crops of photographs of 32 px; last layer, mean over heads; patches attend to "
    "patches. Rings: training runs; line: means over seeds; bars: 95 % between seeds.",
)


def numbers(ds: xr.Dataset) -> str:
    """The block that stands in the README."""
    return writing.by_setting(ds, {name: {} for name in NAMES}) + "\n" + text(ds, HYPOTHESES)


def main() -> None:
    ds = writing.opened(HERE)
    title = "Attention against masking: what each hypothesis tests"
    writing.save(panels.figure(ds, HYPOTHESES, AXES, title, CAPTION), HERE, "evidence")
    writing.save(plot.attention(ds), HERE, "maps")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
