"""The one pass over the images: what the asked-for probes need, from each batch, reduced at once.

A `Frame` is a checkpoint and how images are put before it, `Sets` the splits of an image set, `Measurements` what
probes read. Everything is streamed to a cache folder named after what determines the numbers; see `store` for how a
killed run goes on.
"""

from __future__ import annotations

from probekit.collect.frame import Frame
from probekit.collect.measurements import Measurements
from probekit.collect.sets import Sets
from probekit.collect.settings import MASK_RATIO, Counts, Settings
from probekit.collect.store import Store

__all__ = ["MASK_RATIO", "Counts", "Frame", "Measurements", "Sets", "Settings", "Store"]
