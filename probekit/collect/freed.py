"""Memory that was freed goes back to the system: what a pass leaves behind else counts for all that comes after it."""

from __future__ import annotations

import ctypes
import sys


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
