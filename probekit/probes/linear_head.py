"""The linear head on frozen features of the last layer that robustness, shape bias and gradients share."""

from __future__ import annotations

import numpy as np

from probekit.collect import Measurements
from probekit.collect.stored import Column
from probekit.data import ImageSet
from probekit.errors import ProbeError, did_you_mean
from probekit.measures import classify

HEAD = (
    "linear head (multinomial logistic regression, L2 chosen on val) on frozen features of the last layer, fitted on "
    "the "
    "unshifted train split, no fine-tuning"
)


def fitted(measurements: Measurements, layer: int, pooling: str, preset: str = "lbfgs-sweep") -> classify.LinearProbe:
    """A linear probe of one layer, applied to the test split where there is one; that of the last layer is fitted once
    for all probes."""
    key = ("linear", layer, pooling, preset)
    if key in measurements.fits:
        kept: classify.LinearProbe = measurements.fits[key]
        return kept
    train, val, test = (measurements.streamed(split, layer, pooling) for split in ("train", "val", "test"))
    labels, classes = measurements.labels("train"), len(measurements.images("train").classes)
    if preset == "lbfgs-sweep":
        train, labels = in_one_order(train, labels)
    else:  # batches are drawn from the images, however they come
        order = np.argsort(measurements.order(len(labels), "train"))
        train = train[order] if isinstance(train, np.ndarray) else train.chosen(order)
        labels = labels[order]
    found = classify.linear_probe(
        train, labels, val, measurements.labels("val"), test, classes=classes, preset=preset, seed=measurements.seed,
        device=measurements.device, memory=measurements.memory,
    )  # fmt: skip
    if layer == measurements.all_layers[-1]:  # no other is asked for again, and it holds the logits of all test images
        measurements.fits[key] = found
    return found


def in_one_order(features: np.ndarray | Column, labels: np.ndarray) -> tuple[np.ndarray | Column, np.ndarray]:
    """Features and labels sorted, since rounding depends on the order of images; what is read from disk stays as it
    lies.
    """
    if not isinstance(features, np.ndarray):
        return features, labels
    order = np.lexsort((labels, *features[:, :3].T))
    return features[order], labels[order]


def head(measurements: Measurements, pooling: str) -> classify.LinearProbe:
    """The linear head on the last layer."""
    return fitted(measurements, measurements.all_layers[-1], pooling)


def head_logits(measurements: Measurements, pooling: str, features: np.ndarray) -> np.ndarray:
    """The head's logits for other features of the last layer, (n, classes)."""
    probe = head(measurements, pooling)
    return probe.model.logits(features, probe.chosen)


def own_classes(measurements: Measurements, images: ImageSet, logits: np.ndarray) -> np.ndarray:
    """Probabilities of another set's classes, (n, its classes): only those compete (IN-A and IN-R: their own 200).

    Classes are matched by ImageNet index where both sets know it, else by name. Where a class joins several of the
    head's, its probability is their mean (Geirhos et al. 2019).

    Raises:
        ProbeError: a class of the set that the head does not know.
    """
    train = measurements.images("train")
    members: list[list[int]] = []
    place = (
        {int(index): position for position, index in enumerate(train.class_indices)}
        if train.class_indices is not None
        else {}
    )
    for number, name in enumerate(images.classes):
        if images.class_members is not None and place:
            fine = [place[index] for index in images.class_members[number] if index in place]
        elif images.class_indices is not None and place:
            fine = [place[int(images.class_indices[number])]] if int(images.class_indices[number]) in place else []
        else:
            fine = [train.classes.index(name)] if name in train.classes else []
        if not fine:
            raise ProbeError(
                f"{images.spec}: its class {name!r} is none of the classes that the head was fitted on ({train.spec}). "
                f"{did_you_mean(name, train.classes)}"
            )
        members.append(fine)
    return classify.coarse_probabilities(classify.softmax(logits), members)
