"""Images that cannot be read: the error that stops, or the warning that counts what was left out.

With "stop", the default, an unreadable image raises a DataError when it is reached. With "skip", every image is decoded
once when the set is opened and those that cannot be are left out: so the labels of a set always fit its images, and
nothing goes missing while it is being read.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from probekit import progress
from probekit.data.splits import Part, check_no_gaps, choose
from probekit.errors import DataError, did_you_mean

POLICIES = ("stop", "skip")


def chosen_images(
    part: Part,
    indices: np.ndarray,
    classes: Sequence[str],
    *,
    count: int | None,
    seed: int,
    spec: str,
    on_unreadable: str,
    read: Callable[[int], Any],
    name: Callable[[int], str],
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which images of a part make up a set: `indices`, less unreadable ones if asked, less what `count` spares.

    Args:
        part: names and labels of what is given.
        indices: the images of the split, into `part`.
        count, seed: as in `choose`.
        on_unreadable: "stop" or "skip".
        read: decodes the image at an index of `part`, or raises a DataError.
        name: what to call it in a warning.

    Returns:
        Indices into `part`, and the names of the images that were left out as unreadable.
    """
    if on_unreadable not in POLICIES:
        raise DataError(
            f"{spec}: on_unreadable={on_unreadable!r}: it is 'stop' or 'skip'. {did_you_mean(on_unreadable, POLICIES)}"
        )
    left_out: list[str] = []
    if on_unreadable == "skip":
        bad = set(_unreadable(indices, read, spec))
        left_out = [name(index) for index in indices if index in bad]
        _tell(left_out, len(indices), spec)
        indices = np.array([index for index in indices if index not in bad], dtype=np.int64)
        check_no_gaps(part.labels[indices], classes, f"{spec}, without {len(left_out)} unreadable images")
    names = [part.names[index] for index in indices]
    return indices[choose(names, part.labels[indices], count, seed)], tuple(left_out)


def _unreadable(indices: np.ndarray, read: Callable[[int], Any], spec: str) -> list[int]:
    bad = []
    with progress.bar(f"{spec}: looking for unreadable images", len(indices)) as advance:
        for index in indices:
            try:
                read(int(index))
            except DataError:
                bad.append(int(index))
            advance(note=f"{len(bad)} unreadable" if bad else "")
    return bad


def _tell(left_out: Sequence[str], total: int, spec: str) -> None:
    if left_out:
        shown = ", ".join(left_out[:5]) + (", ..." if len(left_out) > 5 else "")
        warnings.warn(f"{spec}: left out {len(left_out)} of {total} images that cannot be read: {shown}", stacklevel=4)
