"""Figures, numbers and verdicts of `robustness_and_shape`, from results.nc alone.

python analyses/robustness_and_shape/figures.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import panels  # noqa: E402  (they lie beside this folder)
import writing  # noqa: E402  (beside it)
from evidence import Hypothesis, Line, by_ratio, by_unit, over_untrained, text  # noqa: E402  (beside it)

MEAN = {"pooling": "mean"}


def shifts(ds: xr.Dataset) -> list[str]:
    return [str(one) for one in ds["shift"].values]


def words(shift: str) -> str:
    return f"accuracy on {shift.removeprefix('shapes:')} (share)"


def clean_peaks(ds: xr.Dataset) -> Sequence[Line]:
    found = by_ratio(ds, "linear_accuracy", MEAN)
    return [Line("accuracy without a shift (share), ratio at 4 px", "peaks", found, best="0.75")]


def shifted_peaks(ds: xr.Dataset) -> Sequence[Line]:
    return [
        Line(f"{words(s)}, ratio at 4 px", "peaks", by_ratio(ds, "robust_accuracy", MEAN | {"shift": s}), best="0.75")
        for s in shifts(ds)
    ]


def shifted_with_unit(ds: xr.Dataset) -> Sequence[Line]:
    return [
        Line(f"{words(s)}, unit at ratio 0.75", "rises", by_unit(ds, "robust_accuracy", MEAN | {"shift": s}))
        for s in shifts(ds)
    ]


def shape_with_ratio(ds: xr.Dataset) -> Sequence[Line]:
    return [Line("shape bias (share), ratio at 4 px", "peaks", by_ratio(ds, "shape_bias", MEAN), best="0.75")]


def shape_with_unit(ds: xr.Dataset) -> Sequence[Line]:
    return [Line("shape bias (share), unit at ratio 0.75", "rises", by_unit(ds, "shape_bias", MEAN))]


def above_untrained(ds: xr.Dataset) -> Sequence[Line]:
    found = over_untrained(ds, "linear_accuracy", MEAN)
    return [Line("accuracy without a shift (share), worst cell", "rises", found)]


HYPOTHESES = (
    Hypothesis(
        "H1", "the paper, Table 1", "Accuracy without a shift peaks at ratio 0.75.", clean_peaks,
        "a peak elsewhere that more images move to 0.75",
    ),
    Hypothesis(
        "H2", "the paper, Table 1", "Under every shift, accuracy peaks at ratio 0.75.", shifted_peaks,
        "shifts of photographs rather than of drawings",
    ),
    Hypothesis(
        "H3", "the paper, Table 1", "Under every shift, accuracy rises with the mask unit.", shifted_with_unit,
        "units that are as small a part of the image as the paper's",
    ),
    Hypothesis(
        "H4", "the paper, Table 2", "Shape bias is highest at ratio 0.75.", shape_with_ratio,
        "classes that shape and texture do not tell equally well",
    ),
    Hypothesis(
        "H5", "theory", "Shape bias rises with the mask unit: a large unit hides texture whole.", shape_with_unit,
        "an object that is not much larger than the unit",
    ),
    Hypothesis(
        "H6", "ours", "Every trained cell reads the classes better than the untrained encoder of its seed.",
        above_untrained, "a cell below it",
    ),
)  # fmt: skip
AXES = {"accuracy": "accuracy (share)", "shape": "shape bias (share)"}
CAPTION = (
    "Encoders trained on CIFAR-10; generated shapes, whose class shape and texture both tell; linear head on "
    "mean-pooled features, fitted without shifts.",
    "Rings: training runs; line: means over seeds; bars: 95 % between seeds. Shape bias: shape decisions / (shape + "
    "texture decisions) where the two disagree.",
)


def numbers(ds: xr.Dataset) -> str:
    """The block that stands in the README."""
    table = {"linear_accuracy": MEAN, "shape_bias": MEAN}
    paper = writing.beside_paper(ds, "shape_bias", MEAN)
    return writing.by_setting(ds, table) + "\n" + paper + "\n" + text(ds, HYPOTHESES)


def main() -> None:
    ds = writing.opened(HERE)
    title = "Robustness and shape bias against masking: what each hypothesis tests"
    writing.save(panels.figure(ds, HYPOTHESES, AXES, title, CAPTION), HERE, "evidence")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
