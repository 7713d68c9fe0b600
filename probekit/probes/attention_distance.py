"""How far, in pixels, each attention head looks."""

from __future__ import annotations

import xarray as xr

from probekit.collect import Measurements
from probekit.probes._attention import INTERVAL, ROWS, statistic
from probekit.schema import Variable

VARIABLES = (
    Variable(
        "attention_distance", ("layer", "head"), "Attention distance", "pixels", "none",
        "distance between patch centres weighted by attention; " + ROWS,
        "Dosovitskiy et al. 2021, figure 7",
        interval=INTERVAL,
    ),
)  # fmt: skip
NEEDS = ("attention",)
REQUIRES = ("attention", "test")
OPTIONS: dict[str, object] = {}


def run(m: Measurements) -> dict[str, xr.DataArray]:
    return statistic(m, VARIABLES[0], "distance")
