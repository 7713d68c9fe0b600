"""The linear head on frozen features of the last layer that robustness, shape bias and gradients share."""

from __future__ import annotations

from typing import Any

from probekit.collect import Measurements
from probekit.measures import classify

HEAD = (
    "linear head (multinomial logistic regression, L2 chosen on val) on frozen features of the last layer, fitted on "
    "the "
    "unshifted train split, no fine-tuning"
)


def head(m: Measurements, pooling: str, test: Any) -> Any:
    """The fitted linear probe of the last layer, with `logits` for the features `test`."""
    layer = m.layers[-1]
    labels = {split: m.labels(split) for split in ("train", "val")}
    train, val = (m.pooled(split, layer, pooling) for split in ("train", "val"))
    classes = len(m.images("train").classes)
    return classify.linear_probe(
        train, labels["train"], val, labels["val"], test, classes=classes, seed=m.seed, device=str(m.frame.device)
    )
