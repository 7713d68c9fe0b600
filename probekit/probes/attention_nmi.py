"""How much each head's attention depends on the query: normalised mutual information, 0 if every query looks alike."""

from __future__ import annotations

import xarray as xr

from probekit.collect import Measurements
from probekit.probes._attention import INTERVAL, ROWS, statistic
from probekit.schema import Variable

VARIABLES = (
    Variable(
        "attention_nmi", ("layer", "head"), "Attention NMI", "1", "none",
        "I(query; key) / sqrt(H(query) H(key)) with uniform queries; " + ROWS,
        "Park et al. 2023",
        interval=INTERVAL,
    ),
)  # fmt: skip
NEEDS = ("attention",)
REQUIRES = ("attention", "test")
OPTIONS: dict[str, object] = {}


def run(m: Measurements) -> dict[str, xr.DataArray]:
    return statistic(m, VARIABLES[0], "nmi")
