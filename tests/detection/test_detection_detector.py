"""Anchors, regions and canvas: what torchvision infers is exact here, for every patch and every image size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign

from probekit.detection.backbone import NAMES
from probekit.detection.detector import Anchors, Canvas, Regions, build
from probekit.detection.settings import strides


def ramps(side: float, steps: tuple[float, ...]) -> dict[str, Tensor]:
    """Maps whose two channels are the x and y of each cell's centre, in pixels."""
    out = {}
    for name, step in zip(NAMES, steps, strict=True):
        line = (torch.arange(int(side / step)) + 0.5) * step
        out[name] = torch.stack(torch.meshgrid(line, line, indexing="xy"))[None]
    return out


@pytest.mark.parametrize("patch", [4, 14, 16])
def test_regions_are_read_at_their_own_place(patch: int) -> None:
    """The mean of the x of a region's cells is the middle of the box, whichever map it is read from."""
    steps = strides(patch)
    side = 16 * steps[-1]
    boxes = torch.tensor([[30.0, 60, 50, 90], [40, 40, 140, 180], [60, 90, 300, 330], [30, 30, 400, 410]])
    assert Regions(steps, 7).level(boxes).tolist() == [0, 1, 2, 2]
    found = Regions(steps, 7)(ramps(side, steps), [boxes], [(200, 300)])
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    torch.testing.assert_close(found.mean(dim=(2, 3)), middle, rtol=0, atol=0.02)


def test_regions_equal_torchvisions_where_it_infers_right() -> None:
    """Patches of 16 pixels, an image that fills its canvas: the levels of its heuristics are ours, and so are its
    values where each box is moved by the half cell that it is off."""
    torch.manual_seed(0)
    maps = {name: torch.randn(2, 3, 512 // int(step), 512 // int(step))
            for name, step in zip(NAMES, strides(16), strict=True)}  # fmt: skip
    corners = 10 + torch.rand(40, 2) * 290
    boxes = torch.cat([corners, corners + 5 + 200 * torch.rand(40, 2)], dim=1)
    given = [boxes[:15], boxes[15:]]
    half = torch.tensor(strides(16))[Regions(strides(16), 7).level(boxes)][:, None] / 2
    moved = [(boxes - half)[:15], (boxes - half)[15:]]
    expected = MultiScaleRoIAlign(list(NAMES), 7, 2)(maps, moved, [(512, 512)] * 2)
    torch.testing.assert_close(Regions(strides(16), 7)(maps, given, [(512, 512)] * 2), expected)


@pytest.mark.parametrize("patch", [4, 14])
def test_anchors_lie_on_the_cells(patch: int) -> None:
    steps = strides(patch)
    side = int(4 * steps[-1])
    maps = [torch.zeros(1, 1, int(side / step), int(side / step)) for step in steps]
    (found,) = Anchors(steps, 4.0)(ImageList(torch.zeros(1, 3, side, side), [(side, side)]), maps)
    first = found[: 3 * maps[0].shape[2] * maps[0].shape[3]]
    centres = ((first[:, :2] + first[:, 2:]) / 2)[::3]
    assert centres[1].tolist() == [steps[0], 0]
    assert centres[-1].tolist() == [side - steps[0], side - steps[0]]
    square = found[1]
    assert (square[2] - square[0]).item() == pytest.approx(4 * steps[0], abs=1)


def test_a_canvas_normalises_pads_and_has_one_size() -> None:
    canvas = Canvas((8, 12), (0.5, 0.25), (0.5, 0.5))
    images = [torch.full((2, 4, 12), 255, dtype=torch.uint8), torch.zeros(2, 8, 6, dtype=torch.uint8)]
    targets = [{"masks": torch.ones(1, 4, 12, dtype=torch.uint8)}, {"masks": torch.ones(0, 8, 6, dtype=torch.uint8)}]
    placed, padded = canvas(images, targets)
    assert placed.tensors.shape == (2, 2, 8, 12)
    assert placed.image_sizes == [(4, 12), (8, 6)]
    assert placed.tensors[0, :, 0, 0].tolist() == [1, 1.5]
    assert placed.tensors[1, :, 0, 0].tolist() == [-1, -0.5]
    assert placed.tensors[0, :, 5].abs().max() == 0
    assert padded is not None
    assert [tuple(one["masks"].shape) for one in padded] == [(1, 8, 12), (0, 8, 12)]
    assert padded[0]["masks"].sum() == 48


def test_an_image_is_the_same_in_any_batch(vit, settings) -> None:
    model = vit()
    detector = build(model, settings(model, image_size=64), 3).eval()
    detector.roi_heads.score_thresh = 0.0
    torch.manual_seed(1)
    wide, high = (torch.randint(0, 255, (3, *size), dtype=torch.uint8) for size in ((32, 64), (64, 40)))
    with torch.no_grad():
        (alone,), both = detector([wide]), detector([high, wide])
    assert len(alone["boxes"]) > 3
    for key, value in alone.items():
        torch.testing.assert_close(both[1][key], value, rtol=1e-4, atol=1e-4)


def test_fresh_weights_follow_the_seed_alone(vit, settings) -> None:
    model = vit()
    chosen = settings(model)
    torch.manual_seed(5)
    one = build(model, chosen, 3).state_dict()
    torch.manual_seed(6)
    other = build(model, chosen, 3).state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
