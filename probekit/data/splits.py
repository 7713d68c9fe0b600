"""How data with some splits or none is divided: by hashes of names, not by position.

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

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from probekit.data.randomness import unit_interval
from probekit.errors import DataError

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
"""Shares of a set that comes without splits, per class."""

VAL_SHARE = 0.1
"""Share of a given train split that becomes `val`, per class, where only train and test are given."""


ALIASES = {
    "train": "train", "training": "train", "trainset": "train", "trn": "train",
    "val": "val", "valid": "val", "validation": "val", "validate": "val", "valset": "val", "dev": "val",
    "test": "test", "testing": "test", "testset": "test", "tst": "test",
}  # fmt: skip
"""Words that name a split, in lower case."""

NEUTRAL = frozenset(
    ["image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "jpg", "jpeg", "png", "data",
     "dataset", "set", "split", "folder", "seg"]
)  # fmt: skip
"""Words that may stand beside the name of a split, as in `images_train` or `test_set`."""


def split_name(name: str) -> str | None:
    """The split that the name of a folder, shard or array means, or None.

    >>> [split_name(name) for name in ("Train", "images_train", "val2017", "testing", "train_station")]
    ['train', 'train', 'val', 'test', None]
    """
    words = re.findall(r"[a-z]+|[0-9]+|[^a-z0-9_. -]+", name.lower())
    splits = [ALIASES[word] for word in words if word in ALIASES]
    others = [word for word in words if word not in ALIASES and word not in NEUTRAL and not word.isdecimal()]
    return splits[0] if len(splits) == 1 and not others else None


class Part(NamedTuple):
    """What is given as one split.

    `names` has a text per image that stays with the image if the images are reordered; `labels` is int64 (n,) or None;
    `positions` says which image of the source each is.
    """

    names: Sequence[str]
    labels: np.ndarray | None
    positions: np.ndarray

    @classmethod
    def of(cls, names: Sequence[str], labels: np.ndarray | None) -> Part:
        """A part with all images of a source."""
        return cls(names, labels, np.arange(len(names)))


class Choice(NamedTuple):
    """Which images make up a split: indices into one of the given parts, and the rule in words."""

    part: str
    indices: np.ndarray
    rule: str


def pick(split: str, parts: Mapping[str, Part], classes: Sequence[str], spec: str, *, whole: bool = False) -> Choice:
    """The images of `split` by the table above; `parts` is keyed by split, or by "all" if there are no splits.

    With `whole` nothing is divided: the part of that name, or else the only one that there is.
    """
    if whole:
        key = split if split in parts else next(iter(parts)) if len(parts) == 1 else ""
        if not key and split == "test" and set(parts) == {"train", "val"}:
            key = "val"
        if key:
            return Choice(key, np.arange(len(parts[key].names)), f"given as {split}")
    elif set(parts) <= {"all", "train"}:
        (key,) = parts
        rule = "60/20/20 per class by a hash of the name" + (", of what is given as train" if key == "train" else "")
        return Choice(key, _share(split, parts[key], SHARES, classes), rule)
    if whole or "train" not in parts or len(parts) == 3:
        if split not in parts:
            raise DataError(f"{spec}: there is no {split} split; there is {' and '.join(parts)}.")
        return Choice(split, np.arange(len(parts[split].names)), f"{split} as given")
    (other,) = set(parts) - {"train"}
    if split == "test":
        return Choice(other, np.arange(len(parts[other].names)), f"what is given as {other}")
    shares = {"train": 1 - VAL_SHARE, "val": VAL_SHARE}
    return Choice("train", _share(split, parts["train"], shares, classes), "90/10 per class by a hash, of train")


def _share(split: str, part: Part, shares: dict[str, float], classes: Sequence[str]) -> np.ndarray:
    if part.labels is None:
        everything = np.zeros(len(part.names), dtype=np.int64)
        return np.flatnonzero(divide(part.names, everything, shares, classes=["images without labels"]) == split)
    return np.flatnonzero(divide(part.names, part.labels, shares, classes=classes) == split)


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
