"""How spread out each attention head's gaze is, in nats."""

from __future__ import annotations

import xarray as xr

from probekit.collect import Measurements
from probekit.probes._attention import INTERVAL, ROWS, statistic
from probekit.schema import Variable

VARIABLES = (
    Variable(
        "attention_entropy", ("layer", "head"), "Attention entropy", "nats", "none",
        "entropy of each query's distribution over keys, at most log(patches); " + ROWS,
        "standard; Caron et al. 2021",
        interval=INTERVAL,
    ),
)  # fmt: skip
NEEDS = ("attention",)
REQUIRES = ("attention", "test")
OPTIONS: dict[str, object] = {}


def run(m: Measurements) -> dict[str, xr.DataArray]:
    return statistic(m, VARIABLES[0], "entropy")
