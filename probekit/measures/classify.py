"""The linear probe as a whole, coarse classes, and shape bias.

Settings (a penalty, a learning rate) are always chosen on validation images and reported on test images: choosing where
one reports is the commonest way to flatter a probe.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probekit.errors import ProbeError, did_you_mean
from probekit.measures.linear import MEMORY_BYTES, Floats, Ints, Linear, Rows
from probekit.measures.logistic import STRENGTHS, fit_logistic
from probekit.measures.selection import edge
from probekit.measures.sgd import fit_dinov2_grid, fit_mae_lars

TOLERANCE = 1e-7
"""Relative decrease of the objective that ends the sweep's chosen fit: it is then within about 1e-6 of the optimum."""
PRESETS = ("lbfgs-sweep", "mae-lars-90", "dinov2-grid")


@dataclass(frozen=True)
class LinearProbe:
    """A linear head whose setting was chosen on validation images.

    Args:
        logits: (test images, classes) of the chosen head.
        model: all heads that were fitted.
        chosen: index of the chosen one in `model.settings`; of equally good ones the first (the strongest penalty).
        val_accuracy: (settings,), top-1 of each head on the validation images.
        at_edge: the chosen setting is the first or last of several: the best one may lie outside the grid.
    """

    logits: Floats
    model: Linear
    chosen: int
    val_accuracy: Floats
    at_edge: bool


def linear_probe(
    train: Rows,
    train_labels: NDArray[Any],
    val: Rows,
    val_labels: NDArray[Any],
    test: Rows,
    *,
    classes: int,
    preset: str = "lbfgs-sweep",
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
    device: str = "cpu",
    memory: int = MEMORY_BYTES,
) -> LinearProbe:
    """Fit on `train`, choose on `val`, apply to `test`.

    Args:
        train, val, test: features (n, d): arrays, memmaps, zarr arrays or columns of a store, read in chunks.
        train_labels, val_labels: whole numbers in 0..classes-1.
        classes: their number.
        preset: "lbfgs-sweep", "mae-lars-90" or "dinov2-grid".
        strengths: inverse penalties of the sweep (scikit-learn's C).
        seed: of the presets that descend stochastically.
        device: where to fit.
        memory: bytes of features that the sweep may keep; the other presets keep a batch.

    Raises:
        ProbeError: an unknown preset; NaN features; one class only; fewer images than classes.
    """
    if preset not in PRESETS:
        raise ProbeError(f"No linear probe preset {preset!r}. {did_you_mean(preset, PRESETS)}")
    if preset == "lbfgs-sweep":
        path = fit_logistic(
            train, train_labels, classes=classes, strengths=strengths, tolerance=TOLERANCE,
            validation=(val, val_labels), device=device, memory=memory,
        )  # fmt: skip
        assert path.chosen is not None
        if not path.converged[path.chosen]:
            warnings.warn(
                f"The linear probe at C = {path.settings[path.chosen]:g} stopped after {path.iterations[path.chosen]} "
                "evaluations, short of its optimum: take its numbers with care.",
                RuntimeWarning,
                stacklevel=2,
            )
        return applied(path, sorted(strengths), path.val_accuracy, path.chosen, test)
    fit = fit_mae_lars if preset == "mae-lars-90" else fit_dinov2_grid
    model = fit(train, train_labels, classes=classes, seed=seed, device=device)
    accuracy = model.accuracies(val, np.asarray(val_labels))
    return applied(model, model.settings, accuracy, int(accuracy.argmax()), test)


def applied(model: Linear, tried: Sequence[float], accuracy: Floats, chosen: int, test: Rows) -> LinearProbe:
    """The chosen head on test images; `tried` are all settings in order."""
    at_edge = edge(model.settings[chosen], tried)
    return LinearProbe(model.logits(test, chosen), model, chosen, accuracy, bool(at_edge))


def softmax(logits: NDArray[np.floating]) -> Floats:
    """Probabilities along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float64)


def coarse_probabilities(probabilities: NDArray[np.floating], members: Sequence[Sequence[int]]) -> Floats:
    """Probability of each coarse class as the *mean* over its fine classes, (n, coarse) (Geirhos et al., 2019).

    Args:
        probabilities: (n, fine).
        members: the fine classes of each coarse class.
    """
    if any(len(fine) == 0 for fine in members):
        empty = next(i for i, fine in enumerate(members) if len(fine) == 0)
        raise ProbeError(f"Coarse class {empty} has no fine class: its probability is undefined.")
    return np.stack([probabilities[:, list(fine)].mean(axis=1) for fine in members], axis=1)


def balanced_contributions(correct: NDArray[np.floating], labels: Ints) -> NDArray[np.float32]:
    """What each image adds to the balanced accuracy, the mean over classes of the share of their images that are right.

    Args:
        correct: (..., images), 1 where an image is right, else 0.
        labels: (images,), classes; those without an image do not count.

    Returns:
        (..., images): the mean over images is the balanced accuracy; the differences are each image's influence.
    """
    _, of_image, counts = np.unique(labels, return_inverse=True, return_counts=True)
    flat = np.asarray(correct, dtype=np.float64).reshape(-1, len(labels))
    right = [np.bincount(of_image, row, len(counts)) for row in flat]
    recall = (np.stack(right) / counts).reshape(*np.shape(correct)[:-1], len(counts))
    weight = len(labels) / (len(counts) * counts[of_image])
    return np.asarray(recall.mean(axis=-1)[..., None] + (correct - recall[..., of_image]) * weight, dtype=np.float32)


@dataclass(frozen=True)
class ShapeBias:
    """Shape decisions over shape and texture decisions.

    Args:
        value: in [0, 1]; NaN if neither was ever chosen.
        per_image: 1 shape, 0 texture, NaN neither or not in conflict, (n,): its mean is `value`.
        decided: share of the images in conflict where one of both was chosen.
    """

    value: float
    per_image: Floats
    decided: float


def shape_bias(predicted: Ints, shape: Ints, texture: Ints) -> ShapeBias:
    """Shape bias of predicted classes, where shape and texture of an image say different things (Geirhos et al., 2019).

    Args:
        predicted, shape, texture: classes (n,). Images whose shape and texture agree are dropped.

    Raises:
        ProbeError: no image is in conflict.
    """
    conflict = shape != texture
    if not conflict.any():
        raise ProbeError(
            f"None of {len(shape)} images has a shape and a texture of different classes: no conflict to decide."
        )
    by_shape, by_texture = conflict & (predicted == shape), conflict & (predicted == texture)
    decided = by_shape | by_texture
    per_image = np.where(decided, by_shape.astype(np.float64), np.nan)
    value = float(per_image[decided].mean()) if decided.any() else float("nan")
    return ShapeBias(value, per_image, float(decided.sum() / conflict.sum()))
