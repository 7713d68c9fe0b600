"""The data of a page as one text: JSON and the bytes of its arrays, deflated, in base64.

    4 bytes, little-endian      how long the JSON is
    JSON                        an array stands in it as {"kind": "f" or "i", "start": ..., "count": ...}
    arrays                      float32 or int32, little-endian: the first bytes of all numbers, then the second ...

A page of forty checkpoints has a hundred thousand numbers, most of them digits that repeat; packed they take a fifth.
`report.js` reads it with the browser's own `DecompressionStream`.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import numpy as np

LEVEL = 6
"""Of deflate: a higher one takes longer and gains nothing."""


def trimmed(values: np.ndarray, bits: int) -> np.ndarray:
    """Numbers as float32 with that many bits after the leading one: 16 bits are five digits, 13 are four.

    Bits that are zero pack well. NaN stays NaN.
    """
    drop = 23 - bits
    with np.errstate(over="ignore"):  # what is too large for float32 is not shown
        single = np.ascontiguousarray(values, dtype="<f4")
    raw = single.view(np.uint32)
    rounded = (raw + np.uint32(1 << (drop - 1))) & ~np.uint32((1 << drop) - 1)
    return np.where(np.isfinite(single), rounded, np.float32(np.nan).view(np.uint32)).astype("<u4").view("<f4")


def packed(value: Any) -> str:
    """A value of JSON, with arrays of NumPy in it, as text that is safe in an HTML page.

    Raises:
        ValueError: a number that is not finite, outside an array.
    """
    parts: list[bytes] = []

    def array(found: Any) -> dict[str, Any]:
        if not isinstance(found, np.ndarray):
            raise TypeError(f"{type(found).__name__} is neither JSON nor an array")
        kind = "f" if found.dtype.kind == "f" else "i"
        numbers = np.ascontiguousarray(found.ravel(), dtype=f"<{kind}4")
        start = sum(map(len, parts))
        parts.append(numbers.view(np.uint8).reshape(-1, 4).T.tobytes())
        return {"kind": kind, "start": start, "count": len(numbers)}

    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False, default=array)
    head = text.encode("utf-8", errors="backslashreplace")
    return base64.b64encode(zlib.compress(b"".join((len(head).to_bytes(4, "little"), head, *parts)), LEVEL)).decode()
