"""What Theorem 1 expects of a checkpoint's masks, beside what was measured, where the latents are known."""

from __future__ import annotations

from probekit.collect import Frame, Sets
from probekit.evaluation.results import Arrays


def beside(frame: Frame, sets: Sets) -> Arrays:
    """`expected_*` for a checkpoint whose ratio and patch size are known, on a set whose latents are known."""
    return {}
