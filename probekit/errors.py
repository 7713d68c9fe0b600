"""Errors, written for the person who gets them: what came, what was expected, the nearest thing, the way out.

Every error that bad input can cause is a `ProbekitError`, and every one of those is a `ValueError`.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

LONGEST = 10_000
"""Most characters of a message that are shown: what came in may be of any length."""


class ProbekitError(ValueError):
    """Something that was asked for cannot be done; the message says why and what would work."""

    results: Any = None
    """What was computed before, as a results dataset, where there is something."""

    def __str__(self) -> str:
        text = printable(super().__str__())
        left_out = len(text) - LONGEST
        return text if left_out <= 0 else f"{text[: LONGEST // 2]} [{left_out:,} characters] {text[-LONGEST // 2 :]}"


class CheckpointError(ProbekitError):
    """A checkpoint that cannot be read, or not completely."""


class DataError(ProbekitError):
    """An image set that cannot be read, or that lacks what was asked of it."""


class MaskError(ProbekitError):
    """A masking setting that is impossible: it hides everything or nothing, or its units do not fit the grid."""


class ResultsError(ProbekitError):
    """A results file or dataset that is not one, or is of another schema."""


class ResultsWarning(UserWarning):
    """A results file that was read, though it could not be proven to be as it was written."""


class ProbeError(ProbekitError):
    """A probe or suite that does not exist, or that was given data it cannot work on."""


class TrainingError(ProbekitError):
    """A training run that cannot start, or had to stop."""


class StorageError(ProbekitError):
    """A disk or file system that cannot be read, written or locked: no fault of a checkpoint, an image set or a probe.

    Nothing that handles the faults of a single probe catches this class: it ends the call.
    """


def did_you_mean(name: str, known: Iterable[str], *, limit: int = 12) -> str:
    """A sentence that names the nearest known name, or else lists what is known.

    >>> did_you_mean("high_levle", ["high_level", "low_level"])
    "Did you mean 'high_level'?"
    """
    known = sorted(known)
    close = get_close_matches(str(name), known, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]!r}?"
    listed = ", ".join(known[:limit]) + (f", ... ({len(known)} in all)" if len(known) > limit else "")
    return f"Known: {listed}." if known else "None are known."


def a_kind(value: Any) -> str:
    """The type of a value with its article, for messages.

    >>> a_kind(5), a_kind([]), a_kind(None)
    ('an int', 'a list', 'None')
    """
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeio' or name == 'ndarray' else 'a'} {name}"


_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufff9-\ufffb]"
)
"""Characters that steer a terminal or change the direction of text, and halves of characters; not tab and newline."""


def printable(text: str, *, line: bool = False) -> str:
    """A text that is safe to show: control characters and escape codes become visible.

    Args:
        text: from anywhere: names of files, classes and checkpoints, messages of libraries.
        line: whether tabs and line breaks are replaced too, as in names.

    >>> printable("\\x1b[31mred")
    '\\\\x1b[31mred'
    """
    shown = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
    return re.sub(r"[\t\n]+", " ", shown) if line else shown


def visible(value: Any) -> Any:
    """A value of JSON with control characters of its texts made visible."""
    if isinstance(value, dict):
        return {printable(key, line=True): visible(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [visible(inner) for inner in value]
    return printable(value) if isinstance(value, str) else value


_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 120
_short.maxlist = _short.maxtuple = _short.maxdict = _short.maxset = 8
_short.maxlevel = 4


def shortened(value: Any) -> str:
    """The repr of a value of any size, cut to what fits into a message.

    >>> len(shortened("a" * 10_000))
    120
    """
    return _short.repr(value)
