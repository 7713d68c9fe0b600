"""Figures, numbers and verdicts of `mask_response`, from results.nc alone.

python analyses/mask_response/figures.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from probekit import plot
from probekit.results.directions import Values

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import panels  # noqa: E402  (they lie beside this folder)
import writing  # noqa: E402  (beside it)
from evidence import Hypothesis, Line, by_ratio, by_unit, text  # noqa: E402  (beside it)

SMALL, LARGE = 4.0, 16.0
"""Mask units at evaluation, in pixels: that of the ViT's patch, and four times it."""


def at(ratio: float, unit: float = SMALL) -> dict[str, float]:
    """Labels of one mask at evaluation."""
    return {"eval_mask_ratio": ratio, "eval_patch_size": unit}


def lost(free: dict[str, Values], masked: dict[str, Values]) -> dict[str, Values]:
    """By setting and seed: what the mask takes away."""
    return {
        name: {seed: value - masked[name][seed] for seed, value in one.items()}
        for name, one in free.items()
        if name in masked
    }


def nearer_with_ratio(ds: xr.Dataset) -> Sequence[Line]:
    return [
        Line("cosine under a mask of .75, ratio at 4 px", "rises", by_ratio(ds, "response_similarity", at(0.75))),
        Line("CKA under a mask of .75, ratio at 4 px", "rises", by_ratio(ds, "response_cka", at(0.75))),
    ]


def nearer_with_unit(ds: xr.Dataset) -> Sequence[Line]:
    found = by_unit(ds, "response_similarity", at(0.75, LARGE))
    return [Line("cosine under a mask of .75 in units of 16 px, unit at ratio 0.75", "rises", found)]


def level_is_kept(ds: xr.Dataset) -> Sequence[Line]:
    free, masked = (by_ratio(ds, "response_level", at(ratio)) for ratio in (0.0, 0.75))
    return [Line("rungs lost to a mask of .75, ratio at 4 px", "falls", lost(free, masked))]


def pixels_follow_training(ds: xr.Dataset) -> Sequence[Line]:
    return [
        Line("MSE of hidden pixels, .9 hidden, ratio at 4 px", "falls", by_ratio(ds, "response_mse", at(0.9))),
        Line("MSE of hidden pixels, .1 hidden, ratio at 4 px", "rises", by_ratio(ds, "response_mse", at(0.1))),
    ]


def structure_with_unit(ds: xr.Dataset) -> Sequence[Line]:
    found = by_unit(ds, "response_ssim", at(0.75, LARGE))
    return [Line("SSIM of hidden pixels, .75 hidden in units of 16 px, unit at ratio 0.75", "rises", found)]


HYPOTHESES = (
    Hypothesis(
        "H1", "theory", "Under a mask of 0.75, features stay nearer to the unmasked ones the higher the ratio of "
        "training: what the visible patches share with the hidden ones is what was learned.", nearer_with_ratio,
        "a higher ratio whose features move more",
    ),
    Hypothesis(
        "H2", "theory", "Under a mask in large units, they stay nearer the larger the unit of training.",
        nearer_with_unit, "a larger unit whose features move more",
    ),
    Hypothesis(
        "H3", "theory", "A mask takes less of the ladder level the higher the ratio of training.", level_is_kept,
        "a reading of level that orders the ratios otherwise",
    ),
    Hypothesis(
        "H4", "ours", "Hidden pixels are predicted best by those trained near the ratio at evaluation: when much is "
        "hidden by high ratios, when little is hidden by low ones.", pixels_follow_training,
        "one ratio that is best under every mask",
    ),
    Hypothesis(
        "H5", "ours", "Structure that is hidden in large units is predicted better the larger the unit of training.",
        structure_with_unit, "a smaller unit that predicts it better",
    ),
)  # fmt: skip
AXES = {"cosine": "cosine", "CKA": "debiased CKA", "rungs": "rungs", "MSE": "MSE, pixels in [0, 1]", "SSIM": "SSIM"}
CAPTION = (
    "Generated test images, mean of the visible patch tokens, last layer. Rings: training runs; line: means over "
    "seeds; bars: 95 % between seeds.",
)


def numbers(ds: xr.Dataset) -> str:
    """The block that stands in the README."""
    names = ("response_similarity", "response_cka", "response_level", "response_mse")
    return writing.by_setting(ds, dict.fromkeys(names, at(0.75))) + "\n" + text(ds, HYPOTHESES)


def main() -> None:
    ds = writing.opened(HERE)
    title = "What a mask at evaluation does: what each hypothesis tests"
    writing.save(panels.figure(ds, HYPOTHESES, AXES, title, CAPTION), HERE, "evidence")
    writing.save(plot.response(ds), HERE, "curves")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
