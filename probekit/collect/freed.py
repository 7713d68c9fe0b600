"""Memory that was freed goes back to the system: what a pass leaves behind else counts for all that comes after it."""

from __future__ import annotations

import ctypes
import sys

LARGE = 1 << 22
"""Bytes of a batch from which freed memory is given back after it."""


def give_back_after(size: int) -> None:
    """`give_back`, after a batch of so many bytes, if it was large.

    Small rows that stay split the holes that large batches leave, so that the next ones do not fit and memory grows by
    gigabytes.
    """
    if size >= LARGE:
        give_back()


def give_back() -> None:
    """Return the pages that glibc keeps of freed arrays between those that live; elsewhere nothing happens.

    Arrays below 32 MB come from one heap there, which only shrinks at its end. After a pass over large images it holds
    some hundred MB of holes. To return them takes a few milliseconds.
    """
    if not sys.platform.startswith("linux"):
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(0)
