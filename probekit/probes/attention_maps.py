"""Maps of where [CLS] and a token on the object look in the last block, and attention rollout."""

from __future__ import annotations

import numpy as np
import xarray as xr

from probekit.collect import Measurements
from probekit.probes.intervals import OVER_TEST, mean_with_interval
from probekit.probes.pictures import enlarge, example_images, examples
from probekit.schema import Variable

VARIABLES = (
    Variable(
        "attention_peak", ("map",), "Largest share of attention on one patch", "1", "none",
        "heads averaged, patches only, rows summing to one, last block without a mask (rollout: all blocks, half of "
        "the identity "
        "mixed in for the skip connection); the largest entry, mean over test images. cls: from [CLS]; object: from "
        "the patch at "
        "the centre of the object (of the image where no mask is known); rollout: from [CLS]",
        "Kong et al. 2023, figures 6 and 7; rollout: Abnar and Zuidema 2020",
        interval=OVER_TEST,
    ),
)  # fmt: skip
NEEDS = ("attention_maps",)
REQUIRES = ("attention", "common_grid", "test")
OPTIONS: dict[str, object] = {}

_TITLES = {
    "cls": "Attention of [CLS], last block, heads averaged",
    "object": "Attention of the object's patch, last block, heads averaged",
    "rollout": "Attention rollout of [CLS]",
}


def run(measurements: Measurements) -> dict[str, xr.DataArray]:
    recorded = measurements.store("attention_maps").names()
    maps = {name: measurements.recorded("attention_maps", name) for name in _TITLES if name in recorded}
    maps = {name: array[:, -1] if array.ndim == 3 else array for name, array in maps.items()}
    peaks = np.stack([array.max(axis=1) for array in maps.values()])
    values, interval = mean_with_interval(measurements, peaks)
    out = VARIABLES[0].arrays(values, interval, coords={"map": list(maps)}, per_image=peaks)
    out["example_image"] = example_images(measurements)
    for name, array in maps.items():
        picture = enlarge(array[: examples(measurements)], measurements, measurements.layer_grid(-1))
        attrs = {"long_name": _TITLES[name], "units": "1"}
        out[f"example_attention_{name}"] = xr.DataArray(picture, dims=("example", "row", "column"), attrs=attrs)
    return out
