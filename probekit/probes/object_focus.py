"""How much of [CLS]'s attention, and of a linear head's integrated gradients, falls on the object, against chance."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from probekit.collect import Measurements
from probekit.collect.needs import GRADIENT_STEPS as STEPS
from probekit.measures import focus
from probekit.models import attribution
from probekit.probes.intervals import mean_with_interval
from probekit.probes.linear_head import HEAD, head
from probekit.schema import Variable

_OVER = "bootstrap over test images"
_SHARE = (
    "share of the map's sum that lies on the object mask, mean over test images; chance is the mask's share of area"
)

VARIABLES = (
    Variable(
        "object_focus", ("layer",), "Attention on the object", "1", "none",
        f"[CLS] attention over the patches, heads averaged, no mask; {_SHARE}", "probekit; after Caron et al. 2021",
        interval=_OVER,
    ),
    Variable(
        "object_focus_gradients", (), "Integrated gradients on the object", "1", "none",
        f"absolute integrated gradients ({STEPS} steps from the mean image) of a true class's logit, channels summed; "
        f"{HEAD}; {_SHARE}", "Sundararajan et al. 2017, captum", version=4, interval=_OVER,
    ),
    Variable(
        "object_focus_chance", (), "Area of the object", "1", "none",
        "share of the image's area that the object mask covers: what a map without any preference would give",
        "probekit", interval=_OVER,
    ),
)  # fmt: skip
NEEDS = ("attention_maps", "features:train", "features:val", "features:test")
REQUIRES = ("attention", "common_grid", "cls", "object_masks", "splits", "classes")
OPTIONS = {"gradients": True}
AFTER = {"gradients": ("gradients",)}


def run(measurements: Measurements, *, gradients: bool) -> dict[str, xr.DataArray]:
    maps = measurements.recorded("attention_maps", "cls")
    rows, blocks, _ = maps.shape
    masks = measurements.object_masks(rows)
    grid = measurements.layer_grid(blocks)
    found = [focus.object_share(maps[:, block].reshape(rows, *grid), masks) for block in range(blocks)]
    share = np.stack([one.share for one in found]).astype(np.float32)
    values, interval = mean_with_interval(measurements, share)
    out = VARIABLES[0].arrays(values, interval, coords={"layer": measurements.all_layers[1:]}, per_image=share)
    if gradients and (reason := attribution.no_gradients(measurements.model, measurements.image_size)):
        measurements.lacking["object_focus_gradients"] = reason
    elif gradients:
        count = min(measurements.counts.gradients, rows)
        looked = focus.object_share(integrated_gradients(measurements, np.arange(count)), masks[:count]).share
        values, interval = mean_with_interval(measurements, looked)
        out |= VARIABLES[1].arrays(values, interval, per_image=looked.astype(np.float32))
    values, interval = mean_with_interval(measurements, found[0].chance)
    return out | VARIABLES[2].arrays(values, interval)


def integrated_gradients(measurements: Measurements, indices: np.ndarray) -> np.ndarray:
    """|integrated gradients| of the true class's logit, channels summed: float (n, height, width)."""
    model, pooling, device = measurements.model, "cls", measurements.device
    probe = head(measurements, pooling)
    weights, bias = (
        torch.as_tensor(part, dtype=torch.float32, device=device) for part in probe.model.raw(probe.chosen)
    )

    def logits(images: Tensor) -> Tensor:
        found: Tensor = model.pool(model.encode(images), pooling) @ weights + bias
        return found

    maps = []
    size = max(1, measurements.batch_size // (model.depth + 1))  # gradients keep what every layer computed
    for images, labels in measurements.batches(indices, max(1, size // STEPS)):
        found = attribution.integrated_gradients(logits, images, steps=STEPS, together=size, target=labels)
        maps.append(found.abs().sum(dim=1).cpu().numpy())
    measurements.forwards += len(indices) * STEPS
    return np.concatenate(maps)
