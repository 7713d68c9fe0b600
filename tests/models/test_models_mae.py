"""The model's contract: shapes, order, masks, gradients, traces, pooling; and equality with timm for every kind of
ViT."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from timm.layers import SwiGLUPacked
from timm.models.vision_transformer import ResPostBlock, VisionTransformer
from torch import nn

from probekit.errors import CheckpointError, DataError, MaskError, ProbekitError
from probekit.models import MaskedAutoencoder

TOLERANCE = 2e-5

VITS = {
    "plain": {},
    "average pooling with fc_norm": {"global_pool": "avg"},
    "registers and layer scale, as DINOv2": {"reg_tokens": 4, "no_embed_class": True, "init_values": 0.1},
    "registers with positions": {"reg_tokens": 2},
    "norm before the blocks, as CLIP": {"pre_norm": True, "norm_layer": nn.LayerNorm},
    "attention pooling without class token, as SigLIP": {"class_token": False, "global_pool": "map"},
    "no class token": {"class_token": False, "global_pool": "avg", "fc_norm": False},
    "SwiGLU and query norms": {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU, "qk_norm": True},
    "norms after the parts": {"block_fn": ResPostBlock},
    "no positions": {"pos_embed": "none"},
    "norm in the patch embedding": {"embed_norm_layer": nn.LayerNorm},
}


def vit(**options: object) -> VisionTransformer:
    arguments = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 5}
    return VisionTransformer(**arguments | options)


@pytest.fixture(params=VITS.values(), ids=VITS.keys())
def encoder(request, random_weights):
    return random_weights(vit(**request.param))


def wrapped(encoder: VisionTransformer) -> MaskedAutoencoder:
    import copy

    return MaskedAutoencoder(copy.deepcopy(encoder), None, normalised_targets=None, antialias=True).eval()


def test_every_timm_vit_gives_timms_numbers(encoder, images) -> None:
    model = wrapped(encoder)
    tokens = model.encode(images)
    torch.testing.assert_close(tokens, encoder.forward_features(images), rtol=0, atol=TOLERANCE)
    expected = encoder.forward_head(encoder.forward_features(images), pre_logits=True)
    torch.testing.assert_close(model.pool(tokens, "native"), expected, rtol=0, atol=TOLERANCE)


def test_every_timm_vit_is_traced_as_it_encodes(encoder, images, hidden) -> None:
    model = wrapped(encoder)
    for mask in (None, hidden):
        layers = list(model.trace(images, mask))
        assert [layer.index for layer in layers] == [0, 1, 2]
        torch.testing.assert_close(layers[-1].tokens, model.encode(images, mask), rtol=0, atol=TOLERANCE)
        seen = model.num_prefix_tokens + (16 if mask is None else 4)
        assert layers[0].attention is None
        for layer in layers[1:]:
            assert layer.attention.shape == (3, 3, seen, seen)
            torch.testing.assert_close(layer.attention.sum(-1), torch.ones(3, 3, seen))


def test_other_image_sizes_are_as_timm_resamples_them(random_weights) -> None:
    encoder = random_weights(vit(dynamic_img_size=True))
    larger = torch.randn(2, 3, 40, 64)
    torch.testing.assert_close(
        wrapped(encoder).encode(larger), encoder.forward_features(larger), rtol=0, atol=TOLERANCE
    )


def test_hidden_patches_do_not_matter_and_visible_ones_do(tiny, images, hidden) -> None:
    tokens = tiny.encode(images, hidden)
    assert tokens.shape == (3, 1 + 4, 64)
    pixels = hidden.reshape(3, 1, 4, 1, 4, 1).expand(3, 3, 4, 8, 4, 8).reshape(images.shape)
    assert torch.equal(tiny.encode(torch.where(pixels, torch.nan, images), hidden), tokens)
    assert not torch.allclose(tiny.encode(torch.where(pixels, images, images + 1), hidden), tokens, atol=1e-2)


def test_masking_is_leaving_out_tokens_in_raster_order(tiny, images, hidden) -> None:
    """With attention cut off (values zero), tokens do not see each other: masked tokens are a subset of all tokens."""
    import copy

    model = copy.deepcopy(tiny)
    with torch.no_grad():
        for block in model.encoder.blocks:
            block.attn.proj.weight.zero_()
    every = model.encode(images)[:, 1:]
    expected = torch.stack([tokens[~row] for tokens, row in zip(every, hidden, strict=True)])
    torch.testing.assert_close(model.encode(images, hidden)[:, 1:], expected, rtol=0, atol=TOLERANCE)


def test_hiding_nothing_is_no_mask(tiny, images) -> None:
    nothing = torch.zeros(3, 16, dtype=torch.bool)
    assert torch.equal(tiny.encode(images, nothing), tiny.encode(images))
    assert torch.equal(tiny.predict(images, nothing), tiny.predict(images))


def test_trace_gives_the_attention_of_the_fused_forward(tiny, images, hidden) -> None:
    """Trap: hooks on fused attention get nothing. Here the probabilities are those that made the output."""
    with torch.no_grad():
        for layer, block in zip(list(tiny.trace(images, hidden))[1:], tiny.encoder.blocks, strict=True):
            before = list(tiny.trace(images, hidden))[layer.index - 1].tokens
            heads = block.attn.qkv(block.norm1(before)).reshape(3, 5, 3, 4, 16).permute(2, 0, 3, 1, 4)
            scores = torch.einsum("bhqd,bhkd->bhqk", heads[0], heads[1]) / 16**0.5
            torch.testing.assert_close(layer.attention, scores.softmax(-1), rtol=0, atol=TOLERANCE)


def test_trace_without_attention_and_its_laziness(tiny, images) -> None:
    layers = tiny.trace(images, attention=False)
    assert next(layers).attention is None
    assert [layer.attention for layer in layers] == [None] * 3


def test_hidden_only_equals_the_full_prediction(tiny, images, hidden) -> None:
    full = tiny.predict(images, hidden)
    assert full.shape == (3, 16, 192)
    some = tiny.predict(images, hidden, hidden_only=True)
    torch.testing.assert_close(some, full[hidden].reshape(3, 12, 192), rtol=0, atol=1e-6)


def test_gradients_reach_every_trained_weight(tiny, images, hidden) -> None:
    loss = (
        (tiny.predict(images, hidden, hidden_only=True) - tiny.targets(images)[hidden].reshape(3, 12, 192))
        .square()
        .mean()
    )
    names = [name for name, parameter in tiny.named_parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, [tiny.get_parameter(name) for name in names])
    assert not [name for name, gradient in zip(names, gradients, strict=True) if not gradient.any()]
    assert {name for name, p in tiny.named_parameters() if not p.requires_grad} == {
        "encoder.pos_embed",
        "decoder.pos_embed",
    }


def test_without_gradients_nothing_changes_but_the_copies(encoder, images, hidden) -> None:
    """Sums and activations are written in place there; numbers and inputs stay, and hooks still hear the blocks."""
    model = wrapped(encoder)
    with torch.no_grad():
        before = images.clone()
        assert torch.equal(model.encode(images, hidden), model.encode(images, hidden))
        torch.testing.assert_close(
            model.encode(images, hidden), encode_with_grad(model, images, hidden), rtol=0, atol=1e-6
        )
        layers = [layer.tokens.clone() for layer in model.trace(images, hidden)]
        kept = list(model.trace(images, hidden))
        assert all(torch.equal(a, b.tokens) for a, b in zip(layers, kept, strict=True))
        assert torch.equal(images, before)
        heard = []
        model.encoder.blocks[0].register_forward_hook(lambda module, arguments, output: heard.append(output))
        model.encode(images)
        assert len(heard) == 1


def encode_with_grad(model: MaskedAutoencoder, images: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    with torch.enable_grad():
        return model.encode(images, hidden).detach()


def test_trace_carries_gradients_too(tiny, images) -> None:
    picture = images.clone().requires_grad_()
    *_, last = tiny.trace(picture)
    last.tokens.sum().backward()
    assert picture.grad.abs().sum() > 0


def test_results_do_not_depend_on_the_batch_and_repeat(tiny, images, hidden) -> None:
    assert torch.equal(tiny.predict(images, hidden), tiny.predict(images, hidden))
    for row in range(3):
        alone = tiny.predict(images[row : row + 1], hidden[row : row + 1])
        torch.testing.assert_close(alone, tiny.predict(images, hidden)[row : row + 1], rtol=0, atol=TOLERANCE)


def test_pooling_is_what_it_is_called(tiny, images) -> None:
    """Trap: pooling claimed as average that is [CLS], or an average that includes [CLS]."""
    tokens = tiny.encode(images)
    assert tiny.poolings == ("cls", "mean", "native")
    assert torch.equal(tiny.pool(tokens, "cls"), tokens[:, 0])
    assert torch.equal(tiny.pool(tokens, "mean"), tokens[:, 1:].mean(1))
    assert torch.equal(tiny.pool(tokens, "native"), tokens[:, 0])


def test_mean_goes_through_fc_norm_and_leaves_out_registers(random_weights, images) -> None:
    model = wrapped(random_weights(vit(global_pool="avg", reg_tokens=2)))
    tokens = model.encode(images)
    expected = nn.functional.layer_norm(
        tokens[:, 3:].mean(1), (48,), model.encoder.fc_norm.weight, model.encoder.fc_norm.bias, 1e-6
    )
    torch.testing.assert_close(model.pool(tokens, "mean"), expected)


def test_siglip_has_no_cls(random_weights, images) -> None:
    model = wrapped(random_weights(vit(class_token=False, global_pool="map")))
    assert model.poolings == ("mean", "native")
    with pytest.raises(ProbekitError, match=r"no pooling 'cls'.*mean, native"):
        model.pool(model.encode(images), "cls")


def test_non_square_images_and_grids(random_weights) -> None:
    model = MaskedAutoencoder.create(
        image_size=(16, 48), vit_patch_size=8, width=32, depth=1, num_heads=2, decoder_width=16, decoder_depth=1,
        decoder_num_heads=1, seed=0,
    ).eval()  # fmt: skip
    assert model.grid(16, 48) == (2, 6)
    assert model.predict(torch.randn(2, 3, 16, 48)).shape == (2, 12, 192)
    assert model.reconstruct(torch.randn(2, 3, 24, 16)).shape == (2, 3, 24, 16)


def test_fresh_models_repeat_by_seed_and_leave_the_global_generator_alone() -> None:
    make = partial(
        MaskedAutoencoder.create,
        image_size=(16, 16),
        vit_patch_size=8,
        width=16,
        depth=1,
        num_heads=2,
        decoder_width=8,
        decoder_depth=1,
        decoder_num_heads=1,
    )
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = make(seed=1), make(seed=1), make(seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(first.encoder.patch_embed.proj.weight, other.encoder.patch_embed.proj.weight)
    bound = (6 / (16 + 3 * 64)) ** 0.5  # Xavier-uniform, as of a linear layer
    assert 0.9 * bound < first.encoder.patch_embed.proj.weight.abs().max() <= bound


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(3, 15, dtype=torch.bool), r"bool \(batch, patches\) = \(3, 16\).*\(3, 15\)"),
        (torch.zeros(3, 16), r"got torch.float32"),
        (torch.zeros(3, 16, dtype=torch.bool).numpy(), r"got a numpy.ndarray"),
        ([[False] * 16] * 3, r"got a builtins.list"),
        (torch.arange(48).reshape(3, 16) < 20, r"from 0 to 16 .row 2 and row 0"),
        (torch.ones(3, 16, dtype=torch.bool), r"hides all 16 patches"),
    ],
)
def test_bad_masks(tiny, images, mask, message) -> None:
    for call in (tiny.encode, tiny.predict, tiny.reconstruct):
        with pytest.raises(MaskError, match=message):
            call(images, mask)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.zeros(2, 3, 30, 32), r"30 x 32 pixels do not divide.*8 x 8.*32 x 32"),
        (torch.zeros(2, 1, 32, 32), r"\(batch, 3, height, width\), got torch.float32 \(2, 1, 32, 32\)"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), r"got torch.uint8"),
        (torch.zeros(0, 3, 32, 32), r"got torch.float32 \(0, 3, 32, 32\)"),
        (torch.zeros(2, 3, 32, 32).numpy(), r"got a numpy.ndarray"),
    ],
)
def test_bad_images(tiny, batch, message) -> None:
    with pytest.raises(DataError, match=message):
        tiny.encode(batch)


def test_images_of_other_precisions_are_taken_in_the_weights(tiny, images, hidden) -> None:
    double = tiny.predict(images.double(), hidden)
    assert double.dtype == torch.float32
    assert torch.equal(double, tiny.predict(images, hidden))


def test_an_encoder_alone_cannot_predict(random_weights, images, hidden) -> None:
    model = wrapped(random_weights(vit()))
    assert not model.has_decoder
    with pytest.raises(CheckpointError, match=r"encoder alone.*_full"):
        model.predict(images, hidden)
    with pytest.raises(CheckpointError, match=r"encoder alone"):
        model.reconstruct(images)


def test_hidden_only_needs_a_mask(tiny, images) -> None:
    with pytest.raises(MaskError, match="hidden_only=True needs a mask"):
        tiny.predict(images, hidden_only=True)


def test_weights_of_other_heads_are_not_taken(tiny) -> None:
    """Trap: shapes agree, numbers do not. The state says how many heads it is of."""
    other = MaskedAutoencoder.create(
        image_size=(32, 32), vit_patch_size=8, width=64, depth=3, num_heads=2, decoder_width=32, decoder_depth=2,
        decoder_num_heads=2,
    )  # fmt: skip
    with pytest.raises(CheckpointError, match="num_heads = 4, this one has 2"):
        other.load_state_dict(tiny.state_dict())
