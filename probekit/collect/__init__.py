"""The one pass over the images: what the asked-for probes need, from each batch, reduced at once.

A `PreparedModel` is a checkpoint and how images are put before it, `Splits` the splits of an image set, and
`Measurements` what
probes read. Everything is streamed to a cache folder named after what determines the numbers; see `store` for how a
killed run goes on.
"""

from __future__ import annotations

from probekit.collect.image_sets import Splits
from probekit.collect.measurements import Measurements
from probekit.collect.pass_settings import MASK_RATIO, Counts, PassSettings
from probekit.collect.prepared import PreparedModel
from probekit.collect.store import Store

__all__ = ["MASK_RATIO", "Counts", "Measurements", "PassSettings", "PreparedModel", "Splits", "Store"]
