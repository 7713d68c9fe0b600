"""Figures, numbers and verdicts of `separability`, from results.nc alone.

python analyses/separability/figures.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import altair as alt
import pandas as pd
import xarray as xr

from probekit.results.settings import settings_of

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import panels  # noqa: E402  (they lie beside this folder)
import writing  # noqa: E402  (beside it)
from evidence import Hypothesis, Line, by_ratio, by_unit, over_untrained, text  # noqa: E402  (beside it)

MEAN = {"pooling": "mean"}
SHOWN = 200
NEAR = MEAN | {"k": 20}


def linear_peaks(ds: xr.Dataset) -> Sequence[Line]:
    found = by_ratio(ds, "linear_accuracy", MEAN)
    return [Line("linear accuracy (share), ratio at 4 px", "peaks", found, best="0.75")]


def linear_with_unit(ds: xr.Dataset) -> Sequence[Line]:
    return [Line("linear accuracy (share), unit at ratio 0.75", "rises", by_unit(ds, "linear_accuracy", MEAN))]


def silhouette_peaks(ds: xr.Dataset) -> Sequence[Line]:
    return [Line("silhouette by class, ratio at 4 px", "peaks", by_ratio(ds, "silhouette", MEAN), best="0.75")]


def neighbours_peak(ds: xr.Dataset) -> Sequence[Line]:
    return [Line("k-NN accuracy (share), ratio at 4 px", "peaks", by_ratio(ds, "knn_accuracy", NEAR), best="0.75")]


def above_untrained(ds: xr.Dataset) -> Sequence[Line]:
    names = (("linear accuracy", "linear_accuracy", MEAN), ("k-NN accuracy", "knn_accuracy", NEAR))
    return [
        Line(f"{words} (share), worst cell", "rises", over_untrained(ds, name, labels)) for words, name, labels in names
    ]


HYPOTHESES = (
    Hypothesis(
        "H1", "the paper, Table 1", "Linear accuracy rises with the ratio up to 0.75 and falls at 0.9.", linear_peaks,
        "a larger encoder, or more images, in which the peak moves to 0.75",
    ),
    Hypothesis(
        "H2", "the paper, Table 1", "At ratio 0.75 linear accuracy rises with the mask unit.", linear_with_unit,
        "units that are as small a part of the image as the paper's",
    ),
    Hypothesis(
        "H3", "the paper, Figure 8", "Classes are best kept apart at ratio 0.75.", silhouette_peaks,
        "another measure of separation that orders the ratios otherwise",
    ),
    Hypothesis(
        "H4", "ours", "Nearest neighbours order the ratios as the linear head does: best at 0.75.", neighbours_peak,
        "another number of neighbours that orders the ratios otherwise",
    ),
    Hypothesis(
        "H5", "ours", "Every trained cell reads better than the untrained encoder of its seed.", above_untrained,
        "a cell below it",
    ),
)  # fmt: skip
AXES = {"linear": "accuracy (share)", "k-NN": "accuracy (share)", "silhouette": "silhouette (-1 to 1)"}
CAPTION = (
    "CIFAR-10 images that no training saw; mean pooling, last layer. Rings: training runs; line: means over seeds; "
    "bars: 95 % between seeds.",
)


def embedding(ds: xr.Dataset) -> alt.ConcatChart:
    """t-SNE of one checkpoint a setting; every image is drawn as the number of its class."""
    found, labels = ds["embedding_xy"].isel(data=0, layer_kept=-1), ds["label"].isel(data=0).values.astype(int)
    first = {setting.words: setting.runs[0].index for setting in reversed(settings_of(ds))}
    quiet = alt.Axis(labels=False, ticks=False, title=None, grid=False)
    parts = []
    for words, index in sorted(first.items()):
        one = found.isel(checkpoint=index).values[:SHOWN]
        frame = pd.DataFrame({"x": one[:, 0], "y": one[:, 1], "class": labels[: len(one)].astype(str)})
        marks = alt.Chart(frame, title=words).mark_text(fontSize=9, color="black")
        drawn = marks.encode(x=alt.X("x:Q", axis=quiet), y=alt.Y("y:Q", axis=quiet), text="class:N")
        parts.append(drawn.properties(width=260, height=200))
    names = ", ".join(f"{number} {name}" for number, name in enumerate(map(str, ds["class"].values)))
    caption = [
        f"The first {SHOWN} test images, each as the number of its class: {names}.",
        "Last layer, mean pooling. t-SNE keeps neighbourhoods, not distances; its axes have no unit.",
    ]
    title = alt.TitleParams("Do features keep ten classes apart? One run a setting", subtitle=caption, anchor="start")
    return alt.concat(*parts, columns=4, title=title, background="white")


def numbers(ds: xr.Dataset) -> str:
    """The block that stands in the README."""
    table = {"linear_accuracy": MEAN, "knn_accuracy": NEAR, "silhouette": MEAN}
    paper = writing.beside_paper(ds, "linear_accuracy", MEAN)
    return writing.by_setting(ds, table) + "\n" + paper + "\n" + text(ds, HYPOTHESES)


def main() -> None:
    ds = writing.opened(HERE)
    title = "Separability against masking: what each hypothesis tests"
    writing.save(panels.figure(ds, HYPOTHESES, AXES, title, CAPTION), HERE, "evidence")
    writing.save(embedding(ds), HERE, "embedding")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
