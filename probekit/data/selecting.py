"""From everything that a source found to the images of one split: the steps that all sources share.

In this order: the classes that are wanted, classes without an image, the split, unreadable images, the draw of `count`.
Whatever is left out, renamed or drawn is written into the notes of the set and, unless it is only a draw, warned of.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from probekit import progress
from probekit.data import superclasses
from probekit.data.base import ImageSet
from probekit.data.decode import open_rgb
from probekit.data.request import Request
from probekit.data.sampling import draw
from probekit.data.splits import Part, pick
from probekit.errors import DataError, did_you_mean


class Found(NamedTuple):
    """What a source holds.

    `read(part, index)` decodes an image of a part or raises a DataError; `name(part, index)` is for messages.
    """

    parts: Mapping[str, Part]
    classes: Sequence[str]
    read: Callable[[str, int], Any]
    name: Callable[[str, int], str]
    superclasses: Sequence[str] | None = None
    notes: tuple[str, ...] = ()
    """What the caller must hear of; `quiet` is for the description only."""
    quiet: tuple[str, ...] = ()


def pictures_below(root: Path, paths: Mapping[str, Sequence[str]]) -> Found:
    """Pictures without labels: their paths below a folder, by part."""
    return Found(
        {part: Part.of(listed, None) for part, listed in paths.items()},
        [],
        lambda part, index: open_rgb(root / paths[part][index]),
        lambda part, index: str(root / paths[part][index]),
    )


class Chosen(NamedTuple):
    """The images of a split: `indices` into the part of that name."""

    part: str
    indices: np.ndarray
    labels: np.ndarray | None
    classes: list[str]
    rule: str
    facts: dict[str, Any]
    notes: tuple[str, ...]
    unreadable: tuple[str, ...]
    superclasses: Sequence[str] | None
    stated: bool

    @property
    def description(self) -> str:
        classes = f" in {len(self.classes)} classes" if self.labels is not None else ""
        return "; ".join([f"{len(self.indices)} images{classes}", f"splits: {self.rule}", *self.notes])

    def options(self, request: Request) -> dict[str, Any]:
        """What an `ImageSet` is made with."""
        return {
            "spec": request.spec,
            "split": request.split,
            "classes": self.classes,
            "labels": self.labels,
            "size": len(self.indices),
            "description": self.description,
        }

    def finish(self, images: ImageSet) -> None:
        """Sets on an image set what was found out on the way."""
        images.unreadable, images.notes = self.unreadable, self.notes
        superclasses.attach(images, self.superclasses, implied=not self.stated)


def select(found: Found, request: Request) -> Chosen:
    """The images that are asked for.

    Raises:
        DataError: a class or split does not exist, a class is too small to be divided, or there are too few images.
    """
    notes = list(found.notes)
    parts, classes, above = _wanted_classes(found, request)
    parts, classes, above = _without_empty(parts, classes, above, request.spec, notes)
    choice = pick(request.split, parts, classes, request.spec, whole=request.whole)
    part, indices = parts[choice.part], choice.indices
    left_out: list[str] = []
    lost: list[str] = []
    if request.on_unreadable == "skip":
        at = part.positions
        bad = _unreadable(indices, lambda index: found.read(choice.part, int(at[index])), request.spec)
        left_out = [found.name(choice.part, int(at[index])) for index in indices if index in bad]
        if left_out:
            shown = ", ".join(left_out[:5]) + (", ..." if len(left_out) > 5 else "")
            notes.append(f"left out {len(left_out)} of {len(indices)} images that cannot be read: {shown}")
        indices = np.array([index for index in indices if index not in bad], dtype=np.int64)
        if part.labels is not None:
            lost = [classes[int(number)] for number in np.setdiff1d(part.labels[choice.indices], part.labels[indices])]
    for note in notes:
        warnings.warn(f"{request.spec}: {note}", stacklevel=3)
    if lost:
        raise DataError(
            f"{request.spec}, without {len(left_out)} unreadable images: {len(lost)} of {len(classes)} classes have no "
            f"image: {_listed(lost)}. Mend those images, or leave the classes out (classes=[...])."
        )
    labels = None if part.labels is None else part.labels[indices]
    if not len(indices):
        raise DataError(f"{request.spec}: the {request.split} split has no images.")
    count = request.count if request.exact or request.count is None else min(request.count, len(indices))
    notes += found.quiet
    drawn = draw([part.names[index] for index in indices], labels, count, request.seed, request.sampling)
    facts: dict[str, Any] = {"split_rule": choice.rule}
    if len(drawn) < len(indices):
        facts["sampling"] = request.sampling
        how = "in the classes' own proportions" if request.sampling == "proportional" else "as many of each class"
        how = how if labels is not None else "at random"
        notes.append(f"{len(drawn)} of {len(indices)} images, drawn {how} (seed {request.seed})")
    stated = request.superclasses is not None
    if stated:
        above = superclasses.stated(request.superclasses or {}, classes, request.spec)
    return Chosen(
        choice.part,
        part.positions[indices[drawn]],
        None if labels is None else labels[drawn],
        classes,
        choice.rule,
        facts,
        tuple(notes),
        tuple(left_out),
        above or superclasses.recognised(classes),
        stated,
    )


def _wanted_classes(found: Found, request: Request) -> tuple[dict[str, Part], list[str], Sequence[str] | None]:
    """The parts with the classes that are asked for, in their order."""
    classes, above = list(found.classes), found.superclasses
    if request.classes is None:
        return dict(found.parts), classes, above
    if any(part.labels is None for part in found.parts.values()):
        raise DataError(f"{request.spec}: classes={list(request.classes)} were asked for, but there are no labels.")
    first_words = {name.split(" ")[0]: name for name in classes}  # ImageNet's: "n01440764 tench"
    wanted = [first_words.get(str(name), str(name)) for name in request.classes]
    for name in wanted:
        if name not in classes:
            raise DataError(f"{request.spec}: there is no class {name!r}. {did_you_mean(name, classes)}")
    if len(set(wanted)) != len(wanted) or not wanted:
        raise DataError(f"{request.spec}: classes={wanted}: one or more different names are expected.")
    numbers = [classes.index(name) for name in wanted]
    parts = {key: _renumbered(part, numbers) for key, part in found.parts.items()}
    return parts, wanted, None if above is None else [above[number] for number in numbers]


def _without_empty(
    parts: dict[str, Part], classes: list[str], above: Sequence[str] | None, spec: str, notes: list[str]
) -> tuple[dict[str, Part], list[str], Sequence[str] | None]:
    """The parts without the classes that have no image in any of them."""
    seen = {key: set(np.unique(part.labels).tolist()) for key, part in parts.items() if part.labels is not None}
    if not seen:
        return parts, classes, above
    anywhere = set.union(*seen.values())
    if len(anywhere) < len(classes):
        empty = [name for number, name in enumerate(classes) if number not in anywhere]
        notes.append(f"{len(empty)} of {len(classes)} classes have no image and are left out: {_listed(empty)}")
        numbers = sorted(anywhere)
        parts = {key: _renumbered(part, numbers) for key, part in parts.items()}
        seen = {key: set(np.unique(part.labels).tolist()) for key, part in parts.items() if part.labels is not None}
        classes, above = [classes[n] for n in numbers], None if above is None else [above[n] for n in numbers]
    for key, numbers_seen in seen.items():
        missing = [name for number, name in enumerate(classes) if number not in numbers_seen]
        if missing:
            notes.append(f"{len(missing)} of {len(classes)} classes have no {key} image: {_listed(missing)}")
    return parts, classes, above


def _renumbered(part: Part, numbers: Sequence[int]) -> Part:
    """The images of the classes `numbers`, which become 0, 1, ..."""
    assert part.labels is not None
    new = {old: place for place, old in enumerate(numbers)}
    kept = np.array([i for i, label in enumerate(part.labels.tolist()) if label in new], dtype=np.int64)
    labels = np.array([new[label] for label in part.labels[kept].tolist()], dtype=np.int64)
    return Part([part.names[i] for i in kept], labels, part.positions[kept])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _unreadable(indices: np.ndarray, read: Callable[[int], Any], spec: str) -> set[int]:
    bad = set()
    with progress.bar(f"{spec}: looking for unreadable images", len(indices)) as advance:
        for index in indices:
            try:
                read(int(index))
            except DataError:
                bad.add(int(index))
            advance(note=f"{len(bad)} unreadable" if bad else "")
    return bad
