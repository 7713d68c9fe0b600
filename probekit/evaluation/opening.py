"""Checkpoints before they are measured: what must be known of all of them, read one at a time.

Evaluation masks are drawn on a grid that fits every checkpoint, so each is opened for its `Outline` first, and let go.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from probekit.collect import PassSettings
from probekit.collect.pass_settings import Preparation
from probekit.errors import ProbeError, ResultsError
from probekit.results.reading import opened

if TYPE_CHECKING:
    from probekit.models import Checkpoint


@dataclass(frozen=True)
class Outline:
    """What must be known of a checkpoint before any is measured.

    Attributes:
        name: for labels.
        size: (height, width) of its images in pixels.
        grid: (rows, columns) of ViT patches at that size; None for an encoder alone, which no mask is put on.
        trained_on: the image set that the card names, or None.
    """

    name: str
    size: tuple[int, int]
    grid: tuple[int, int] | None
    trained_on: str | None


def outline(source: Any, preparation: Preparation) -> Outline:
    """Read the outline of a checkpoint, which is opened on the CPU and closed again unless it is open already."""
    return outline_of(open_checkpoint(source, "cpu"), preparation)


def outline_of(checkpoint: Checkpoint, preparation: Preparation) -> Outline:
    """The outline of an open checkpoint."""
    prepared = preparation.of(checkpoint.preprocess)
    size = prepared.height, prepared.width
    grid = checkpoint.model.grid(*size)
    return Outline(checkpoint.name, size, grid if checkpoint.model.has_decoder else None, checkpoint.card.data)


def open_checkpoint(source: Any, device: str) -> Checkpoint:
    """The checkpoint on a device; one that is open already is copied there if it lies elsewhere."""
    from probekit import models
    from probekit.models import loading

    if isinstance(source, models.Checkpoint):
        source.look_again()
        return source if device == "cpu" else _on_device(source, device)
    return models.load(source, device=loading.available(device, error=ProbeError))


def replaced(card: Any, fields: Mapping[str, Any]) -> Any:
    """A copy of a card with other fields; it keeps what was computed on it, such as the sha256."""
    changed = copy.copy(card)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _on_device(checkpoint: Checkpoint, device: str) -> Checkpoint:
    """The checkpoint itself where it lies already or "auto" is asked for; else a copy of it on the device."""
    from probekit.models import loading

    here = checkpoint.model.device
    if device == "auto" or loading.available(device, error=ProbeError) in (str(here), here.type):
        return checkpoint
    return replace(checkpoint, model=copy.deepcopy(checkpoint.model).to(device))


def agreed(outlines: Sequence[Outline], settings: PassSettings) -> PassSettings:
    """Masks on the finest grid that fits the ViT patches of all that reconstruct, and pictures of one size."""
    if not outlines:
        return settings
    grids = [one.grid for one in outlines if one.grid is not None]
    if grids and settings.mask_grid is not None:  # of results that these are measured beside
        grids.append(settings.mask_grid)
    grid = (math.gcd(*(grid[0] for grid in grids)), math.gcd(*(grid[1] for grid in grids))) if grids else None
    side = min(settings.picture_side, *(max(one.size) for one in outlines))
    return replace(settings, mask_grid=grid, picture_side=side)


# --- results among the checkpoints ------------------------------------------------------------------------------------


def measured(source: Any) -> xr.Dataset | None:
    """The dataset, if `source` is one or a results file."""
    if isinstance(source, xr.Dataset):
        return opened(source, "compare")
    if isinstance(source, str | Path) and str(source).rstrip("/").endswith((".nc", ".zarr")):
        return opened(source, "compare")
    return None


def distinct(names: Sequence[str], datasets: Sequence[xr.Dataset]) -> list[str]:
    """Names for checkpoints, each used once and by no dataset: a second one gets " (2)"."""
    used = _named_once(datasets)
    out = []
    for base in names:
        name, again = base, 2
        while name in used:
            name, again = f"{base} ({again})", again + 1
        used.add(name)
        out.append(name)
    return out


def _named_once(datasets: Sequence[xr.Dataset]) -> set[str]:
    """The checkpoints of datasets; one may be in several of them, if it is known to be the same.

    Raises:
        ResultsError: one name for different checkpoints.
    """
    digests: dict[str, list[str]] = {}
    for ds in datasets:
        known = ds["sha256"].values if "sha256" in ds.coords else [""] * ds.sizes["checkpoint"]
        for name, digest in zip(ds.checkpoint.values, known, strict=True):
            digests.setdefault(str(name), []).append(str(digest))
    for name, found in digests.items():
        if len(found) > 1 and ("" in found or len(set(found)) > 1):
            raise ResultsError(
                f"More than one of the datasets has a checkpoint named {name!r}, and they are not known to be the same "
                f"(sha256 {', '.join(digest[:12] or 'unknown' for digest in found)}): rename it in one of them, for "
                "instance ds.assign_coords(checkpoint=[...])."
            )
    return set(digests)


def quietly(source: Any, device: str) -> Checkpoint:
    """As `open_checkpoint`, without warnings, which were given when it was first opened."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_checkpoint(source, device)
