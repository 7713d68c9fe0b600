"""Figures, numbers and verdicts of `supervision`, from results.nc alone.

python analyses/supervision/figures.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from probekit.results.directions import Values

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import panels  # noqa: E402  (they lie beside this folder)
import writing  # noqa: E402  (beside it)
from evidence import Hypothesis, Line, by_ratio, by_unit, text  # noqa: E402  (beside it)

SCALINGS = ("raw", "standardised", "whitened")
TOP = ("class", "superclass")


def level(ds: xr.Dataset, scaling: str) -> np.ndarray:
    return np.asarray(writing.one_each(ds, "ladder_level", {"pooling": "mean", "scaling": scaling}))


def top_share(ds: xr.Dataset, scaling: str) -> np.ndarray:
    """Share of the rungs class and superclass."""
    parts = [writing.one_each(ds, "ladder_share", {"pooling": "mean", "scaling": scaling, "rung": r}) for r in TOP]
    return np.asarray(np.nansum(parts, axis=0))


def tuned(ds: xr.Dataset) -> np.ndarray:
    """Which checkpoints are the supervised ones."""
    return np.asarray(ds["finetuned"].values.astype(str) != "")


def once(ds: xr.Dataset) -> np.ndarray:
    """Which of them had one epoch of it: one a seed."""
    return tuned(ds) & np.array(["twice" not in name for name in ds["checkpoint"].values.astype(str)])


def by_seed(ds: xr.Dataset, values: np.ndarray, chosen: np.ndarray) -> Values:
    """The highest value of the chosen checkpoints of each seed."""
    seeds = ds["seed"].values
    return {float(s): float(values[chosen & (seeds == s)].max()) for s in np.unique(seeds[chosen])}


def beside(ds: xr.Dataset, values: np.ndarray, *, highest: bool) -> dict[str, Values]:
    """The MAE that supervision began with (or the highest of all cells of its seed), and the supervised encoder."""
    of_mae = ~tuned(ds)
    began = of_mae & (ds["mask_ratio"].values == 0.75) & (ds["patch_size"].values == 4)
    name = "highest MAE" if highest else "MAE it began as"
    return {name: by_seed(ds, values, of_mae if highest else began), "supervised": by_seed(ds, values, once(ds))}


def lifted(ds: xr.Dataset) -> Sequence[Line]:
    levels = [
        Line(f"ladder level ({one}), supervised", "rises", beside(ds, level(ds, one), highest=False))
        for one in SCALINGS
    ]
    shares = beside(ds, top_share(ds, "raw"), highest=False)
    return [*levels, Line("share of class and superclass (raw), supervised", "rises", shares)]


def above_all(ds: xr.Dataset) -> Sequence[Line]:
    return [
        Line(f"ladder level ({one}), against all cells", "rises", beside(ds, level(ds, one), highest=True))
        for one in ("raw", "whitened")
    ]


def untrained_below(ds: xr.Dataset) -> Sequence[Line]:
    labels = {"pooling": "mean", "scaling": "raw"}
    mae = ds.isel(checkpoint=~tuned(ds))
    values, twin = (writing.one_each(mae, name, labels) for name in ("ladder_level", "ladder_level_untrained"))
    seeds = mae["seed"].values
    both = {
        "untrained twin": {float(s): float(twin[seeds == s].mean()) for s in np.unique(seeds)},
        "lowest MAE": {float(s): float(values[seeds == s].min()) for s in np.unique(seeds)},
    }
    return [Line("ladder level (raw), lowest cell", "rises", both)]


def with_masking(ds: xr.Dataset) -> Sequence[Line]:
    labels, mae = {"pooling": "mean", "scaling": "whitened"}, ds.isel(checkpoint=~tuned(ds))
    return [
        Line("ladder level (whitened), ratio at 4 px", "rises", by_ratio(mae, "ladder_level", labels)),
        Line("ladder level (whitened), unit at ratio 0.75", "rises", by_unit(mae, "ladder_level", labels)),
    ]


HYPOTHESES = (
    Hypothesis(
        "H1", "ours", "Supervision lifts the ladder level of the encoder that it begins with, in every scaling, and "
        "the share of class and superclass.", lifted, "a scaling in which supervision lowers it",
    ),
    Hypothesis(
        "H2", "ours", "The supervised encoder stands above every masked autoencoder of the grid.", above_all,
        "a masking whose encoder stands as high without labels",
    ),
    Hypothesis(
        "H3", "ours", "Raw, every masked autoencoder stands above the untrained encoder of its architecture.",
        untrained_below, "a cell below it",
    ),
    Hypothesis(
        "H4", "theory", "Whitened, the ladder level rises with the ratio and with the mask unit.", with_masking,
        "encoders that learned more, other images",
    ),
)  # fmt: skip
AXES = {"ladder": "level (0 = pixel, 5 = superclass)", "share": "share of variance"}
CAPTION = (
    "CIFAR-10, 1,000 test images that no encoder was trained on; last layer, mean pooling. Rings: training runs; line: "
    "means over seeds; bars: 95 % between seeds.",
)


def ordered(ds: xr.Dataset) -> str:
    """All encoders in the order of their whitened level, with intervals over test images, as Markdown."""
    rows = []
    for place in np.argsort(level(ds, "whitened")):
        one = ds.isel(checkpoint=[int(place)])
        cells = []
        for scaling in SCALINGS:
            where = {"pooling": "mean", "scaling": scaling}
            low, high = (
                float(writing.one_each(one, "ladder_level_ci", where | {"bound": bound})[0])
                for bound in ("lower", "upper")
            )
            cells.append(f"{level(one, scaling)[0]:.2f} [{low:.2f}, {high:.2f}]")
        shares = [f"{top_share(one, scaling)[0]:.3f}" for scaling in ("raw", "whitened")]
        accuracy = writing.one_each(one, "knn_accuracy", {"pooling": "mean", "k": 20})[0]
        rows.append([f"`{one['checkpoint'].values[0]}`", *cells, *shares, f"{accuracy:.3f}"])
    head = [f"level, {one}" for one in SCALINGS]
    return writing.table(["encoder", *head, "class share, raw", "class share, whitened", "20-NN accuracy"], rows)


def untrained(ds: xr.Dataset) -> str:
    """The untrained twin and the simple features, in a line."""
    parts = []
    for scaling in SCALINGS:
        twin = writing.one_each(ds, "ladder_level_untrained", {"pooling": "mean", "scaling": scaling})
        known = ds["ladder_level_baseline"].isel(checkpoint=0, data=0).sel(scaling=scaling)
        names = known["baseline"].values.astype(str)
        simple = [f"{one.replace('_', ' ')} {float(known.sel(baseline=one)):.2f}" for one in names]
        parts.append(f"{scaling}: untrained encoder {twin[0]:.2f}, " + ", ".join(simple).replace("nan", "-"))
    return "Level of what was not trained. " + "; ".join(parts) + ".\n"


def numbers(ds: xr.Dataset) -> str:
    """The block that stands in the README."""
    return "\n".join([ordered(ds), untrained(ds), text(ds, HYPOTHESES)])


def main() -> None:
    ds = writing.opened(HERE)
    title = "The ladder of supervised encoders: what each hypothesis tests"
    writing.save(panels.figure(ds, HYPOTHESES, AXES, title, CAPTION), HERE, "evidence")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
