"""COCO's masks: equal to pycocotools' where it can be believed, refused where it would write past the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coder

from probekit.data.coco_masks import mask_of
from probekit.errors import DataError


def test_codes_and_outlines_are_pycocotools_own() -> None:
    draw = np.random.default_rng(0)
    for number in range(60):
        size = (int(draw.integers(1, 60)), int(draw.integers(1, 60)))
        mask = draw.random(size) < [0.01, 0.2, 0.5, 1.0][number % 4]
        code = coder.encode(np.asfortranarray(mask.astype(np.uint8)))
        for counts in (code["counts"], code["counts"].decode()):
            np.testing.assert_array_equal(mask_of({"counts": counts, "size": list(size)}, size, "x"), mask)
        outlines = [draw.uniform(-5, 70, 2 * draw.integers(3, 9)).tolist() for _ in range(2)]
        expected = coder.decode(coder.merge(coder.frPyObjects(outlines, 64, 64))).astype(bool)
        np.testing.assert_array_equal(mask_of(outlines, (64, 64), "x"), expected)


HOSTILE: list[Any] = [
    {"counts": [2**31, 5], "size": [12, 20]},
    {"counts": [240, 1], "size": [12, 20]},
    {"counts": [-1, 241], "size": [12, 20]},
    {"counts": "P" * 5000, "size": [12, 20]},
    {"counts": "o" * 20, "size": [12, 20]},
    {"counts": "0" * 2_000_000 + "1", "size": [12, 20]},
    {"counts": [2**40], "size": [2**20, 2**20]},
    {"counts": None, "size": [12, 20]},
    [[0.0, 0, 1e6, 0, 5, 5] * 1000],
    [[float("nan")] * 6],
    [[1e300, 0, 0, 1e300, 1, 1]],
    [[1, 2, 3]],
    [1, 2, 3, 4, 5, 6, 7],
    "x",
    7,
]


@pytest.mark.parametrize("segmentation", HOSTILE, ids=[f"{one!r:.40}" for one in HOSTILE])
def test_what_is_longer_than_the_image_is_refused(segmentation: Any) -> None:
    with pytest.raises(DataError, match="neither polygons nor a run-length code"):
        mask_of(segmentation, (12, 20), "an object")
