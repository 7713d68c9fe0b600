"""What the three attention statistics share: they were reduced in the pass, per image, layer and head."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.probes.intervals import mean_with_interval
from probekit.schema import Variable

ROWS = (
    "patch queries and keys only (prefix tokens dropped), rows renormalised to sum 1, mean over queries and test "
    "images, "
    "without a mask; layers 1..L, since the embedding has no attention"
)
INTERVAL = "bootstrap over test images (their groups where the image set has groups)"


def statistic(m: Measurements, variable: Variable, name: str) -> dict[str, xr.DataArray]:
    """The mean over images of a stored statistic, by block and head."""
    per_image = np.moveaxis(np.asarray(m.store("attention")[name][:]), 0, -1)
    values, interval = mean_with_interval(m, per_image)
    coords: dict[str, Any] = {"layer": m.layers[1:], "head": list(range(per_image.shape[1]))}
    return variable.arrays(values, interval, coords=coords, per_image=per_image)
