"""The scores of a trained detector as a labelled dataset, with pictures of detections and ground truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from probekit import schema
from probekit.data import ImageSet
from probekit.detection.settings import DetectorSettings
from probekit.measures import average_precision
from probekit.measures.average_precision import Matches
from probekit.models import Checkpoint
from probekit.models.facts import coordinates
from probekit.schema import Variable

PROTOCOL = (
    "Mask R-CNN (torchvision) on the simple feature pyramid of the ViT's last map, trained on the train split with "
    "the settings in the attribute options; the last weights, nothing selected; COCO's {} on the test split by "
    "pycocotools, 100 detections an image, crowds ignored"
)
REFERENCE = "Lin et al. 2014 (COCO); He et al. 2017 (Mask R-CNN); Li et al. 2022 (ViTDet)"
INTERVAL = f"bootstrap over test images, {average_precision.DRAWS} draws; of one training, its seed held fixed"

SCORES = {
    f"{kind}_ap{level}": Variable(
        f"{kind}_ap{level}", (), f"{kind.capitalize()} AP{level} after fine-tuning", "1", "higher",
        PROTOCOL.format("AP (mean over overlaps .50 to .95)" if not level else "AP at an overlap of .50"),
        REFERENCE, interval=INTERVAL,
    )
    for kind in ("box", "mask") for level in ("", "50")
}  # fmt: skip

PICTURE_DIMS = ("example", "row", "column", "channel")
PICTURES = {
    "example_image": "Test image",
    "example_truth": "Test image with its objects",
    "example_detection": "Test image with what is found",
}


def dataset(
    checkpoint: Checkpoint,
    settings: DetectorSettings,
    test: ImageSet,
    found: Mapping[str, tuple[float, list[Matches]]],
    pictures: Mapping[str, np.ndarray],
    facts: Mapping[str, Any],
) -> xr.Dataset:
    """The labelled dataset, dims checkpoint = 1 and data = 1, in the schema.

    Args:
        checkpoint: that was fine-tuned.
        settings: of the run.
        test: the images that were scored.
        found: "box" and "mask" -> AP, and the matches.
        pictures: name -> uint8 (example, row, column, 3).
        facts: of the training, for the record.
    """
    arrays: dict[str, xr.DataArray] = {}
    for kind, (value, matches) in found.items():
        levels = average_precision.average_precision(matches)
        whole, each = np.full(2, np.nan), np.full((len(levels), 2), np.nan)
        if len(test) > 1:
            whole, each = average_precision.interval(matches, seed=settings.seed)
        adds = average_precision.influence(matches).astype(np.float32)
        arrays |= SCORES[f"{kind}_ap"].arrays(value, whole, per_image=adds.mean(axis=0))
        arrays |= SCORES[f"{kind}_ap50"].arrays(levels[0], each[0], per_image=adds[0])
    marks = {
        "probe": "detect",
        "finetuned": settings.finetuned,
        "options": settings.options(),
        "counts": json.dumps({"test": len(test)}),
        "images": test.fingerprint,
        "precision": settings.precision,
        "detection_seed": settings.seed,
    }
    for name in SCORES:
        arrays[name].attrs |= marks
    name = checkpoint.name
    about = coordinates(checkpoint.card, checkpoint.model, settings.image_size[0])
    ds = schema.of_one(arrays, checkpoint=name, data=test.name, fingerprint=test.fingerprint, coords=about)
    for key, values in pictures.items():
        dims = ("data", *PICTURE_DIMS) if key in schema.SHARED else ("checkpoint", "data", *PICTURE_DIMS)
        shape = values[None] if key in schema.SHARED else values[None, None]
        ds[key] = (dims, shape, {"long_name": PICTURES[key]})
    lacking = {name: {"detect": "intervals need two test images"}} if len(test) < 2 else {}
    ds.attrs = {
        "schema_version": schema.SCHEMA_VERSION,
        "not_applicable": json.dumps(lacking),
        "provenance": schema.stamp(settings=settings.record(), training=dict(facts)),
    }
    return schema.validate(ds)
