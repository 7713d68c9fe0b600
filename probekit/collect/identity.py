"""Identify an image by a digest of its pixels, whatever its position in the set.

Masks and views are drawn from it, so that an image gets the same ones in any order and beside any neighbours. What is
drawn from a whole set (resampled images, landmarks) is drawn from its images sorted by it.
"""

from __future__ import annotations

import hashlib
from weakref import WeakKeyDictionary

import numpy as np

from probekit.data import ImageSet

BITS = 48
"""Kept of a digest: enough to tell images apart, few enough to count with."""

_known: WeakKeyDictionary[ImageSet, np.ndarray] = WeakKeyDictionary()


def image_keys(image_set: ImageSet, rows: int) -> np.ndarray:
    """A number for each of the first images, of its pixels as stored (before preprocessing): int64 (rows,)."""
    known = _known.get(image_set, np.empty(0, dtype=np.int64))
    if len(known) < rows:
        more = [_key(image_set[index]) for index in range(len(known), rows)]
        known = _known[image_set] = np.concatenate([known, np.array(more, dtype=np.int64)])
    return known[:rows]


def ranks(image_set: ImageSet, rows: int) -> np.ndarray:
    """Where each of the first images stands when they are sorted by their keys: int64 (rows,), each number once."""
    return np.argsort(np.argsort(image_keys(image_set, rows), kind="stable"))


def _key(image: np.ndarray) -> int:
    digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=BITS // 8)
    digest.update(str(image.shape).encode())
    return int.from_bytes(digest.digest(), "little")
