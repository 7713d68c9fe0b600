"""Whether the best of the settings tried lies at an end of them: then a better one may lie beyond."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def edge(chosen: float, tried: Sequence[float]) -> str:
    """Which end of the settings tried the chosen one is: "lowest", "highest"; "" if neither, or if there is one.

    >>> edge(3e-2, (1e-3, 1e-2, 3e-2)), edge(1e-2, (1e-3, 1e-2, 3e-2)), edge(1.0, (1.0,))
    ('highest', '', '')
    """
    if len(set(tried)) < 2:
        return ""
    return "highest" if chosen == max(tried) else "lowest" if chosen == min(tried) else ""


def described(chosen: Sequence[float], tried: Sequence[float]) -> dict[str, Any]:
    """Attributes of a result whose fits each chose a learning rate: the rates, and in how many fits one at an end.

    >>> described([3e-2, 1e-2], (1e-3, 1e-2, 3e-2))["at_edge"]
    '1 of 2 fits chose the highest learning rate tried: a better one may lie beyond'
    """
    found = [edge(one, tried) for one in chosen]
    ends = [
        f"{found.count(end)} of {len(found)} fits chose the {end} learning rate tried"
        for end in ("lowest", "highest")
        if end in found
    ]
    at_edge = f"{', '.join(ends)}: a better one may lie beyond" if ends else "none"
    return {"learning_rates": list(chosen) or "none", "at_edge": at_edge}
