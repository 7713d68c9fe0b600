"""How data with some splits or none is divided, and how `count` images are chosen: by hashes of names, not by position.

| given            | train / val / test                                        |
|------------------|-----------------------------------------------------------|
| none             | 60 / 20 / 20 % of everything                              |
| train alone      | 60 / 20 / 20 % of it                                      |
| train + val      | 90 % of train / 10 % of train / what is given as val      |
| train + test     | 90 % of train / 10 % of train / what is given as test     |
| all three        | as given                                                  |
| val, test, both  | as given; there is no train                               |

(With train + val, as ImageNet comes, val is what gets reported, so it must not be what is selected on.) Shares are per
class. A hash of the relative path ranks a file the same wherever the folder lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from probekit.data.base import check_count
from probekit.data.randomness import unit_interval
from probekit.errors import DataError

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
"""Shares of a set that comes without splits, per class."""

VAL_SHARE = 0.1
"""Share of a given train split that becomes `val`, per class, where only train and test are given."""


ALIASES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test"}
"""Names under which splits are found, in lower case."""


class Part(NamedTuple):
    """What is given as one split: a unique name and a label per image."""

    names: Sequence[str]
    labels: np.ndarray


class Choice(NamedTuple):
    """Which images make up a split: indices into one of the given parts, and the rule in words."""

    part: str
    indices: np.ndarray
    rule: str


def pick(split: str, parts: Mapping[str, Part], classes: Sequence[str], spec: str) -> Choice:
    """The images of `split` by the table above; `parts` is keyed by split, or by "all" if there are no splits."""
    if set(parts) <= {"all", "train"}:
        (key,) = parts
        rule = "60/20/20 per class by a hash of the name" + (", of what is given as train" if key == "train" else "")
        return Choice(key, _share(split, parts[key], SHARES, classes), rule)
    if "train" not in parts or len(parts) == 3:
        if split not in parts:
            raise DataError(f"{spec}: there is no {split} split; there is {' and '.join(parts)}.")
        return Choice(split, np.arange(len(parts[split].names)), f"{split} as given")
    (other,) = set(parts) - {"train"}
    if split == "test":
        return Choice(other, np.arange(len(parts[other].names)), f"what is given as {other}")
    shares = {"train": 1 - VAL_SHARE, "val": VAL_SHARE}
    return Choice("train", _share(split, parts["train"], shares, classes), "90/10 per class by a hash, of train")


def _share(split: str, part: Part, shares: dict[str, float], classes: Sequence[str]) -> np.ndarray:
    return np.flatnonzero(divide(part.names, part.labels, shares, classes=classes) == split)


def check_no_gaps(labels: np.ndarray, classes: Sequence[str], spec: str) -> None:
    """Refuse classes without an image: what is fitted on them or averaged over them would mean nothing."""
    if len(labels) and labels.min() < 0:
        raise DataError(f"{spec}: {(labels < 0).sum()} labels are negative, such as {labels.min()}; they count from 0.")
    counts = np.bincount(labels, minlength=len(classes))
    empty = [classes[int(index)] for index in np.flatnonzero(counts == 0)]
    if empty:
        raise DataError(
            f"{spec}: {len(empty)} of {len(classes)} classes have no image: {', '.join(map(str, empty[:5]))}. "
            "Labels count from 0 to the number of classes less one, without gaps; remove empty classes or fill them."
        )


def divide(names: Sequence[str], labels: np.ndarray, shares: dict[str, float], *, classes: Sequence[str]) -> np.ndarray:
    """Which split each image belongs to: an array of split names (n,).

    Within each class, images are ranked by a hash of their name and the ranks are cut by `shares`, so that every split
    gets its share of every class to within one image, and at least one.
    """
    labels = np.asarray(labels)
    ranks = np.array([unit_interval(f"split {name}") for name in names])
    result = np.empty(len(names), dtype=object)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < len(shares):
            raise DataError(
                f"The class {classes[int(label)]!r} has {len(members)} image(s): too few to be divided into "
                f"{', '.join(shares)}. Add images, remove the class, or provide split folders."
            )
        ordered = members[np.argsort(ranks[members], kind="stable")]
        ends = np.round(np.cumsum(list(shares.values())) * len(ordered)).astype(int)
        ends = np.clip(ends, np.arange(1, len(shares) + 1), len(ordered) - np.arange(len(shares) - 1, -1, -1))
        for split, part in zip(shares, np.split(ordered, ends[:-1]), strict=True):
            result[part] = split
    return result


def choose(names: Sequence[str], labels: np.ndarray, count: int | None, seed: int) -> np.ndarray:
    """Indices, ascending, of `count` images spread evenly over the classes; all of them if `count` is None.

    The choice for a smaller count is contained in that for a larger one with the same seed.
    """
    check_count(count, len(names))
    return np.arange(len(names)) if count is None else np.sort(turns(names, labels, seed)[:count])


def turns(names: Sequence[str], labels: np.ndarray, seed: int) -> np.ndarray:
    """All indices: one of each class by turns, in an order that names and seed determine."""
    labels = np.asarray(labels)
    order = np.argsort([unit_interval(f"choose {seed} {name}") for name in names], kind="stable")
    by_class = order[np.argsort(labels[order], kind="stable")]
    found, first = np.unique(labels[by_class], return_index=True)
    turn = np.empty(len(names), dtype=np.int64)  # an image of turn t is the t-th of its class
    turn[by_class] = np.arange(len(names)) - first[np.searchsorted(found, labels[by_class])]
    position = np.empty(len(names), dtype=np.int64)
    position[order] = np.arange(len(names))
    return np.lexsort((position, turn))
