"""Detections and objects in COCO's format, and their average precision by pycocotools.

What is scored is what is written: `annotations.json` and `detections.json` lie in the run's directory, so that anyone
can have them scored by a program of their own.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from probekit import progress
from probekit.data import ImageSet
from probekit.data.coco_masks import mask_coder
from probekit.data.instances import Objects
from probekit.detection.detector import Detector
from probekit.detection.examples import Convert, fitted, instances_of, read
from probekit.measures.average_precision import Matches

KINDS = {"box": "bbox", "mask": "segm"}
"""What is compared, and pycocotools' name of it."""

INSIDE = 0.5
"""A pixel is in a mask if its predicted share is at least this."""

DETECTIONS = 100
"""Most detections of an image that count."""


def coded(mask: np.ndarray) -> dict[str, Any]:
    """COCO's compressed run-length code of a mask, bool (height, width), as JSON takes it."""
    found: dict[str, Any] = mask_coder().encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in found["size"]], "counts": found["counts"].decode("ascii")}


def truth_of(images: ImageSet) -> dict[str, Any]:
    """The objects of all images in COCO's format; image i has the number i + 1."""
    instances, listed, found = instances_of(images), [], []
    for index in range(len(images)):
        objects = instances[index]
        height, width = objects.masks.shape[1:]
        listed.append({"id": index + 1, "file_name": images.image_name(index), "height": height, "width": width})
        found += list(_entries(objects, index, instances.identifiers))
    for number, entry in enumerate(found, start=1):
        entry["id"] = number
    categories = zip(instances.identifiers.tolist(), instances.classes, strict=True)
    return {
        "images": listed,
        "annotations": found,
        "categories": [{"id": number, "name": name} for number, name in categories],
    }


def _entries(objects: Objects, index: int, identifiers: np.ndarray) -> Iterator[dict[str, Any]]:
    for box, label, crowd, area, mask in zip(*objects, strict=True):
        left, top, right, bottom = box.tolist()
        yield {
            "image_id": index + 1, "category_id": int(identifiers[label]), "iscrowd": int(crowd), "area": float(area),
            "bbox": [left, top, right - left, bottom - top], "segmentation": coded(mask),
        }  # fmt: skip


@torch.inference_mode()
def detect_in(detector: Detector, pixels: Sequence[np.ndarray], device: torch.device) -> list[dict[str, np.ndarray]]:
    """What is found in images, in their own pixels, the surest first.

    Args:
        detector: in eval mode.
        pixels: uint8 (height, width, channels) each, of the model's channels.
        device: where the detector is.

    Returns:
        For each image `boxes` (n, 4), `labels` (n,) into the classes, `scores` (n,), `masks` bool (n, height, width).
    """
    canvas = detector.transform.size
    placed = [fitted(one, canvas) for one in pixels]
    out = []
    for one, small, found in zip(pixels, placed, detector([image.to(device) for image in placed]), strict=True):
        height, width = one.shape[:2]
        boxes = found["boxes"].cpu().float()
        boxes = boxes * torch.tensor([width / small.shape[2], height / small.shape[1]]).repeat(2)
        masks = paste_masks_in_image(found["masks"].cpu().float(), boxes, (height, width))[:, 0] >= INSIDE
        out.append({
            "boxes": boxes.double().numpy(), "labels": found["labels"].cpu().numpy() - 1,
            "scores": found["scores"].cpu().double().numpy(), "masks": masks.numpy(),
        })  # fmt: skip
    return out


def detections(
    detector: Detector, images: ImageSet, convert: Convert, device: torch.device, *, batch_size: int = 1
) -> list[dict[str, Any]]:
    """What is found in all images, in COCO's format for results; see `truth_of` for the numbers of images."""
    detector.eval()
    identifiers, found = instances_of(images).identifiers, []
    with progress.bar(f"{images.name}: detecting", len(images)) as advance:
        for start in range(0, len(images), batch_size):
            rows = range(start, min(start + batch_size, len(images)))
            pixels = [convert(read(images, index)[0]) for index in rows]
            for index, one in zip(rows, detect_in(detector, pixels, device), strict=True):
                for box, label, score, mask in zip(*(one[key] for key in _FIELDS), strict=True):
                    left, top, right, bottom = box.tolist()
                    found.append({
                        "image_id": index + 1, "category_id": int(identifiers[label]), "score": float(score),
                        "bbox": [left, top, right - left, bottom - top], "segmentation": coded(mask),
                    })  # fmt: skip
                advance()
    return found


_FIELDS = ("boxes", "labels", "scores", "masks")


def matched(truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]], kind: str) -> tuple[float, list[Matches]]:
    """COCO's AP by pycocotools, and the matches of each class that it made.

    Args:
        truth: as `truth_of` gives it.
        found: as `detections` gives it.
        kind: "box" or "mask".

    Returns:
        The mean over overlaps of .50 to .95 and over classes, NaN without objects; and the matches, whose thresholds
        are these overlaps.
    """
    mask_coder()  # says how to install pycocotools
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not found:
        return (0.0 if any(not one["iscrowd"] for one in truth["annotations"]) else float("nan")), nothing(truth)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        objects = COCO()
        objects.dataset = {key: [dict(one) for one in value] for key, value in truth.items()}
        objects.createIndex()
        evaluation = COCOeval(objects, objects.loadRes([dict(one) for one in found]), KINDS[kind])
        evaluation.params.maxDets = [DETECTIONS]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    valid = precision[precision > -1]
    return (float(valid.mean()) if valid.size else float("nan")), matches_of(evaluation)


def matches_of(evaluation: Any) -> list[Matches]:
    """The matches of each class, from what `COCOeval.evaluate` kept of each image."""
    images, out = len(evaluation.params.imgIds), []
    for start in range(0, len(evaluation.evalImgs), images):
        kept = [(row, one) for row, one in enumerate(evaluation.evalImgs[start : start + images]) if one is not None]
        scores = np.concatenate([[], *(one["dtScores"] for _, one in kept)])
        order = np.argsort(-scores, kind="mergesort")
        image = np.concatenate([[], *([row] * len(one["dtScores"]) for row, one in kept)]).astype(np.int64)
        thresholds = len(evaluation.params.iouThrs)
        empty = np.zeros((thresholds, 0))
        right = np.concatenate([empty, *(one["dtMatches"] for _, one in kept)], axis=1).astype(bool)
        ignored = np.concatenate([empty, *(one["dtIgnore"] for _, one in kept)], axis=1).astype(bool)
        objects = np.zeros(images, dtype=np.int64)
        for row, one in kept:
            objects[row] = np.count_nonzero(np.asarray(one["gtIgnore"]) == 0)
        out.append(Matches(image[order], right[:, order], ~ignored[:, order], objects))
    return out


def nothing(truth: Mapping[str, Any]) -> list[Matches]:
    """The matches of a detector that finds nothing."""
    rows = {one["id"]: row for row, one in enumerate(truth["images"])}
    out = []
    for category in truth["categories"]:
        objects = np.zeros(len(rows), dtype=np.int64)
        for one in truth["annotations"]:
            if one["category_id"] == category["id"] and not one["iscrowd"]:
                objects[rows[one["image_id"]]] += 1
        none = np.zeros((10, 0), dtype=bool)
        out.append(Matches(np.zeros(0, dtype=np.int64), none, none, objects))
    return out
