"""What the theory expects of each checkpoint on an image set, as stored beside the measurements."""

from __future__ import annotations

import numpy as np

from probekit.plot.rows import Results

MEASURED = ("recovery_gain", "latent_r2", "level_share", "representation_level")
"""What stands beside an expectation, level by level or in all."""


def expected(results: Results, name: str, data: str) -> np.ndarray | None:
    """An expectation per checkpoint on the image set `data`, which is the graph it speaks of; one stored without image
    sets holds on all. None where nothing finite is stored."""
    if name not in results.ds:
        return None
    array = results.ds.variables[name]
    if "data" in array.dims:
        array = array.isel(data=results.data.index(data))
    values = np.asarray(array.transpose("checkpoint", ...).values, dtype=float)
    return values if np.isfinite(values).any() else None


def expected_on(results: Results, name: str) -> list[str]:
    """Image sets with an expectation; of one stored without image sets, those where something stands beside it."""
    if name in results.ds and "data" not in results.ds.variables[name].dims:
        beside = {data for other in MEASURED if other in results.names for data in results.where(other)}
        return [data for data in results.data if data in beside and expected(results, name, data) is not None]
    return [data for data in results.data if expected(results, name, data) is not None]
