"""Figures, numbers and verdicts of `improvements`, from results.nc alone.

python analyses/improvements/figures.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from probekit.results.directions import Values

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import panels  # noqa: E402  (they lie beside this folder)
import writing  # noqa: E402  (beside it)
from evidence import Hypothesis, Line, mean_half, settings, text  # noqa: E402  (beside it)

CELLS = ((0.5, 4), (0.75, 4), (0.9, 4), (0.75, 8))
NAMES = {"gain_amount": "amount (R²)", "gain_height": "height (levels)"}
ALIKE = 0.05
"""Of amounts and heights: less is of no interest here."""


def beside(ds: xr.Dataset, name: str, ratio: float, unit: int, recipe: str) -> dict[str, Values]:
    """The plain cell and the one of a recipe; nothing where either was not trained."""
    found = settings(ds, name, "recipe", ("plain", recipe), mask_ratio=ratio, patch_size=unit)
    return found if len(found) == 2 else {}


def recipe_lines(ds: xr.Dataset, name: str, recipe: str, expected: str) -> list[Line]:
    lines = [Line(f"{NAMES[name]}, ratio {r:g}, {u} px", expected, beside(ds, name, r, u, recipe)) for r, u in CELLS]
    return [line for line in lines if line.settings]


def boundary_height(ds: xr.Dataset) -> Sequence[Line]:
    return recipe_lines(ds, "gain_height", "no-boundary", "rises")


def boundary_amount(ds: xr.Dataset) -> Sequence[Line]:
    return recipe_lines(ds, "gain_amount", "no-boundary", "rises")


def structure_height(ds: xr.Dataset) -> Sequence[Line]:
    return recipe_lines(ds, "gain_height", "structure", "rises")


def structure_amount(ds: xr.Dataset) -> Sequence[Line]:
    return recipe_lines(ds, "gain_amount", "structure", "rises")


def quadrants(ds: xr.Dataset) -> Sequence[Line]:
    """Structure-aware masks of whole quadrants are random masks of 16 px."""
    lines = []
    for name, words in NAMES.items():
        for ratio in (0.5, 0.75):
            plain = settings(ds, name, "recipe", ("plain",), mask_ratio=ratio, patch_size=16)
            aware = settings(ds, name, "recipe", ("structure",), mask_ratio=ratio, patch_size=4)
            if plain and aware:
                found = {"random, 16 px": plain["plain"], "structure, 4 px": aware["structure"]}
                lines.append(Line(f"{words}, ratio {ratio:g}", "alike", found, margin=ALIKE))
    return lines


HYPOTHESES = (
    Hypothesis(
        "H1", "the paper, section 3.6", "Leaving boundary patches out of the loss raises the height.", boundary_height,
        "a weight on boundary patches between 0 and 1",
    ),
    Hypothesis(
        "H2", "the paper, section 3.6", "Leaving boundary patches out of the loss raises the amount.", boundary_amount,
        "more images, since fewer patches teach",
    ),
    Hypothesis(
        "H3", "the paper, section 3.6", "Masks that follow the latent structure raise the height.", structure_height,
        "a tree whose height-4 node is not the whole image",
    ),
    Hypothesis(
        "H4", "the paper, section 3.6", "Masks that follow the latent structure raise the amount.", structure_amount,
        "a mixture of ratios, so that every level is asked for",
    ),
    Hypothesis(
        "H5", "ours, a check", "Structure-aware masks at 0.5 and 0.75 hide whole quadrants, so they teach what random "
        "masks of 16 px do.", quadrants, "a difference beyond the margin, which would be an error of ours",
    ),
)  # fmt: skip
AXES = {"amount": "amount (sum of gains in R²)", "height": "height (levels)"}
CAPTION = (
    "Quadtree (5 levels of latents, root = 4), last layer; 2,000 images to fit, 500 to select, 1,000 to report. Rings: "
    "training runs; line: means over seeds; bars: 95 % between seeds.",
    "Amount: sum over levels of what training added to the R² of a level's own noise; height: its mean level.",
)


def numbers(ds: xr.Dataset) -> str:
    """The block that stands in the README."""
    rows = []
    for recipe in ("plain", *writing.RECIPES):
        for ratio, unit in (*CELLS, (0.5, 16), (0.75, 16)):
            where = {"mask_ratio": ratio, "patch_size": unit}
            found = [settings(ds, name, "recipe", (recipe,), **where).get(recipe, {}) for name in NAMES]
            if found[0]:
                cells = [f"{mean:.3f} ± {half:.3f}" for mean, half in map(mean_half, found)]
                rows.append([recipe, f"ratio {ratio:g}, {unit} px", str(len(found[0])), *cells])
    head = ["recipe", "cell", "seeds", "amount (± 95 % between seeds)", "height"]
    return writing.table(head, rows) + "\n" + text(ds, HYPOTHESES)


def main() -> None:
    ds = writing.opened(HERE)
    title = "The paper's improvements: what each hypothesis tests"
    writing.save(panels.figure(ds, HYPOTHESES, AXES, title, CAPTION), HERE, "evidence")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
