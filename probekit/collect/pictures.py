"""Reconstructions: their metrics per image, and a few of them as pictures.

The unmasked reconstruction (the paper's Figure 5) decodes the tokens that the traced forward gave, so it costs one
decoder call and no second encoder call; the masked one is one more encoder and decoder call, with masks that every
checkpoint shares. What SSIM and FSIM need of the originals alone is computed once and kept for the next checkpoint.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from probekit import masking
from probekit.collect.kept import Kept
from probekit.collect.prepared import Batch, PreparedModel, Source
from probekit.collect.recorders import Recorder, Rows
from probekit.errors import ProbeError
from probekit.measures import fsim, images
from probekit.models import pixels

KEPT_REFERENCES = 1 << 27
"""Bytes of SSIM and FSIM references that are kept between checkpoints: of 1,000 images of 32 px."""

STATISTICS = "image"
"""How normalised targets are undone for every number: one mean and variance from all visible pixels of the image."""


references: Kept[Any] = Kept(KEPT_REFERENCES)


def reference_of(metric: str, make: Any, originals: np.ndarray, place: tuple[Any, ...]) -> Any:
    """What a metric needs of a batch of originals, which lie at `place`."""
    return references.get((metric, *place), lambda: make(originals))


def originals_of(prepared: PreparedModel, batch: Tensor) -> np.ndarray:
    """Undo the normalisation: float32 in [0, 1], rounded to the original 8-bit values."""
    model = prepared.model
    plain = batch * model.std[:, None, None] + model.mean[:, None, None]
    return ((plain * 255).round() / 255).clamp(0, 1).cpu().numpy()


def unmasked(prepared: PreparedModel, batch: Batch) -> Tensor:
    """`model.reconstruct(images)` from the tokens of the traced forward."""
    model = prepared.decoding_model
    assert model.decoder is not None  # a decoding model has one
    prediction = model.decoder(batch.tokens, None, prepared.grid).float()
    if model.normalised_targets:
        patches = model.patchify(batch.images)
        prediction = pixels.undo_normalisation(prediction, patches, None, prepared.grid, STATISTICS)
    picture = pixels.unpatchify(prediction, model.vit_patch_size, prepared.grid)
    return (picture * model.std[:, None, None] + model.mean[:, None, None]).clamp(0, 1)


class _Reconstructing(Recorder):
    """Shared: the masks of all rows, and both reconstructions of a batch."""

    more_forwards = 1

    def __init__(self, prepared: PreparedModel, source: Source) -> None:
        super().__init__(prepared, source)
        self.units = prepared.hidden_units(source.image_set, source.rows)

    @property
    def facts(self) -> dict[str, Any]:
        seed = self.prepared.settings.seed
        return {
            "mask_grid": self.prepared.mask_grid,
            "mask_seed": seed,
            "drawn_by": "pixels and seed",
            "statistics": STATISTICS,
        }

    def layer(self, index: int, tokens: Tensor, attention: Tensor | None, batch: Batch) -> None:
        """The tokens of the last layer are in the batch."""

    def hidden(self, batch: Batch) -> Tensor | None:
        """The batch's masks on the model's patches."""
        if self.units is None:
            return None
        return masking.expand(self.units[torch.from_numpy(batch.indices)], self.prepared.mask_grid, self.prepared.grid)

    def hidden_pixels(self, batch: Batch) -> np.ndarray:
        """The batch's masks in pixels, bool (n, H, W)."""
        assert self.units is not None  # asked for only where `hidden` gives masks
        rows = self.units[torch.from_numpy(batch.indices)]
        return (
            masking.expand(rows, self.prepared.mask_grid, self.prepared.size).reshape(-1, *self.prepared.size).numpy()
        )

    def masked(self, batch: Batch, hidden: Tensor) -> Tensor:
        """The prediction from the visible patches, nothing pasted."""
        return self.prepared.decoding_model.reconstruct(
            batch.images, hidden.to(batch.images.device), statistics=STATISTICS
        ).float()


class Reconstruction(_Reconstructing):
    """`ssim, fsim, psnr, mse` and `masked_*`: float32 (rows,). Without SSIM or FSIM where images are too small for
    them, and without FSIM where they are neither grey nor RGB.
    """

    name = "reconstruction"
    metrics = ("ssim", "fsim")
    """The ones that compare with a reference; MSE and PSNR are always there."""

    def __init__(self, prepared: PreparedModel, source: Source) -> None:
        super().__init__(prepared, source)
        trial = np.zeros((1, prepared.model.channels, *prepared.size), dtype=np.float32)
        self.makers = {}
        for metric, make in (("ssim", images.SsimReference), ("fsim", fsim.FsimReference)):
            if metric in self.metrics and unfit(make, trial) is None:
                self.makers[metric] = make

    @property
    def facts(self) -> dict[str, Any]:
        return super().facts | {"metrics": sorted(self.makers)}

    def rows(self, batch: Batch) -> Rows:
        originals = originals_of(self.prepared, batch.images)
        place = (
            self.source.image_set.fingerprint,
            self.prepared.preprocess.pixels_fingerprint,
            batch.indices.tobytes(),
        )
        made = {name: reference_of(name, make, originals, place) for name, make in self.makers.items()}
        full = unmasked(self.prepared, batch).cpu().numpy()
        mse = images.mse(originals, full)
        out = {"mse": mse, "psnr": images.decibels(mse)}
        out |= {name: reference.score(full) for name, reference in made.items()}
        hidden = self.hidden(batch)
        if hidden is not None:
            flags = self.hidden_pixels(batch)
            part = self.masked(batch, hidden).cpu().numpy()
            mse = images.masked_mse(originals, part, flags)
            pasted = images.paste(originals, part, flags)
            out |= {"masked_mse": mse, "masked_psnr": images.decibels(mse)}
            out |= {f"masked_{name}": reference.masked(pasted, flags) for name, reference in made.items()}
        return {name: np.asarray(values, dtype=np.float32) for name, values in out.items()}


def unfit(make: Any, trial: np.ndarray) -> str | None:
    """Why a metric cannot be computed on such images, or None."""
    try:
        make(trial)
    except ProbeError as error:
        return str(error)
    return None


class Pictures(_Reconstructing):
    """`full`, `pasted`: uint8 (rows, H, W, channels), reconstructions without a mask, and with one (visible pixels
    pasted)."""

    name = "pictures"

    def rows(self, batch: Batch) -> Rows:
        out = {"full": unmasked(self.prepared, batch)}
        hidden = self.hidden(batch)
        if hidden is not None:
            flags = torch.from_numpy(self.hidden_pixels(batch))[:, None].to(batch.images.device)
            originals = torch.from_numpy(originals_of(self.prepared, batch.images)).to(batch.images.device)
            out["pasted"] = torch.where(flags, self.masked(batch, hidden), originals)
        return {name: (array * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy() for name, array in out.items()}
