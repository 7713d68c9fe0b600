"""Three statistics of each attention head: how far it looks, how spread out its gaze is, how it depends on the query.

All three were reduced in the pass, for each image, layer and head.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.probes.definition import Probe
from probekit.probes.intervals import OVER_TEST, mean_with_interval
from probekit.schema import Variable

ROWS = (
    "patch queries and keys only (prefix tokens dropped), rows renormalised to sum 1, mean over queries and test "
    "images, without a mask; layers 1..L, since the embedding has no attention"
)

STATISTICS = {
    "distance": (
        "How far, in pixels, each attention head looks.",
        ("Attention distance", "pixels", "distance between patch centres weighted by attention"),
        "Dosovitskiy et al. 2021, figure 7",
    ),
    "entropy": (
        "How spread out each attention head's gaze is, in nats.",
        ("Attention entropy", "nats", "entropy of each query's distribution over keys, at most log(patches)"),
        "standard; Caron et al. 2021",
    ),
    "nmi": (
        "How much each head's attention depends on the query: normalised mutual information, 0 if every query looks "
        "alike.",
        ("Attention NMI", "1", "I(query; key) / sqrt(H(query) H(key)) with uniform queries"),
        "Park et al. 2023",
    ),
}
"""Name in the pass's measurement -> (summary, (long name, units, protocol), reference)."""


def run(measurements: Measurements, *, variable: Variable, statistic: str) -> dict[str, xr.DataArray]:
    """The mean over images of a recorded statistic: (layer, head)."""
    per_image = np.moveaxis(measurements.recorded("attention", statistic), 0, -1)
    values, interval = mean_with_interval(measurements, per_image)
    coords = {"layer": measurements.all_layers[1:], "head": list(range(per_image.shape[1]))}
    return variable.arrays(values, interval, coords=coords, per_image=per_image)


def _probe(statistic: str) -> Probe:
    summary, (title, units, protocol), reference = STATISTICS[statistic]
    variable = Variable(
        f"attention_{statistic}", ("layer", "head"), title, units, "none", f"{protocol}; {ROWS}", reference,
        interval=OVER_TEST,
    )  # fmt: skip
    how = partial(run, variable=variable, statistic=statistic)
    return Probe(variable.name, summary, (variable,), ("attention",), ("attention", "test"), how)


PROBES = tuple(_probe(statistic) for statistic in STATISTICS)
