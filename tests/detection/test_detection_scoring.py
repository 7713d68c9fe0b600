"""Scores: what is written in COCO's format is what is scored, and weights of images are copies of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coder
from small_detection import by_pycocotools
from torch import nn

from probekit.data import load
from probekit.detection import pictures, scoring
from probekit.detection.detector import Canvas
from probekit.measures.average_precision import Matches, average_precision, influence, interval

IMAGES = 12


def noisy(truth: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """Detections that are the truth moved by a few pixels, some of another class, some doubled, some missing."""
    rng, found = np.random.default_rng(seed), []
    numbers = [one["id"] for one in truth["categories"]]
    for one in truth["annotations"]:
        for _ in range(int(rng.integers(0, 3))):
            mask = np.roll(coder.decode(one["segmentation"]), rng.integers(-2, 3, 2), (0, 1)).astype(bool)
            wrong = rng.random() < 0.2
            found.append({
                "image_id": one["image_id"], "score": float(rng.random()),
                "category_id": int(rng.choice(numbers)) if wrong else one["category_id"],
                "bbox": (np.array(one["bbox"]) + rng.normal(0, 1.5, 4) * [1, 1, 0.5, 0.5]).tolist(),
                "segmentation": scoring.coded(mask),
            })  # fmt: skip
    return found


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    found = scoring.truth_of(load("shapes:scenes", "test", count=IMAGES))
    found["annotations"][3]["iscrowd"] = 1
    return found


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_scores_are_pycocotools_of_the_written_files(tmp_path: Path, truth, kind) -> None:
    found = noisy(truth, 1)
    (tmp_path / "annotations.json").write_text(json.dumps(truth))
    (tmp_path / "detections.json").write_text(json.dumps(found))
    expected = by_pycocotools(tmp_path / "annotations.json", str(tmp_path / "detections.json"), kind)
    value, matches = scoring.matched(truth, found, kind)
    levels = average_precision(matches)
    assert 0.05 < expected[0] < 0.95
    assert value == expected[0]
    assert levels.mean() == pytest.approx(expected[0], abs=1e-12)
    assert levels[0] == pytest.approx(expected[1], abs=1e-12)


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_weights_are_copies_of_images(truth, kind) -> None:
    found = noisy(truth, 2)
    weights = np.random.default_rng(3).integers(0, 4, IMAGES)
    copied: dict[str, Any] = {"images": [], "annotations": [], "categories": truth["categories"]}
    copies = []
    for row, times in enumerate(weights):
        for _ in range(times):
            number = len(copied["images"]) + 1
            copied["images"].append(truth["images"][row] | {"id": number})
            copied["annotations"] += [one | {"image_id": number} for one in truth["annotations"]
                                      if one["image_id"] == row + 1]  # fmt: skip
            copies += [one | {"image_id": number} for one in found if one["image_id"] == row + 1]
    for number, one in enumerate(copied["annotations"], start=1):
        one["id"] = number
    expected = by_pycocotools(copied, copies, kind)
    levels = average_precision(scoring.matched(truth, found, kind)[1], weights.astype(float))
    assert levels.mean() == pytest.approx(expected[0], abs=1e-9)
    assert levels[0] == pytest.approx(expected[1], abs=1e-9)


def test_known_answers(truth) -> None:
    perfect = [one | {"score": 0.9} for one in truth["annotations"] if not one["iscrowd"]]
    for kind in scoring.KINDS:
        value, matches = scoring.matched(truth, perfect, kind)
        assert value == 1
        assert average_precision(matches).tolist() == pytest.approx([1.0] * 10)
        nothing, empty = scoring.matched(truth, [], kind)
        assert nothing == 0
        assert average_precision(empty).tolist() == [0.0] * 10
        counted = [one.objects.sum() for one in matches]
        assert counted == [one.objects.sum() for one in empty]
    crowd = [one | {"score": 0.99} for one in truth["annotations"] if one["iscrowd"]]
    assert scoring.matched(truth, perfect + crowd, "box")[0] == 1


def test_intervals_hold_the_value_and_follow_the_seed(truth) -> None:
    _, matches = scoring.matched(truth, noisy(truth, 4), "box")
    whole, each = interval(matches, draws=100, seed=0)
    value = average_precision(matches)
    assert whole[0] < value.mean() < whole[1]
    assert (each[:, 0] <= value).all()
    assert (value <= each[:, 1]).all()
    assert interval(matches, draws=100, seed=0)[0].tolist() == whole.tolist()
    assert interval(matches, draws=100, seed=1)[0].tolist() != whole.tolist()


def area(matches: Matches, weights: np.ndarray, threshold: int) -> float:
    """The area under interpolated precision, object by object."""
    ranks = []
    for rank, image in enumerate(matches.image):
        if matches.counted[threshold, rank]:
            ranks.append((weights[image], bool(matches.right[threshold, rank])))
    precisions = [sum(w for w, right in ranks[: k + 1] if right) / sum(w for w, _ in ranks[: k + 1])
                  for k in range(len(ranks))]  # fmt: skip
    found = sum(w * max(precisions[k:]) for k, (w, right) in enumerate(ranks) if right)
    return found / float(weights @ matches.objects)


def test_influence_is_the_derivative_of_the_area(truth) -> None:
    _, matches = scoring.matched(truth, noisy(truth, 5), "box")
    adds, images = influence(matches), len(matches[0].objects)
    np.testing.assert_allclose(adds.mean(axis=1), average_precision(matches), atol=1e-12)
    here = [one for one in matches if one.objects.sum()]
    for image, threshold in ((0, 0), (3, 4), (IMAGES - 1, 8)):
        step = np.zeros(images)
        step[image] = 1e-6
        moved = [(area(one, 1 + step, threshold) - area(one, 1 - step, threshold)) / 2e-6 for one in here]
        slope = (adds[threshold, image] - adds[threshold].mean()) / images
        assert slope == pytest.approx(np.mean(moved), abs=1e-7)


def test_a_contrast_of_two_detectors_has_the_error_of_a_paired_bootstrap(truth) -> None:
    ours, theirs = (scoring.matched(truth, noisy(truth, seed), "box")[1] for seed in (6, 7))
    difference = influence(ours).mean(axis=0) - influence(theirs).mean(axis=0)
    error = difference.std(ddof=1) / len(difference) ** 0.5
    rng = np.random.default_rng(0)
    drawn = [np.bincount(rng.integers(IMAGES, size=IMAGES), minlength=IMAGES).astype(float) for _ in range(400)]
    spread = np.std([(average_precision(ours, w) - average_precision(theirs, w)).mean() for w in drawn], ddof=1)
    assert error == pytest.approx(spread, rel=0.25)


class Told(nn.Module):
    """A detector that finds what it is told, in pixels of the canvas."""

    def __init__(self, size: tuple[int, int], boxes: list[list[float]], masks: torch.Tensor) -> None:
        super().__init__()
        self.transform = Canvas(size, (0.5,) * 3, (0.5,) * 3)
        self.found = {"boxes": torch.tensor(boxes), "labels": torch.ones(len(boxes), dtype=torch.int64),
                      "scores": torch.linspace(0.9, 0.8, len(boxes)), "masks": masks}  # fmt: skip

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        return [self.found] * len(images)


def test_masks_are_pasted_at_the_pixels_of_the_image_itself() -> None:
    """An image of 100 x 200 pixels on a canvas of 64: a box of the canvas covers 3.125 times its pixels."""
    left = torch.zeros(1, 1, 28, 28)
    left[..., :14] = 1
    masks = torch.cat([torch.ones(1, 1, 28, 28), left])
    told = Told((64, 64), [[16, 8, 32, 24], [16, 8, 32, 24]], masks)
    (found,) = scoring.detect_in(told, [np.zeros((100, 200, 3), np.uint8)], torch.device("cpu"))
    np.testing.assert_allclose(found["boxes"][0], [50, 25, 100, 75])
    inside = np.argwhere(found["masks"][0])
    assert found["masks"].shape == (2, 100, 200)
    assert np.abs(inside.min(axis=0) - [25, 50]).max() <= 1
    assert np.abs(inside.max(axis=0) - [74, 99]).max() <= 1
    assert abs(found["masks"][0].sum() - 2500) < 150
    half = np.argwhere(found["masks"][1])
    assert abs(half[:, 1].max() - 74) <= 1
    assert found["labels"].tolist() == [0, 0]


def test_numbers_of_classes_are_the_sources_own(truth) -> None:
    images = load("shapes:scenes", "test", count=2)
    images.instances.identifiers = np.arange(10, 90, 10)
    told = Told((64, 64), [[16, 8, 32, 24]], torch.ones(1, 1, 28, 28))
    found = scoring.detections(told, images, np.asarray, torch.device("cpu"), batch_size=2)
    assert [one["category_id"] for one in found] == [10, 10]
    assert [one["image_id"] for one in found] == [1, 2]
    assert [one["bbox"] for one in found] == [[16, 8, 16, 16]] * 2
    again = scoring.truth_of(images)
    assert {one["category_id"] for one in again["annotations"]} <= set(range(10, 90, 10))
    json.dumps([again, found])


def test_pictures_show_boxes_and_masks_where_they_are() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    mask = np.zeros((1, 20, 30), bool)
    mask[0, 6:9, 6:9] = True
    shown = pictures.drawn(image, np.array([[4.0, 4, 12, 12]]), np.array([1]), mask)
    changed = shown.any(axis=2)
    assert changed[4, 4:12].all()
    assert changed[11, 4:12].all()
    assert changed[6:9, 6:9].all()
    assert changed.sum() == 28 + 9
    assert pictures.kept([shown, shown[:, :10]], 15).shape == (2, 15, 15, 3)
    clipped = pictures.drawn(image, np.array([[-5.0, -5, 99, 99]]), np.array([1]), mask)
    assert clipped[0, 0].any()
    assert clipped[-1, -1].any()
