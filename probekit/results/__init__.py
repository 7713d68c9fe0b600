"""Results in, results out, without torch: lining up, settings and seeds, contrasts, a tidy table.

`evaluation` makes datasets; this room works on them, and on files that others made. It imports neither torch nor a
model, so it is quick to start, and `report` stands on it.
"""

from __future__ import annotations

from probekit.results.contrasts import contrast
from probekit.results.seeds import seed_spread
from probekit.results.table import summary

__all__ = ["contrast", "seed_spread", "summary"]
