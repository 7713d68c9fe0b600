"""Checks of single arguments: numbers within a range, lists, paths and objects, with one wording of each error.

Numbers arrive from Python, NumPy, JSON and the command line. A bool is never a number here, and neither is a text.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from probekit.errors import ProbekitError, a_kind, shortened

T = TypeVar("T")


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


def several(name: str, value: Any, expected: str, *, error: type[ProbekitError] = ProbekitError) -> list[Any]:
    """The items of a list, tuple, array or other iterable; a text and a single value are none.

    Args:
        name: how the message calls the value, e.g. "metrics".
        value: what came.
        expected: what the list holds, e.g. "numbers".
        error: class of the error.

    Raises:
        ProbekitError: of the class given.

    Example:
        >>> several("mean", (0.5, 0.5), "numbers")
        [0.5, 0.5]
    """
    try:
        items = None if isinstance(value, str | bytes) or not isinstance(value, Iterable) else list(value)
    except TypeError:  # an array without dims
        items = None
    if items is None:
        raise error(f"{name}={shortened(value)}; expected a list of {expected}.")
    return items


def a_path(name: str, value: Any, expected: str, *, error: type[ProbekitError] = ProbekitError) -> Path:
    """A path that is not empty.

    Args:
        name: how the message calls the value, e.g. "output".
        value: what came.
        expected: what it names, e.g. "the file to write".
        error: class of the error.

    Raises:
        ProbekitError: of the class given.

    Example:
        >>> a_path("output", "runs/one", "the directory of the run").name
        'one'
    """
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise error(f"{name}={shortened(value)}; expected the path of {expected}.")
    return Path(value)


def instance(name: str, value: Any, kind: type[T], expected: str, *, error: type[ProbekitError] = ProbekitError) -> T:
    """An object of a class.

    Args:
        name: how the message calls the value, e.g. "graph".
        value: what came.
        kind: its class.
        expected: what to give, e.g. "a LatentGraph, such as LatentGraph.quadtree(4)".
        error: class of the error.

    Raises:
        ProbekitError: of the class given.

    Example:
        >>> instance("seed", 3, int, "a whole number")
        3
    """
    if not isinstance(value, kind):
        raise error(f"{name} is {a_kind(value)}; expected {expected}.")
    return value


def _range(least: float | None, most: float | None, above: float | None = None, below: float | None = None) -> str:
    """The range in words, with a space before it; empty if there is none."""
    ends = [("of at least", least), ("above", above), ("at most", most), ("below", below)]
    words = [f"{word} {end}" for word, end in ends if end is not None]
    return f" {' and '.join(words)}" if words else ""
