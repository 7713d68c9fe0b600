"""`evaluate` and `compare`: checkpoints and image sets in, one labelled dataset out.

`compare` is many evaluations lined up. They share opened image sets and partners, the evaluation masks (drawn on the
finest grid that fits all ViT patches), the size of pictures, and what image metrics need of the originals alone.

The public names are resolved on first use: `contrast` and `seed_spread` (from `probekit.results`) need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probekit.evaluation.comparing import compare as compare
    from probekit.evaluation.comparing import evaluate as evaluate
    from probekit.evaluation.feature_table import features as features
    from probekit.evaluation.similarities import similarity as similarity
    from probekit.evaluation.suite_versions import SUITES as SUITES
    from probekit.evaluation.suite_versions import Plan as Plan
    from probekit.evaluation.suite_versions import Suite as Suite
    from probekit.results import contrast as contrast
    from probekit.results import seed_spread as seed_spread

_HOME = {
    **dict.fromkeys(("compare", "evaluate"), "probekit.evaluation.comparing"),
    "features": "probekit.evaluation.feature_table",
    "similarity": "probekit.evaluation.similarities",
    **dict.fromkeys(("SUITES", "Plan", "Suite"), "probekit.evaluation.suite_versions"),
    **dict.fromkeys(("contrast", "seed_spread"), "probekit.results"),
}

__all__ = ["SUITES", "Plan", "Suite", "compare", "contrast", "evaluate", "features", "seed_spread", "similarity"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
