"""The image sets of one evaluation: splits and shifted test sets, opened when first needed and shared by all
checkpoints.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from probekit import data
from probekit.collect.pass_settings import Counts
from probekit.collect.prepared import Pairs
from probekit.data import SPLITS, ImageSet
from probekit.data.duplicates import without_copies
from probekit.data.interleaving import Subset, interleave_classes
from probekit.data.memory import by_split, read_once
from probekit.errors import DataError

FEW = 6
"""A `val` split that was divided off and has fewer images than this is warned of."""


def _say_if_few(val: ImageSet, asked: int) -> None:
    """Warn, and note, that the split to select on was made here and has only a few images."""
    opened = val
    while isinstance(opened, Subset):
        opened = opened.images
    rule = str(opened.facts.get("split_rule", ""))
    if "hash" not in rule or len(val) >= min(FEW, asked):
        return
    note = (
        f"val has {len(val)} images ({rule}): what is selected on them, such as a penalty, is left to chance. Give a "
        "val split of its own, or more images"
    )
    val.notes = (*val.notes, note)
    warnings.warn(f"{val.spec}: {note}", stacklevel=3)


class Splits:
    """Splits of one image set.

    Args:
        source: anything that `probekit.data.load` takes; a dict split -> anything of that kind, each taken as it is; or
            an ImageSet, which is then its own split alone.
        counts: how many images of each split are used: fewer if there are fewer.
        shifts: specs of shifted test sets besides those that the image set names itself.
        conflict: spec of a set whose shape and texture disagree, instead of the image set's own.
        sampling: how fewer images than there are are drawn: "proportional" or "balanced" over the classes.
    """

    def __init__(
        self,
        source: Any,
        counts: Counts,
        *,
        shifts: Sequence[str] = (),
        conflict: str | None = None,
        sampling: str = "proportional",
    ) -> None:
        self.source = read_once(by_split(source) if isinstance(source, Mapping) else source)
        self.counts = counts
        self.sampling = sampling
        self._more_shifts, self._conflict = tuple(shifts), conflict
        self._splits: dict[str, ImageSet] = {}
        self._shifts: dict[str, ImageSet] = {}
        self._pairs: dict[int, Pairs] = {}

    @property
    def name(self) -> str:
        """Of the image set."""
        return (next(iter(self._splits.values())) if self._splits else self.any).name

    @property
    def any(self) -> ImageSet:
        """The test split; another one if there is none."""
        for split in ("test", "val", "train"):
            if self.has(split):
                return self[split]
        raise DataError(f"data={self.source!r} has no split at all.")

    def has(self, split: str) -> bool:
        """Whether the split exists (a spec promises all three)."""
        if isinstance(self.source, Mapping) and "all" not in self.source:
            return split in self.source
        return self.source.split == split if isinstance(self.source, ImageSet) else True

    def __getitem__(self, split: str) -> ImageSet:
        """The images of a split without those that a reported split contains too."""
        if split not in self._splits:
            opened = self._open(split)
            made_disjoint = isinstance(self.source, str) and opened.disjoint
            later = () if made_disjoint else SPLITS[SPLITS.index(split) + 1 :]
            reported = [self[other] for other in later if self.has(other)]
            self._splits[split] = without_copies(opened, reported)
            if split == "val":
                _say_if_few(self._splits[split], self.counts.val)
        return self._splits[split]

    def _open(self, split: str) -> ImageSet:
        if not self.has(split):
            raise DataError(
                f"data={self.source!r} has no {split} split, which is needed here. Give a spec, or a dict with the "
                f"keys {', '.join(SPLITS)}."
            )
        return interleave_classes(self._load(self.source, split, self.counts.split(split)))

    def _load(self, source: Any, split: str, count: int) -> ImageSet:
        """Draw `count` images of a split, as `sampling` says; all images if there are fewer."""
        try:
            return data.load(source, split, count=count, exact=False, sampling=self.sampling)
        except MemoryError as error:
            raise DataError(
                f"{count} images of {source!r} ({split}) do not fit in memory ({error}): ask for fewer."
            ) from error

    @property
    def notes(self) -> dict[str, list[str]]:
        """What was left out, renamed or drawn in the splits and shifted sets that were opened: name -> sentences."""
        opened = {**self._splits, **self._shifts}
        return {name: list(images.notes) for name, images in opened.items() if images.notes}

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
        """The images of a shifted test set, without those used for fitting or selection."""
        if spec not in self._shifts:
            opened = interleave_classes(self._load(spec, "test", self.counts.shifted))
            self._shifts[spec] = without_copies(opened, [self[split] for split in ("train", "val") if self.has(split)])
        return self._shifts[spec]

    def pairs(self, seed: int) -> Pairs:
        """The test images with their partners, drawn once for all checkpoints."""
        if seed not in self._pairs:
            self._pairs[seed] = Pairs(self["test"], min(self.counts.pairs, self.size("test")), seed)
        return self._pairs[seed]
