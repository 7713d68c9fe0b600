"""Results in, Altair charts out, without torch.

    import probekit

    probekit.plot.by_setting(ds, "linear_accuracy")        # against mask ratio or patch size
    probekit.plot.ladder(ds, by="recipe").save("a.svg")    # grouped by any coordinate along checkpoint

`charts` has the functions; the other files build the figures that they and the report draw.
"""

from __future__ import annotations

from typing import Any

CHARTS = (
    "attention", "by_setting", "contrast", "embedding", "ladder", "levels", "over_layers", "profile", "reconstructions",
    "response", "similarity",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in CHARTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}. It has: {', '.join(CHARTS)}.")
    from probekit.plot import charts

    return getattr(charts, name)


def __dir__() -> list[str]:
    return sorted(CHARTS)
