"""Figures, numbers and verdicts of `calibration`, from results.nc alone.

python analyses/calibration/figures.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import xarray as xr

from probekit.results.directions import Values

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import panels  # noqa: E402  (they lie beside this folder)
import writing  # noqa: E402  (beside it)
from evidence import Hypothesis, Line, mean_half, text  # noqa: E402  (beside it)

KINDS = ("untrained", "masked", "supervised")
LABELS = {"readout": "global", "regressor": "linear", "target": "latent"}
LEVELS = (1, 2, 3, 4)


def of(ds: xr.Dataset, kind: str, level: int = 4) -> Values:
    """Seed -> R² of a level's latents, of the encoders of a kind."""
    values, chosen = writing.one_each(ds, "latent_r2", LABELS | {"level": level}), ds["recipe"].values == kind
    return {float(s): float(v) for s, v in zip(ds["seed"].values[chosen], values[chosen], strict=True)}


def against(ds: xr.Dataset, kind: str, target: float, expected: str) -> list[Line]:
    found = of(ds, kind)
    settings = {f"{target:g}": dict.fromkeys(found, target), kind: found}
    return [Line("R² of the root", expected, settings if found else {})]


def floor(ds: xr.Dataset) -> Sequence[Line]:
    return against(ds, "untrained", 0.35, "falls")


def ceiling(ds: xr.Dataset) -> Sequence[Line]:
    return against(ds, "supervised", 0.85, "rises")


def reached(ds: xr.Dataset) -> Sequence[Line]:
    return against(ds, "masked", 0.7, "rises")


HYPOTHESES = (
    Hypothesis(
        "H1", "ours, a target", "Untrained encoders read the root with R² below 0.35.", floor,
        "another architecture, or a flatter nonlinearity (`quadtree?slope=0.3`)",
    ),
    Hypothesis(
        "H2", "ours, a target", "With supervision the root is reached: R² above 0.85.", ceiling,
        "a root of many dimensions (`quadtree?root_dim=32`)",
    ),
    Hypothesis(
        "H3", "ours, a target", "Masked pretraining at ratio 0.75 and 4 px reaches R² above 0.7.", reached,
        "fewer images",
    ),
)  # fmt: skip
AXES = {"R²": "R² of the root (linear)"}
CAPTION = (
    "Quadtree: ridge regression of the root latent on mean-pooled features of the last layer; 2,000 images to fit, "
    "500 to select, 1,000 to report.",
    "Rings: encoders of different seeds; line: means; bars: 95 % between seeds. The left point is the target.",
)


def numbers(ds: xr.Dataset) -> str:
    """The block that stands in the README."""
    rows = []
    for kind in filter(partial(of, ds), KINDS):
        cells = [mean_half(of(ds, kind, level)) for level in LEVELS]
        rows.append([kind, str(len(of(ds, kind))), *(f"{mean:.3f} ± {half:.3f}" for mean, half in cells)])
    head = ["encoder", "seeds", *(f"R² of level {level}" for level in LEVELS)]
    return writing.table(head, rows) + "\n" + text(ds, HYPOTHESES)


def main() -> None:
    ds = writing.opened(HERE)
    title = "Do the defaults of quadtree leave room to learn?"
    writing.save(panels.figure(ds, HYPOTHESES, AXES, title, CAPTION), HERE, "evidence")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
