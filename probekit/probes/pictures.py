"""Pictures that go into a results dataset, at most `PassSettings.picture_side` pixels on the longer side."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from probekit import masking
from probekit.collect import Measurements

IMAGE_DIMS = ("example", "row", "column", "channel")


def picture_size(measurements: Measurements) -> tuple[int, int]:
    """(rows, columns) of kept pictures."""
    height, width = measurements.image_size
    scale = min(1.0, measurements.picture_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def shrink(images: np.ndarray, measurements: Measurements) -> np.ndarray:
    """uint8 (n, H, W, 3) at the size of kept pictures."""
    size = picture_size(measurements)
    if images.shape[1:3] == size:
        return images
    planes = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.interpolate(planes, size=size, mode="area")
    return small.round().byte().permute(0, 2, 3, 1).numpy()


def enlarge(maps: np.ndarray, measurements: Measurements, grid: tuple[int, int] | None = None) -> np.ndarray:
    """Maps on a grid of patches (None: the embedding's), float (n, patches), as kept pictures: each patch a block.

    Returns:
        float32 (n, rows, columns).
    """
    planes = torch.from_numpy(np.ascontiguousarray(maps)).reshape(len(maps), 1, *(grid or measurements.grid))
    return torch.nn.functional.interpolate(planes, size=picture_size(measurements), mode="nearest-exact")[:, 0].numpy()


def examples(measurements: Measurements) -> int:
    """How many pictures are kept."""
    return min(measurements.counts.pictures, measurements.size("test"))


def example_images(measurements: Measurements) -> xr.DataArray:
    """The images themselves, as the checkpoint sees them."""
    indices = np.arange(examples(measurements))
    test = measurements.images("test")
    pixels = measurements.pixels(test, indices)
    return xr.DataArray(shrink(pixels, measurements), dims=IMAGE_DIMS, attrs={"long_name": "Test image"})


def example_masks(measurements: Measurements) -> xr.DataArray:
    """Which pixels the evaluation masks hide."""
    units = measurements.hidden_units(examples(measurements))
    assert units is not None
    grid = masking.expand(units, measurements.mask_grid, measurements.grid).numpy().astype(np.float32)
    return xr.DataArray(enlarge(grid, measurements) > 0.5, dims=IMAGE_DIMS[:3], attrs={"long_name": "Hidden pixels"})
