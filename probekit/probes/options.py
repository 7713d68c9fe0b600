"""Values of a probe's options: each must be of the kind of its default."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from probekit.checks import as_whole
from probekit.errors import ProbeError, did_you_mean


def checked(probe: str, name: str, value: Any, default: Any, choices: Sequence[str] = ()) -> Any:
    """The value as JSON has it.

    Args:
        default: True or False, a whole number or a fraction (both above 0 then), a list of whole numbers or of texts,
            [] for a list of texts, None for a text or nothing.
        choices: the texts that an option may be.

    Raises:
        ProbeError: a value of another kind.
    """
    value = _json(value)
    texts = isinstance(default, list) and (not default or isinstance(default[0], str))
    if choices and texts:
        for one in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
            if one not in choices:
                raise ProbeError(f"The probe {probe}: {name}={one!r} is unknown. {did_you_mean(str(one), choices)}")
    elif choices:
        if value in choices:
            return value
        raise ProbeError(f"The probe {probe}: {name}={value!r} is unknown. {did_you_mean(str(value), choices)}")
    if isinstance(default, bool):
        fits, expected = isinstance(value, bool), "True or False"
    elif isinstance(default, int):
        fits, expected = _whole(value), f"a whole number of at least 1, such as {default}"
    elif isinstance(default, float):
        fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
        expected = f"a number above 0, such as {default}"
    elif isinstance(default, list):
        value = default if value is None else [value] if isinstance(value, str) else value
        kind = _text if texts else _whole
        fits = isinstance(value, list) and all(map(kind, value)) and len(dict.fromkeys(value)) == len(value) > 0
        expected = (
            f"a list of different {'texts' if texts else 'whole numbers'}{f', such as {default}' if default else ''}"
        )
        fits = fits or value == default
    else:
        fits, expected = value is None or _text(value), "a text"
    if not fits:
        raise ProbeError(f"The probe {probe}: {name}={value!r}; expected {expected}.")
    return value


def _json(value: Any) -> Any:
    """NumPy's arrays and numbers, and tuples, as lists and numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_json(part) for part in value] if isinstance(value, list | tuple) else value


def _whole(value: Any) -> bool:
    return (as_whole(value) or 0) >= 1


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)
