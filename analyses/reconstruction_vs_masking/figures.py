"""Figures, numbers and verdicts of `reconstruction_vs_masking`, from results.nc alone.

python analyses/reconstruction_vs_masking/figures.py
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


def unmasked_ratio(ds: xr.Dataset) -> Sequence[Line]:
    return [
        Line(f"{words} without a mask, ratio at 4 px", "peaks", by_ratio(ds, name), best="0.75")
        for name, words in (("ssim", "SSIM"), ("fsim", "FSIM"))
    ]


def hidden_pixels(ds: xr.Dataset) -> Sequence[Line]:
    return [
        Line(f"{words} of hidden pixels, ratio at 4 px", "peaks", by_ratio(ds, name), best="0.75")
        for name, words in (("masked_ssim", "SSIM"), ("masked_psnr", "PSNR (dB)"))
    ]


def unmasked_unit(ds: xr.Dataset) -> Sequence[Line]:
    return [
        Line(f"{words} without a mask, unit at ratio 0.75", "rises", by_unit(ds, name))
        for name, words in (("ssim", "SSIM"), ("fsim", "FSIM"))
    ]


HYPOTHESES = (
    Hypothesis(
        "H1", "the paper, Figure 5", "Without a mask, structure rises with the ratio up to 0.75 and falls at 0.9.",
        unmasked_ratio, "a decoder whose loss counts visible patches too",
    ),
    Hypothesis(
        "H2", "ours", "Under one mask of ratio 0.75, encoders trained at 0.75 predict hidden pixels best.",
        hidden_pixels, "a ratio at evaluation that is not one of training",
    ),
    Hypothesis(
        "H3", "the paper, Figure 5", "Without a mask, structure rises with the mask unit.", unmasked_unit,
        "a decoder whose loss counts visible patches too",
    ),
)  # fmt: skip
AXES = {"SSIM": "SSIM (0 to 1)", "FSIM": "FSIM (0 to 1)", "PSNR": "PSNR (dB)"}
CAPTION = (
    "Encoders trained on CIFAR-10, on crops of photographs. Rings: training runs; line: means over seeds; bars: 95 % "
    "between seeds. Hidden pixels: one mask of ratio 0.75 for all.",
)


def numbers(ds: xr.Dataset) -> str:
    """The block that stands in the README."""
    names = {"ssim": {}, "fsim": {}, "psnr": {}, "masked_ssim": {}, "masked_psnr": {}}
    return writing.by_setting(ds, names) + "\n" + text(ds, HYPOTHESES)


def main() -> None:
    ds = writing.opened(HERE)
    title = "Reconstruction against masking: what each hypothesis tests"
    writing.save(panels.figure(ds, HYPOTHESES, AXES, title, CAPTION), HERE, "evidence")
    writing.save(plot.reconstructions(ds), HERE, "pictures")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
