"""Results in, results out, without torch: lining up, settings and seeds, contrasts.

`evaluation` makes datasets; this room works on them, and on files that others made. It imports neither torch nor a
model, so it is quick to start, and `report` stands on it.
"""

from __future__ import annotations

from probekit.results.contrasts import contrast
from probekit.results.seeds import seed_spread

__all__ = ["contrast", "seed_spread"]
