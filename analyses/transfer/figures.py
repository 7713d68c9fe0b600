"""Figures, numbers and verdicts of `transfer`, from results.nc alone.

python analyses/transfer/figures.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import panels  # noqa: E402  (they lie beside this folder)
import writing  # noqa: E402  (beside it)
from evidence import Hypothesis, Line, by_ratio, by_unit, over_untrained, text  # noqa: E402  (beside it)

READOUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "linear accuracy (share)": ("linear_accuracy", {"pooling": "mean"}),
    "attentive accuracy (share)": ("attentive_accuracy", {"head_kind": "ep"}),
    "accuracy with 5 images a class (share)": (
        "low_shot_accuracy",
        {"pooling": "mean", "per_class": "5", "classifier": "linear"},
    ),
    "segmentation, linear (mIoU)": ("segmentation_miou", {"readout": "linear"}),
}
"""Title -> variable and labels."""


def with_ratio(ds: xr.Dataset) -> Sequence[Line]:
    return [
        Line(f"{title}, ratio at 4 px", "peaks", by_ratio(ds, name, labels), best="0.75")
        for title, (name, labels) in READOUTS.items()
    ]


def with_unit(ds: xr.Dataset) -> Sequence[Line]:
    return [
        Line(f"{title}, unit at ratio 0.75", "rises", by_unit(ds, name, labels))
        for title, (name, labels) in list(READOUTS.items())[:3]
    ]


def segmentation_with_unit(ds: xr.Dataset) -> Sequence[Line]:
    title = "segmentation, linear (mIoU)"
    return [Line(f"{title}, unit at ratio 0.75", "falls", by_unit(ds, *READOUTS[title]))]


def attentive_over_linear(ds: xr.Dataset) -> Sequence[Line]:
    """By seed, the mean over the trained cells."""
    both = {}
    for title in ("linear accuracy (share)", "attentive accuracy (share)"):
        name, labels = READOUTS[title]
        values, trained = writing.one_each(ds, name, labels), ds["images_seen"].values > 0
        seeds = ds["seed"].values
        both[title.split()[0]] = {
            float(s): float(values[trained & (seeds == s)].mean()) for s in sorted(set(seeds[trained]))
        }
    return [Line("accuracy (share), mean over cells", "rises", both)]


def above_untrained(ds: xr.Dataset) -> Sequence[Line]:
    return [
        Line(f"{title}, worst cell", "rises", over_untrained(ds, name, labels))
        for title, (name, labels) in READOUTS.items()
    ]


HYPOTHESES = (
    Hypothesis(
        "H1", "the paper, Table 3", "Transfer rises with the ratio up to 0.75 and falls at 0.9, in every readout.",
        with_ratio, "the paper's own scale, and detection in place of a frozen readout",
    ),
    Hypothesis(
        "H2", "the paper, Table 1", "Readouts of the class rise with the mask unit.", with_unit,
        "units that are as small a part of the image as the paper's",
    ),
    Hypothesis(
        "H3", "ours", "Segmentation falls with the mask unit: what lies high in the image is not where it lies.",
        segmentation_with_unit, "a readout of several layers",
    ),
    Hypothesis(
        "H4", "ours", "A head that learns where to look reads more than a linear one on the mean of the tokens.",
        attentive_over_linear, "a longer fit of the head, which is short here",
    ),
    Hypothesis(
        "H5", "ours", "Every trained cell transfers better than the untrained encoder of its seed.", above_untrained,
        "a cell below it",
    ),
)  # fmt: skip
AXES = {"segmentation": "mIoU (share)", "": "accuracy (share)"}
CAPTION = (
    "Encoders trained on CIFAR-10, frozen, last layer; generated shapes; 600 images to fit, 150 to select, 300 to "
    "report. Rings: training runs; line: means over seeds; bars: 95 % between seeds.",
)


def numbers(ds: xr.Dataset) -> str:
    """The block that stands in the README."""
    return writing.by_setting(ds, dict(READOUTS.values())) + "\n" + text(ds, HYPOTHESES)


def main() -> None:
    ds = writing.opened(HERE)
    title = "Transfer against masking: what each hypothesis tests"
    writing.save(panels.figure(ds, HYPOTHESES, AXES, title, CAPTION), HERE, "evidence")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
