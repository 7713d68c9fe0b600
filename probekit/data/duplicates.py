"""Identical images in several splits: found by digests, told, and left out of the splits that are fitted on.

A model that was fitted on a test image, or selected on one, looks better than it is. So `train` loses what is in `val`
or `test`, and `val` what is in `test`; the reported images stay. A shifted test set has no fit of its own: it loses
what is in `train` or `val`.

Two images are the same if their files are, or their pixels: the same picture may be stored in two formats. Pixels are
decoded once; digests of files' pixels are kept in the cache. Splits of very many files are compared as files only, and
the notes say so.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probekit.data.base import ImageSet
from probekit.data.interleaving import Subset
from probekit.errors import DataError

DECODED = 50_000
"""Files in two splits together up to which their pixels are compared too."""


def without_copies(images: ImageSet, others: Sequence[ImageSet]) -> ImageSet:
    """The images of a split that are in none of the other splits.

    Args:
        images: the split that loses its copies.
        others: the splits that keep their images.

    Returns:
        `images` itself if it shares none; else the rest of it, with a note. What was left out is warned of.

    Raises:
        DataError: nothing is left.

    Example:
        >>> train, test = load("shapes", "train", count=9), load("shapes", "test", count=9)
        >>> without_copies(train, [test]) is train
        True
    """
    shared: dict[int, str] = {}
    unseen = []
    for other in others:
        generated = images.disjoint and other.disjoint and _source(images) == _source(other)
        if generated and images.split != other.split:
            continue
        found = copies(images, other)
        unseen += [] if found.pixels else [other.split]
        for index in found.indices:
            shared.setdefault(index, other.split)
    notes = list(images.notes)
    if unseen:
        notes.append(
            f"copies in {' and '.join(unseen)} were looked for as files only, since there are more than {DECODED:,}: "
            "the same picture stored in another format is not found"
        )
    if not shared:
        images.notes = tuple(notes)
        return images
    names = " and ".join(dict.fromkeys(shared.values()))
    note = (
        f"{len(shared)} of {len(images)} {images.split} images are in {names} too (identical contents), such as "
        f"{images.image_name(min(shared))}: left out of {images.split}"
    )
    if len(shared) == len(images):
        raise DataError(f"{images.spec}: {note}, so that none is left. Give splits that differ.")
    warnings.warn(f"{images.spec}: {note}", stacklevel=2)
    kept = np.array([index for index in range(len(images)) if index not in shared], dtype=np.int64)
    result = Subset(images, kept, {"left_out": f"{len(shared)} copies of images in {names}"})
    result.notes = (*notes, note)
    return result


def _source(images: ImageSet) -> str:
    """The name of the source in a spec: "shapes" in "shapes:sketch"."""
    return re.split("[:?]", images.spec, maxsplit=1)[0]


@dataclass(frozen=True)
class Copies:
    """Indices of the images that are in another set too; `pixels` is False where only files were compared."""

    indices: tuple[int, ...]
    pixels: bool


def copies(images: ImageSet, other: ImageSet) -> Copies:
    """The images that are in the other set too: the same file, or the same pixels."""
    found: set[int] = set()
    own, theirs = images.file_digests(), other.file_digests()
    if own is not None and theirs is not None:
        found = _same(own, theirs)
        if len(own) + len(theirs) > DECODED:
            return Copies(tuple(sorted(found)), pixels=False)
    found |= _same(images.pixel_digests(), other.pixel_digests())
    return Copies(tuple(sorted(found)), pixels=True)


def _same(own: Sequence[str], theirs: Sequence[str]) -> set[int]:
    known = set(theirs)
    return {index for index, digest in enumerate(own) if digest in known}
