"""Identical images in several splits: found by digests, told, and left out of the splits that are fitted on.

A model that was fitted on a test image, or selected on one, looks better than it is. So `train` loses what is in `val`
or `test`, and `val` what is in `test`; the reported images stay. Digests are of the files where both splits are files
(so nothing is decoded), else of the pixels. The file digests are the ones that the fingerprint needs anyway.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from probekit.data.base import ImageSet
from probekit.data.interleaving import Subset
from probekit.errors import DataError


def without_copies(images: ImageSet, reported: Sequence[ImageSet]) -> ImageSet:
    """The images of a split that are in none of the other splits.

    Args:
        images: the split that is fitted or selected on.
        reported: the splits that keep their images.

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
    for other in reported:
        if images.disjoint and other.disjoint and images.spec == other.spec and images.split != other.split:
            continue
        for index in copies(images, other):
            shared.setdefault(index, other.split)
    if not shared:
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
    result.notes = (*images.notes, note)
    return result


def copies(images: ImageSet, other: ImageSet) -> list[int]:
    """Indices of the images that are in the other set too."""
    own, theirs = images.file_digests(), other.file_digests()
    if own is None or theirs is None:
        own, theirs = images.pixel_digests(), other.pixel_digests()
    known = set(theirs)
    return [index for index, digest in enumerate(own) if digest in known]
