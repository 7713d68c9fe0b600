"""Settings as they are written -> the types that they are declared with, or an error that names the setting.

Numbers arrive from Python, from NumPy and from the command line: 64, 64.0 and `numpy.int64(64)` are the same batch
size, while 64.5, "64" and True are mistakes that would otherwise surface hours later, or never.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, get_args, get_origin

from probekit.checks import as_number, as_whole
from probekit.errors import TrainingError


def as_declared(name: str, value: Any, kind: Any) -> Any:
    """`value` as `kind`: int, float, bool, str, or a tuple of one of these.

    Raises:
        TrainingError: it is of another kind; the message names the setting, what came and what was expected.
    """
    if get_origin(kind) is tuple:
        return _several(name, value, get_args(kind))
    found = _READERS[kind][0](value)
    if found is None:
        raise TrainingError(f"{name}={value!r}: expected {_READERS[kind][1]}.")
    return found


def _several(name: str, value: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    length = None if kinds[-1] is Ellipsis else len(kinds)
    listed = list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else None
    if listed is None or length not in (None, len(listed)):
        raise TrainingError(f"{name}={value!r}: expected {'a list of' if length is None else length} numbers.")
    return tuple(as_declared(name, item, kinds[0]) for item in listed)


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


_READERS: dict[Any, tuple[Any, str]] = {
    int: (partial(as_whole, floats=True), "a whole number"),
    float: (as_number, "a number"),
    bool: (_truth, "True or False"),
    str: (_text, "a text"),
}
