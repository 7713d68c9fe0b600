"""Settings of a run that takes seconds, and scores as users of pycocotools compute them."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SOURCE = "shipped:cifar10-r0.75-p8-s0"
SMALL: dict[str, Any] = {
    "image_size": 32, "batch_size": 2, "images": 6, "pyramid_width": 16, "head_width": 16, "proposals": 20,
    "samples": 8, "window": 4,
}  # fmt: skip


def by_pycocotools(truth: Path | dict[str, Any], found: Any, kind: str) -> np.ndarray:
    """AP, AP50 of all images and all sizes, as its users compute it."""
    with contextlib.redirect_stdout(io.StringIO()):
        if isinstance(truth, dict):
            objects = COCO()
            objects.dataset = truth
            objects.createIndex()
        else:
            objects = COCO(str(truth))
        evaluation = COCOeval(objects, objects.loadRes(found), {"box": "bbox", "mask": "segm"}[kind])
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.asarray(evaluation.stats[:2])
