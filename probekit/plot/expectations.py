"""What the theory expects of each checkpoint, as stored beside the measurements."""

from __future__ import annotations

import numpy as np

from probekit.plot.rows import Results


def expected(results: Results, name: str) -> np.ndarray | None:
    """An expectation per checkpoint, the first finite one where it is stored for several image sets."""
    if name not in results.ds:
        return None
    array = results.ds.variables[name]
    order = [dim for dim in ("data", "checkpoint") if dim in array.dims]
    values = np.asarray(array.transpose(*order, ...).values, dtype=float)
    values = np.fmax.reduce(values, axis=0) if "data" in order else values  # of what is finite
    return values if np.isfinite(values).any() else None
