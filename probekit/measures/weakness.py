"""Caveats of a score, in words, stored with the numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

TINY = 5
"""A class with fewer test images than this is said to be tiny."""

HUGE = 1e6
"""Features whose largest absolute value is above this are said to be huge: a final norm gives about 1 to 100."""


def what_weakens(
    values: ArrayLike,
    interval: ArrayLike,
    usual: float,
    *,
    of: str = "",
    score: str = "accuracy",
    over: str = "the most frequent class",
    without: str = "always saying the most frequent class",
) -> dict[str, str]:
    """A sentence where no score is above that of a guess.

    Args:
        values: scores, of any shape; higher is better.
        interval: their intervals, (*values.shape, 2).
        usual: the score without looking.
        of: which score it is, e.g. "k-NN"; empty for the linear probe's.
        score: its noun.
        over, without: what `usual` is of.

    Returns:
        "margin over ..." -> the sentence; nothing where a lower end lies above `usual`.

    Example:
        >>> what_weakens([0.5], [[0.4, 0.6]], 0.45)["margin over the most frequent class"][:58]
        'the best accuracy is 0.500, and no interval lies above the'
    """
    scores, ends = np.asarray(values, dtype=np.float64), np.asarray(interval, dtype=np.float64)
    if not np.isfinite(scores).any() or (ends[..., 0] > usual).any():
        return {}
    name = f"{of}, margin over {over}" if of else f"margin over {over}"
    return {
        name: f"the best {score} is {np.nanmax(scores):.3f}, and no interval lies above the {usual:.3f} of {without}"
    }


def tiny_classes(labels: ArrayLike, names: Sequence[str]) -> dict[str, str]:
    """A sentence where classes have few test images: `labels` (images,) are numbers of the `names`."""
    counts = np.bincount(np.asarray(labels), minlength=len(names))
    tiny = [name for name, count in zip(names, counts, strict=True) if 0 < count < TINY]
    if not tiny:
        return {}
    shown = ", ".join(tiny[:5]) + (", ..." if len(tiny) > 5 else "")
    return {
        "tiny classes": f"{len(tiny)} of {len(names)} classes have fewer than {TINY} test images ({shown}): their "
        "recall, and the balanced accuracy, rest on those"
    }


def odd_features(features: np.ndarray, name: str) -> dict[str, str]:
    """Sentences where features (rows, width) never vary, or are larger than any norm gives; `name` is theirs."""
    said = {}
    if len(features) > 1 and not np.ptp(features, axis=0).any():
        said[f"constant features, {name}"] = "the last layer gives every image the same features"
    if (largest := float(np.abs(features).max())) > HUGE:
        said[f"huge features, {name}"] = (
            f"features of the last layer reach {largest:.1e}, where a final norm gives about 1 to 100: its weights may "
            "be damaged"
        )
    return said
