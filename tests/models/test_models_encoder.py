"""Functions and subclasses as encoders: what they give, what is refused, and what they are known by."""

from __future__ import annotations

import pytest
import torch

import probekit
from probekit.errors import CheckpointError, ProbekitError
from probekit.models import Encoder, Layer, load
from probekit.models.contract import grid_of

HALF = {"mean": (0.5,) * 3, "std": (0.25,) * 3}


def patches(images: torch.Tensor) -> torch.Tensor:
    """(batch, patches, 192): the pixels of each patch of 8."""
    return torch.nn.functional.unfold(images, 8, stride=8).transpose(1, 2)


def two_layers(images):
    """The second layer has a quarter of the patches, and another width."""
    first = patches(images)
    side = round(first.shape[1] ** 0.5)
    coarse = torch.nn.functional.avg_pool2d(first.transpose(1, 2).unflatten(2, (side, side)), 2)
    return [first, coarse.flatten(2).transpose(1, 2)[..., :100]]


def wrapped(encode=two_layers, **changed):
    return Encoder.wrap(encode, **{"patch_size": 8, "image_size": 32, "name": "pixels", **HALF, **changed})


def test_a_function_becomes_a_checkpoint() -> None:
    checkpoint = wrapped()
    model = checkpoint.model
    assert probekit.Encoder is Encoder
    assert (model.depth, model.width, model.num_prefix_tokens, model.channels) == (1, 100, 0, 3)
    assert model.poolings == ("mean",)
    assert [(shape.grid, shape.width) for shape in model.shapes(32, 32)] == [((4, 4), 192), ((2, 2), 100)]
    assert checkpoint.card.mean == (0.5,) * 3
    assert checkpoint.card.normalisation_known
    assert not checkpoint.verdict.decoder
    assert checkpoint.verdict.warnings == ()
    images = torch.randn(2, 3, 32, 32)
    layers = list(model.trace(images))
    assert [layer.index for layer in layers] == [0, 1]
    for layer, expected in zip(layers, two_layers(images), strict=True):
        torch.testing.assert_close(layer.tokens, expected, rtol=0, atol=0)
    assert load(checkpoint.model).model is checkpoint.model


def test_its_digest_follows_its_outputs_and_its_name() -> None:
    same = wrapped().card.sha256
    assert wrapped().card.sha256 == same
    assert wrapped(name="other").card.sha256 != same
    assert wrapped(lambda x: [layer * 1.001 for layer in two_layers(x)]).card.sha256 != same
    noisy = wrapped(lambda x: [torch.randn(len(x), 16, 4)] * 2)
    assert noisy.card.sha256 != wrapped(lambda x: [torch.randn(len(x), 16, 4)] * 2).card.sha256


def test_numpy_arrays_and_a_single_layer_do() -> None:
    checkpoint = wrapped(lambda images: [patches(images).numpy()])
    assert checkpoint.model.depth == 0
    assert checkpoint.model.encode(torch.zeros(2, 3, 32, 32)).shape == (2, 16, 192)


@pytest.mark.parametrize(
    ("encode", "changed", "message"),
    [
        (lambda x: [torch.zeros(len(x), 17, 4)], {}, "17 tokens.*are 16 patches.*Give num_prefix_tokens=1"),
        (lambda x: [torch.zeros(len(x), 16)], {}, r"an array of shape \(1, 16\)"),
        (lambda x: [], {}, "encode returned nothing"),
        (two_layers, {"std": (1, 1)}, "expected 3 numbers each"),
        (two_layers, {"name": ""}, "names nothing"),
        (two_layers, {"patch_size": 7}, "do not divide"),
        (two_layers, {"patch_size": 8.5}, "patch_size=8.5; expected a whole number"),
        (two_layers, {"image_size": "big"}, "image_size='big': expected"),
        (two_layers, {"image_size": 32.0}, "image_size=32.0; expected a whole number"),
        (two_layers, {"num_prefix_tokens": -1}, "num_prefix_tokens=-1; expected a whole number of at least 0"),
        (None, {}, "expected a function"),
        (two_layers, {"attention": lambda x: [torch.ones(len(x), 1, 4, 4)]}, "rows that sum to 4.000"),
        (two_layers, {"attention": lambda x: []}, "attention returned nothing"),
        (two_layers, {"attention": lambda x: [torch.ones(1, 1, 1, 1)] * 3}, "one for each of the 1 blocks"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(encode, changed, message) -> None:
    with pytest.raises(ProbekitError, match=message):
        wrapped(encode, **changed)


def test_attention_of_blocks_and_with_an_entry_for_the_embedding() -> None:
    even = torch.full((1, 2, 4, 4), 0.25)
    for given in (lambda x: [even.expand(len(x), -1, -1, -1)], lambda x: [None, even.expand(len(x), -1, -1, -1)]):
        model = wrapped(attention=given).model
        assert model.no_attention is None
        assert model.num_heads == 2
        embedding, block = model.trace(torch.zeros(3, 3, 32, 32), attention=True)
        assert embedding.attention is None
        assert block.attention.shape == (3, 2, 4, 4)


def test_attention_of_no_block_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"encode returned one layer.*Leave attention= out"):
        wrapped(lambda images: two_layers(images)[:1], attention=lambda images: [torch.full((1, 1, 16, 16), 1 / 16)])


@pytest.mark.parametrize("device", [5, "cud", "cuda:77", None, "meta"])
def test_a_device_that_is_not_there(device) -> None:
    with pytest.raises(CheckpointError, match=r"device=.* cannot be used here .*This machine has: cpu"):
        load(wrapped().model, device=device)


def test_tokens_without_places_are_warned_of() -> None:
    checkpoint = wrapped(lambda x: [patches(x), torch.zeros(len(x), 10, 4)])
    assert any("fit no grid" in warning for warning in checkpoint.verdict.warnings)


class Own(Encoder):
    channels, image_size, vit_patch_size, num_prefix_tokens, depth, width = 3, (32, 32), 8, 0, 1, 192

    def trace(self, images):
        yield Layer(0, patches(images), None)
        yield Layer(1, patches(images).relu(), None)


def test_a_subclass_is_loaded() -> None:
    checkpoint = load(Own(**HALF), name="own")
    assert checkpoint.name == "own"
    assert checkpoint.card.std == (0.25,) * 3
    assert checkpoint.model.no_attention == "this encoder gives no attention over all tokens"
    assert len(checkpoint.card.sha256) == 64
    assert any("ImageNet's mean" in warning for warning in load(Own()).verdict.warnings)

    class Half(Encoder):
        def trace(self, images):
            yield Layer(0, patches(images), None)

    with pytest.raises(CheckpointError, match="has no channels, image_size"):
        load(Half())


def test_an_encoder_has_no_format_to_be_saved_in(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="cannot be saved"):
        wrapped().save(tmp_path / "x")


def test_grids_have_the_proportions_of_the_image() -> None:
    assert grid_of(196, 224, 224) == (14, 14)
    assert grid_of(8, 32, 64) == (2, 4)
    assert grid_of(10, 32, 32) is None
    assert grid_of(0, 32, 32) is None
