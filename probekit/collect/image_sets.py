"""The image sets of one evaluation: splits and shifted test sets, opened when first needed and shared by all
checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probekit import data
from probekit.collect.pass_settings import Counts
from probekit.collect.prepared import Pairs
from probekit.data import SPLITS, ImageSet
from probekit.data.interleaving import interleave_classes
from probekit.errors import DataError


class Splits:
    """Splits of one image set.

    Args:
        source: a spec; a pair of arrays or a torch Dataset (both split by the data room); a dict split -> ImageSet; or
            an ImageSet, which is then its own split alone.
        counts: how many images of each split are used: fewer if there are fewer.
        shifts: specs of shifted test sets besides those that the image set names itself.
        conflict: spec of a set whose shape and texture disagree, instead of the image set's own.
    """

    def __init__(self, source: Any, counts: Counts, *, shifts: Sequence[str] = (), conflict: str | None = None) -> None:
        if isinstance(source, Mapping):
            check_splits(source)
        self.source = source
        self.counts = counts
        self._more_shifts, self._conflict = tuple(shifts), conflict
        self._splits: dict[str, ImageSet] = {}
        self._shifts: dict[str, ImageSet] = {}
        self._pairs: dict[int, Pairs] = {}

    @property
    def name(self) -> str:
        return next(iter(self._splits.values()), None).name if self._splits else self.any.name

    @property
    def any(self) -> ImageSet:
        """The test split, or what there is instead."""
        for split in ("test", "val", "train"):
            if self.has(split):
                return self[split]
        raise DataError(f"data={self.source!r} has no split at all.")

    def has(self, split: str) -> bool:
        """Whether the split exists (a spec promises all three)."""
        if isinstance(self.source, Mapping):
            return split in self.source
        return self.source.split == split if isinstance(self.source, ImageSet) else True

    def __getitem__(self, split: str) -> ImageSet:
        if split not in self._splits:
            self._splits[split] = self._open(split)
        return self._splits[split]

    def _open(self, split: str) -> ImageSet:
        if not self.has(split):
            raise DataError(
                f"data={self.source!r} has no {split} split, which is needed here. Give a spec, or a dict of image "
                f"sets with "
                f"the keys {', '.join(SPLITS)}."
            )
        source = self.source[split] if isinstance(self.source, Mapping) else self.source
        return interleave_classes(opened(source, split, self.counts.split(split)))

    def size(self, split: str) -> int:
        """How many images of a split are used."""
        return min(len(self[split]), self.counts.split(split))

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of the splits that were opened."""
        return {split: images.fingerprint for split, images in self._splits.items()}

    @property
    def shifts(self) -> tuple[str, ...]:
        """Specs of shifted test sets."""
        return tuple(dict.fromkeys((*self.any.shifts, *self._more_shifts)))

    @property
    def conflict(self) -> str | None:
        """Spec of a set whose shape and texture disagree."""
        return self._conflict or getattr(self.any, "conflict", None)  # sets without one do not have the attribute

    def shifted(self, spec: str) -> ImageSet:
        if spec not in self._shifts:
            self._shifts[spec] = interleave_classes(opened(spec, "test", self.counts.shifted))
        return self._shifts[spec]

    def pairs(self, seed: int) -> Pairs:
        """The test images with their partners, drawn once for all checkpoints."""
        if seed not in self._pairs:
            self._pairs[seed] = Pairs(self["test"], min(self.counts.pairs, self.size("test")), seed)
        return self._pairs[seed]


def check_splits(source: Mapping[Any, Any]) -> None:
    """A `DataError` unless this is split -> ImageSet."""
    if not source or set(source) - set(SPLITS) or not all(isinstance(one, ImageSet) for one in source.values()):
        given = ", ".join(f"{key!r}: {type(one).__name__}" for key, one in source.items())
        raise DataError(
            f"data={{{given}}}: a dict of image sets has the keys {', '.join(SPLITS)}, or some of them, and ImageSets "
            "(probekit.data.load makes one of arrays, folders and torch data sets)."
        )


def opened(source: Any, split: str, count: int) -> ImageSet:
    """`count` images of a split, or all of them where there are fewer."""
    if isinstance(source, ImageSet):
        return source
    if isinstance(source, Path):
        source = str(source)
    try:
        return data.load(source, split, count=count)
    except MemoryError as error:
        raise DataError(
            f"{count} images of {source!r} ({split}) do not fit in memory ({error}): ask for fewer."
        ) from error
    except DataError:
        everything = data.load(source, split)
        if len(everything) >= count:
            raise
        return everything
