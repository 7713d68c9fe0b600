"""The ViT and its pyramid as a detector reads them."""

from __future__ import annotations

import pytest
import torch

from probekit.detection.backbone import Backbone, Pyramid, global_blocks
from probekit.detection.detector import build
from probekit.errors import TrainingError


@pytest.mark.parametrize(
    ("patch", "strides"),
    [(2, (4, 8, 16, 32)), (4, (4, 8, 16, 32)), (8, (4, 8, 16, 32)), (14, (3.5, 7, 14, 28)), (16, (4, 8, 16, 32)),
     (32, (4, 8, 16, 32))],
)  # fmt: skip
def test_the_pyramid_has_the_strides_that_it_names(patch: int, strides: tuple[float, ...]) -> None:
    pyramid = Pyramid(patch, 32, 8)
    assert pyramid.strides == strides
    side = int(strides[-1]) * 2
    maps = pyramid(torch.randn(2, 32, side // patch, 2 * side // patch))
    assert [tuple(one.shape) for one in maps] == [(2, 8, side / stride, 2 * side / stride) for stride in strides]


@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
@pytest.mark.parametrize("window", [0, 24])
def test_without_windows_or_with_large_ones_the_map_is_the_encoders(vit, settings, size, window) -> None:
    model = vit().eval()
    backbone = Backbone(model, settings(model, image_size=size, window=window)).eval()
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(backbone.tokens(images), model.encode(images), rtol=1e-5, atol=1e-5)


def test_small_windows_change_the_map_and_global_blocks_are_spread(vit, settings) -> None:
    model = vit().eval()
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        found = Backbone(model, settings(model, window=3, global_blocks=1)).eval().tokens(images)
        assert not torch.allclose(found, model.encode(images), atol=1e-3)
    assert global_blocks(24, 4) == {5, 11, 17, 23}
    assert global_blocks(3, 4) == {0, 1, 2}


def test_what_stays_frozen_takes_no_gradient(vit, settings) -> None:
    model = vit(depth=3)
    model.encoder.pos_embed.requires_grad_(True)
    for last, moving in ((-1, {"embedding", "0", "1", "2"}), (1, {"2"}), (0, set())):
        detector = build(model, settings(model, last_blocks=last), 3)
        named = [name for name, one in detector.backbone.encoder.named_parameters() if one.requires_grad]
        found = {name.split(".")[1] if name.startswith("blocks") else "embedding" for name in named}
        if last > 0:
            found -= {"embedding"}  # the final norm
        assert found == moving
        assert bool(detector.encoder_digest()) == (last >= 0)
        assert all(one.requires_grad for one in detector.roi_heads.parameters())


def test_rates_fall_from_block_to_block(vit, settings) -> None:
    model = vit(depth=2)
    chosen = settings(model, layer_decay=0.5)
    detector = build(model, chosen, 3)
    names = {id(one): name for name, one in detector.named_parameters()}
    scales = {names[id(one)]: group["lr_scale"] for group in detector.groups(chosen) for one in group["params"]}
    assert scales["roi_heads.box_predictor.cls_score.weight"] == 1
    assert scales["backbone.pyramid.branches.0.0.weight"] == 1
    assert scales["backbone.encoder.blocks.1.mlp.fc1.weight"] == 0.5
    assert scales["backbone.encoder.blocks.0.mlp.fc1.weight"] == 0.25
    assert scales["backbone.encoder.patch_embed.proj.weight"] == 0.125


def test_the_model_itself_is_left_as_it_is(vit, settings) -> None:
    model = vit()
    before = {name: one.clone() for name, one in model.state_dict().items()}
    detector = build(model, settings(model, last_blocks=0, drop_path=0.3), 3)
    with torch.no_grad():
        for one in detector.parameters():
            one.add_(1)
    assert model.decoder is not None
    assert all(one.requires_grad for one in model.encoder.blocks.parameters())
    for name, one in model.state_dict().items():
        torch.testing.assert_close(one, before[name], rtol=0, atol=0)


def test_sizes_that_do_not_fit_name_the_nearest(vit, settings) -> None:
    with pytest.raises(TrainingError, match=r"multiples of 32.*nearest size is \(64, 96\)"):
        settings(vit(), image_size=(70, 100))
    with pytest.raises(TrainingError, match=r"multiples of 28"):
        settings(vit(14), image_size=64)
    with pytest.raises(TrainingError, match=r"Did you mean 'window'"):
        settings(vit(), windows=3)
    with pytest.raises(TrainingError, match="the model has 2 blocks"):
        settings(vit(), last_blocks=3)
    with pytest.raises(TrainingError, match="jitter="):
        settings(vit(), jitter=(0.0, 1.0))
