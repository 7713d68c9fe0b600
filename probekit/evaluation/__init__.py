"""`evaluate` and `compare`: checkpoints and image sets in, one labelled dataset out.

`compare` is many evaluations lined up. They share opened image sets and partners, the evaluation masks (drawn on the
finest grid that fits all ViT patches), the size of pictures, and what image metrics need of the originals alone.
"""

from __future__ import annotations

from probekit.evaluation.comparing import compare, evaluate
from probekit.evaluation.contrasts import contrast
from probekit.evaluation.seeds import seed_spread
from probekit.evaluation.suites import SUITES, Plan, Suite

__all__ = ["SUITES", "Plan", "Suite", "compare", "contrast", "evaluate", "seed_spread"]
