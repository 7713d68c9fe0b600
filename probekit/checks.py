"""Checks of single values: whole numbers and numbers within a range, with one wording of the error.

Numbers arrive from Python, NumPy, JSON and the command line. A bool is never a number here, and neither is a text.
"""

from __future__ import annotations

import math
import operator
from typing import Any

from probekit.errors import ProbekitError, shortened


def as_whole(value: Any, *, floats: bool = False) -> int | None:
    """The value as an int if it is a whole number (also NumPy's and torch's), else None.

    Args:
        value: what came.
        floats: whether 64.0 is a whole number too.

    >>> as_whole(64), as_whole(64.0), as_whole(64.0, floats=True), as_whole(True), as_whole("64")
    (64, None, 64, None, None)
    """
    if isinstance(value, bool) or getattr(getattr(value, "dtype", None), "kind", "") == "b":
        return None
    if isinstance(value, float):
        return int(value) if floats and value.is_integer() else None
    try:
        return operator.index(value)
    except TypeError:
        return None


def as_number(value: Any) -> float | None:
    """The value as a float if it is a number (NaN and infinities too), else None.

    >>> as_number(1), as_number("1"), as_number(True)
    (1.0, None, None)
    """
    if isinstance(value, str | bytes | bytearray | bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # RuntimeError: a tensor of several values
        return None


def whole(
    name: str,
    value: Any,
    *,
    least: int | None = None,
    most: int | None = None,
    error: type[ProbekitError] = ProbekitError,
) -> int:
    """A whole number within [least, most], or an error that names what was expected.

    Args:
        name: how the message calls the value, e.g. "batch_size".
        value: what came.
        least, most: the range, ends included; None for no bound.
        error: class of the error.

    Raises:
        ProbekitError: of the class given.

    Example:
        >>> whole("batch_size", 64, least=1)
        64
    """
    found = as_whole(value)
    if found is None or (least is not None and found < least) or (most is not None and found > most):
        raise error(f"{name}={shortened(value)}; expected a whole number{_range(least, most)}.")
    return found


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
    error: type[ProbekitError] = ProbekitError,
) -> float:
    """A finite number within a range, or an error that names what was expected.

    Args:
        name: how the message calls the value, e.g. "mask_ratio".
        value: what came.
        above, below: open ends of the range.
        least, most: closed ends of the range.
        error: class of the error.

    Raises:
        ProbekitError: of the class given.

    Example:
        >>> number("mask_ratio", 0.75, above=0, below=1)
        0.75
    """
    found = as_number(value)
    inside = (
        found is not None
        and math.isfinite(found)
        and (above is None or found > above)
        and (least is None or found >= least)
        and (below is None or found < below)
        and (most is None or found <= most)
    )
    if found is None or not inside:
        raise error(f"{name}={shortened(value)}; expected a finite number{_range(least, most, above, below)}.")
    return found


def _range(least: float | None, most: float | None, above: float | None = None, below: float | None = None) -> str:
    """The range in words, with a space before it; empty if there is none."""
    ends = [("of at least", least), ("above", above), ("at most", most), ("below", below)]
    words = [f"{word} {end}" for word, end in ends if end is not None]
    return f" {' and '.join(words)}" if words else ""
