"""Figures, numbers and verdicts of `ordinary_images`, from results.nc alone.

python analyses/ordinary_images/figures.py
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
from evidence import Hypothesis, Line, by_ratio, by_unit, text  # noqa: E402  (beside it)


def labels(scaling: str) -> dict[str, str]:
    return {"pooling": "mean", "scaling": scaling}


def whitened_ratio(ds: xr.Dataset) -> Sequence[Line]:
    found = by_ratio(ds, "ladder_level", labels("whitened"))
    return [Line("ladder level (whitened), ratio at 4 px", "rises", found)]


def whitened_unit(ds: xr.Dataset) -> Sequence[Line]:
    found = by_unit(ds, "ladder_level", labels("whitened"))
    return [Line("ladder level (whitened), unit at ratio 0.75", "rises", found)]


def raw_alike(ds: xr.Dataset) -> Sequence[Line]:
    found = by_ratio(ds, "ladder_level", labels("raw"))
    ends = {name: found[name] for name in ("0.1", "0.9") if name in found}
    return [Line("ladder level (raw), 4 px", "alike", ends, margin=0.1)]


HYPOTHESES = (
    Hypothesis(
        "H1", "theory", "Whitened, the ladder level rises with the ratio.", whitened_ratio,
        "encoders that learned more, other images",
    ),
    Hypothesis(
        "H2", "theory", "Whitened, the ladder level rises with the mask unit.", whitened_unit,
        "encoders that learned more, other images",
    ),
    Hypothesis(
        "H3", "ours", "Raw, the settings hardly differ: what the variance is made of is not what is known.", raw_alike,
        "a difference of more than a tenth of a rung",
    ),
)  # fmt: skip
AXES = {"ladder": "level (0 = pixel, 4 = class)"}
CAPTION = (
    "Encoders trained on CIFAR-10, on crops of photographs; last layer, mean pooling. Rings: training runs; line: "
    "means over seeds; bars: 95 % between seeds.",
)


def numbers(ds: xr.Dataset) -> str:
    """The block that stands in the README."""
    tables = [
        f"Ladder level, {scaling}:\n\n" + writing.by_setting(ds, {"ladder_level": labels(scaling)})
        for scaling in ("whitened", "raw")
    ]
    return "\n".join(tables) + "\n" + text(ds, HYPOTHESES)


def main() -> None:
    ds = writing.opened(HERE)
    title = "The ladder against masking: what each hypothesis tests"
    writing.save(panels.figure(ds, HYPOTHESES, AXES, title, CAPTION), HERE, "evidence")
    writing.save(plot.ladder(ds), HERE, "ladder")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
