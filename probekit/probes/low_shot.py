"""How well a linear head and nearest neighbours do with few training images of each class."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from scipy import special

from probekit.collect import Measurements
from probekit.measures.classify import linear_probe
from probekit.measures.knn import TEMPERATURE, knn
from probekit.probes.intervals import mean_with_interval, say_odd_features, say_what_weakens
from probekit.probes.linear_head import in_one_order
from probekit.schema import CONFIDENCE, Variable

CLASSIFIERS = ("linear", "knn")
NEIGHBOURS = 20

VARIABLES = (
    Variable(
        "low_shot_accuracy", ("classifier", "per_class", "pooling"), "Low-shot accuracy", "1", "higher",
        "features of the last layer; 1, 5, ... train images of each class, drawn several times (option draws), or all "
        f"of them; linear: multinomial logistic regression, L2 chosen on all of val; knn: {NEIGHBOURS} nearest by "
        f"cosine (fewer where there are fewer), votes weighted by exp(similarity / {TEMPERATURE}); accuracy on test, "
        "mean over draws",
        "Caron et al. 2021; El-Nouby et al. 2024",
        interval="Student's t over draws of the train images; where all are used: bootstrap over test images",
    ),
)  # fmt: skip
NEEDS = ("features:train", "features:val", "features:test")
REQUIRES = ("splits", "classes")
OPTIONS = {"per_class": [1, 5, 10], "draws": 5}


def run(measurements: Measurements, *, per_class: list[int], draws: int) -> dict[str, xr.DataArray]:
    labels, train = measurements.labels("test"), measurements.labels("train")
    shots = [*per_class, None]
    shape = (len(CLASSIFIERS), len(shots), len(measurements.poolings))
    hits = np.full((*shape, len(labels)), np.nan, dtype=np.float32)
    ends = np.full((*shape, 2), np.nan)
    for s, shot in enumerate(shots):
        chosen = list(drawn(measurements, train, shot, draws))
        for p, pooling in enumerate(measurements.poolings if chosen else ()):
            found = np.stack([correct(measurements, pooling, rows) for rows in chosen])  # (draws, classifiers, images)
            hits[:, s, p] = found.mean(axis=0)
            if len(chosen) > 1:
                each = found.mean(axis=2)
                error = each.std(axis=0, ddof=1) / len(chosen) ** 0.5
                reach = special.stdtrit(len(chosen) - 1, 0.5 + CONFIDENCE / 2) * error
                middle = each.mean(axis=0)
                ends[:, s, p] = np.stack([middle - reach, middle + reach], axis=1).clip(0, 1)
    values, over_images = mean_with_interval(measurements, hits)
    ends[:, -1] = over_images[:, -1]
    say_what_weakens(measurements, values, ends, "low-shot")
    say_odd_features(measurements)
    names = [str(shot or "all") for shot in shots]
    coords = {"classifier": list(CLASSIFIERS), "per_class": names, "pooling": list(measurements.poolings)}
    out = VARIABLES[0].arrays(values, ends, coords=coords, per_image=hits)
    out["low_shot_accuracy"].attrs["draws"] = draws
    return out


def drawn(measurements: Measurements, labels: np.ndarray, shot: int | None, draws: int) -> Iterator[np.ndarray]:
    """Rows of each draw, sorted; all rows once for None; nothing where a class has too few images."""
    if shot is None:
        yield np.arange(len(labels))
        return
    classes = np.unique(labels)
    if min(int((labels == one).sum()) for one in classes) < shot:
        return
    ranked = np.argsort(measurements.order(len(labels), "train"))
    for draw in range(draws):
        shuffled = ranked[np.random.default_rng([measurements.seed, shot, draw]).permutation(len(labels))]
        yield np.sort(np.concatenate([shuffled[labels[shuffled] == one][:shot] for one in classes]))


def correct(measurements: Measurements, pooling: str, rows: np.ndarray) -> np.ndarray:
    """Which test images each classifier tells rightly: bool (classifiers, images)."""
    layer = measurements.all_layers[-1]
    train, val, test = (measurements.streamed(split, layer, pooling) for split in ("train", "val", "test"))
    labels, wanted = measurements.labels("train"), measurements.labels("test")
    classes = len(measurements.images("train").classes)
    shown, known = in_one_order(train if len(rows) == len(train) else train[rows], labels[rows])
    linear = linear_probe(
        shown, known, val, measurements.labels("val"), test, classes=classes, seed=measurements.seed,
        device=measurements.device, memory=measurements.memory,
    )  # fmt: skip
    near = knn(
        shown, known, test, classes=classes, ks=(min(NEIGHBOURS, len(rows)),), temperature=TEMPERATURE,
        device=measurements.device, memory=measurements.memory,
    )  # fmt: skip
    return np.stack([linear.logits.argmax(axis=1) == wanted, near.predicted[0] == wanted])
