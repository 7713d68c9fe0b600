"""Models of transformers and timm as encoders: small and random, each layer equal to the library's own."""

from __future__ import annotations

import json

import pytest
import timm
import torch
import transformers as hf
from safetensors.torch import save_file

from probekit.errors import CheckpointError
from probekit.models import MaskedAutoencoder, load

VIT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
STAGES = {"depths": [1, 1, 1], "num_heads": [1, 2, 4], "image_size": 32, "patch_size": 2, "window_size": 4}
HIERA = {"embed_dim": 8, "depths": [1] * 4, "num_heads": [1, 2, 4, 8], "image_size": [64, 64]}
FOCAL = {"embed_dim": 8, "depths": [1] * 3, "hidden_sizes": [8, 16, 32], "image_size": 32, "patch_size": 2}
MAPS = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "image_size": 64}

TRANSFORMERS = {
    "dinov2": lambda: hf.Dinov2Model(hf.Dinov2Config(**VIT)),
    "registers": lambda: hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**VIT)),
    "dinov3": lambda: hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**VIT, num_register_tokens=4)),
    "ijepa": lambda: hf.IJepaModel(hf.IJepaConfig(**VIT)),
    "beit": lambda: hf.BeitModel(hf.BeitConfig(**VIT)),
    "data2vec": lambda: hf.Data2VecVisionModel(hf.Data2VecVisionConfig(**VIT)),
    "siglip": lambda: hf.SiglipVisionModel(hf.SiglipVisionConfig(**VIT)),
    "clip": lambda: hf.CLIPVisionModel(hf.CLIPVisionConfig(**VIT)),
    "aimv2": lambda: hf.Aimv2VisionModel(hf.Aimv2VisionConfig(**VIT)),
    "hiera": lambda: hf.HieraModel(hf.HieraConfig(**HIERA)),
    "swin": lambda: hf.SwinModel(hf.SwinConfig(embed_dim=8, **STAGES)),
    "swinv2": lambda: hf.Swinv2Model(hf.Swinv2Config(embed_dim=8, **STAGES)),
    "convnext": lambda: hf.ConvNextModel(hf.ConvNextConfig(**MAPS)),
    "convnextv2": lambda: hf.ConvNextV2Model(hf.ConvNextV2Config(**MAPS)),
    "pvt_v2": lambda: hf.PvtV2Model(hf.PvtV2Config(**MAPS, num_attention_heads=[1, 2, 3, 4])),
    "focalnet": lambda: hf.FocalNetModel(hf.FocalNetConfig(**FOCAL)),
    "resnet": lambda: hf.ResNetModel(hf.ResNetConfig(embedding_size=8, **MAPS)),
    "vit_msn": lambda: hf.ViTMSNModel(hf.ViTMSNConfig(**VIT)),
    "dinov3_convnext": lambda: hf.DINOv3ConvNextModel(hf.DINOv3ConvNextConfig(**MAPS)),
}  # fmt: skip

PREFIX = {"dinov2": 1, "registers": 5, "dinov3": 5, "beit": 1, "data2vec": 1, "clip": 1, "vit_msn": 1}
ATTENDS = {"dinov2", "registers", "dinov3", "ijepa", "beit", "siglip", "clip", "aimv2", "vit_msn"}


def built(name, random_weights):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return random_weights(TRANSFORMERS[name]())


def images_for(model, count=2):
    return torch.randn(count, 3, *model.image_size, generator=torch.Generator().manual_seed(3))


def in_raster_order(name, output):
    """The library's layers as tokens, written down once more."""
    if name == "hiera":  # hidden_states are in the order of mask units
        return [state.flatten(1, 2) for state in output.reshaped_hidden_states]
    states = output.hidden_states[1:] if name == "dinov3_convnext" else output.hidden_states  # the first: the image
    return [state.flatten(2).transpose(1, 2) if state.ndim == 4 else state for state in states]


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_layers_are_the_librarys(name, random_weights) -> None:
    module = built(name, random_weights)
    checkpoint = load(module)
    model = checkpoint.model
    images = images_for(model)
    with torch.no_grad():
        output = module(images, output_hidden_states=True)
        layers = list(model.trace(images))
    expected = in_raster_order(name, output)
    assert [layer.index for layer in layers] == list(range(len(expected)))
    for layer, state in zip(layers[:-1], expected, strict=False):
        torch.testing.assert_close(layer.tokens, state, rtol=0, atol=1e-5)
    last = output.last_hidden_state
    last = last.flatten(2).transpose(1, 2) if last.ndim == 4 else last
    torch.testing.assert_close(layers[-1].tokens, last[:, -layers[-1].tokens.shape[1] :], rtol=0, atol=1e-5)
    assert model.num_prefix_tokens == PREFIX.get(name, 0)
    assert ("cls" in model.poolings) == (name in PREFIX)
    assert any("last_hidden_state" in note or "reshaped" in note for note in checkpoint.verdict.notes)
    assert any("ImageNet's mean" in warning for warning in checkpoint.verdict.warnings)
    assert len(checkpoint.card.sha256) == 64


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_attention_is_given_or_its_lack_explained(name, random_weights) -> None:
    module = built(name, random_weights)
    model = load(module).model
    before = module.config._attn_implementation
    assert (model.no_attention is None) == (name in ATTENDS)
    if name in ATTENDS:
        tokens = 16 + model.num_prefix_tokens
        for layer in list(model.trace(images_for(model), attention=True))[1:]:
            assert layer.attention.shape == (2, 4, tokens, tokens)
            torch.testing.assert_close(layer.attention.sum(-1), torch.ones(2, 4, tokens), rtol=0, atol=1e-5)
    else:
        assert type(module).__name__ in model.no_attention
    assert module.config._attn_implementation == before


@pytest.mark.parametrize("name", ["dinov3", "ijepa", "clip", "swin", "convnext"])
def test_transformers_directories_with_their_preprocessor(name, random_weights, tmp_path) -> None:
    module = built(name, random_weights)
    module.save_pretrained(tmp_path)
    told = {
        "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.2, 0.2], "resample": 2, "do_center_crop": True,
        "size": {"shortest_edge": 80}, "crop_size": {"height": 64, "width": 64},
    }  # fmt: skip
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(told))
    checkpoint = load(tmp_path)
    card, model = checkpoint.card, checkpoint.model
    assert (card.mean, card.interpolation, card.crop_fraction) == ((0.4, 0.5, 0.6), "bilinear", 0.8)
    assert (card.normalisation_known, card.image_size, checkpoint.verdict.warnings) == (True, (64, 64), ())
    images = images_for(model)
    kwargs = {"interpolate_pos_encoding": True} if name in ("ijepa", "clip") else {}
    with torch.no_grad():
        last = module(images, **kwargs).last_hidden_state
        ours = model.encode(images)
    last = last.flatten(2).transpose(1, 2) if last.ndim == 4 else last
    torch.testing.assert_close(ours, last, rtol=0, atol=1e-5)
    small = load(tmp_path, image_size=(32, 32))
    assert small.card.image_size == (32, 32)


def test_the_vision_half_of_a_whole_clip(tmp_path) -> None:
    text = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 9,
    }
    config = hf.CLIPConfig(
        text_config={**text, "eos_token_id": 1, "bos_token_id": 0}, vision_config=VIT, projection_dim=8
    )
    whole = hf.CLIPModel(config).eval()
    whole.save_pretrained(tmp_path)
    expected = None
    for source in (whole, tmp_path):
        checkpoint = load(source)
        images = images_for(checkpoint.model)
        with torch.no_grad():
            expected = whole.vision_model(images).last_hidden_state if expected is None else expected
            torch.testing.assert_close(checkpoint.model.encode(images), expected, rtol=0, atol=1e-5)
        assert any("text" in name for name in checkpoint.verdict.left_over)


def test_a_head_is_left_over_and_the_users_module_is_not_changed(random_weights) -> None:
    module = random_weights(hf.Dinov2ForImageClassification(hf.Dinov2Config(**VIT))).train()
    checkpoint = load(module)
    assert checkpoint.verdict.left_over == ("classifier.weight", "classifier.bias")
    assert module.training
    assert not checkpoint.model.training
    ours = dict(checkpoint.model.named_parameters())
    theirs = module.dinov2.embeddings.cls_token
    assert any(parameter is theirs for parameter in ours.values())


def test_a_directory_that_lacks_weights_is_refused(random_weights, tmp_path) -> None:
    module = built("dinov2", random_weights)
    module.save_pretrained(tmp_path)
    state = {name: tensor.contiguous() for name, tensor in module.state_dict().items() if "layer.1." not in name}
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"keys are missing: .*layer.1.*another architecture"):
        load(tmp_path)


WINDOWS = {"img_size": 64, "window_size": 4, "embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2)}
TIMM = {
    "eva02_tiny_patch14_224": {"img_size": 28, "depth": 2},
    "beit_base_patch16_224": {"img_size": 32, "depth": 2, "embed_dim": 24, "num_heads": 2},
    "beitv2_base_patch16_224": {"img_size": 32, "depth": 2, "embed_dim": 24, "num_heads": 2},
    "vit_small_patch16_dinov3": {"img_size": 32, "depth": 2, "embed_dim": 32, "num_heads": 2},
    "vit_base_patch16_rope_224": {"img_size": 32, "depth": 2, "embed_dim": 32, "num_heads": 2},
    "deit_tiny_distilled_patch16_224": {"img_size": 32, "depth": 2, "embed_dim": 32, "num_heads": 2},
    "hiera_tiny_224": {"img_size": (64, 64), "embed_dim": 8, "stages": (1, 1, 1, 1)},
    "swin_tiny_patch4_window7_224": WINDOWS,
    "swinv2_tiny_window8_256": WINDOWS,
    "convnext_atto": {"dims": (8, 16, 24, 32), "depths": (1, 1, 1, 1)},
    "convnextv2_atto": {"dims": (8, 16, 24, 32), "depths": (1, 1, 1, 1)},
    "davit_tiny": {"depths": (1, 1, 1, 1), "embed_dims": (8, 16, 32, 64), "num_heads": (1, 2, 4, 8)},
    "vit_small_patch16_rope_mixed_224": {"img_size": 32, "depth": 2, "embed_dim": 32, "num_heads": 2},
    "vit_relpos_small_patch16_224": {"img_size": 32, "depth": 2, "embed_dim": 32, "num_heads": 2},
    "xcit_nano_12_p16_224": {"img_size": 32, "depth": 2, "embed_dim": 32, "num_heads": 2},
    "cait_xxs24_224": {"img_size": 32, "depth": 2, "embed_dim": 32, "num_heads": 2},
    "mambaout_femto": {"dims": (8, 16, 24, 32), "depths": (1, 1, 1, 1)},
    "test_efficientnet": {},
    "test_resnet": {},
}  # fmt: skip
SIZES = {"eva02_tiny_patch14_224": 28, "hiera_tiny_224": 64, "test_efficientnet": 64, "test_resnet": 64}


def timm_built(name, random_weights):
    module = random_weights(timm.create_model(name, num_classes=0, **TIMM[name]))
    return module, SIZES.get(name, TIMM[name].get("img_size", 64))


def as_tokens(state):
    if isinstance(state, tuple):
        return torch.cat([state[1], state[0]], dim=1)
    return state.flatten(2).transpose(1, 2) if state.ndim == 4 else state


@pytest.mark.parametrize("name", TIMM)
def test_timm_layers_are_the_librarys(name, random_weights) -> None:
    module, size = timm_built(name, random_weights)
    checkpoint = load(module, image_size=(size, size))
    model = checkpoint.model
    assert not isinstance(model, MaskedAutoencoder)
    images = images_for(model)
    plain = bool(model.num_prefix_tokens)
    with torch.no_grad():
        told = {"output_fmt": "NLC", "return_prefix_tokens": True} if plain else {"output_fmt": "NCHW"}
        final, states = module.forward_intermediates(images, **told)
        layers = list(model.trace(images))
    states = [as_tokens(state) for state in states]
    assert len(layers) in (len(states), len(states) + 1)
    for layer, state in zip(layers[-len(states) : -1], states[:-1], strict=True):
        torch.testing.assert_close(layer.tokens, state, rtol=0, atol=1e-5)
    if "efficientnet" in name:  # its final features are of the head's convolution: wider than the last stage
        final = states[-1]
    elif final.ndim == 4:
        final = final.flatten(1, 2) if getattr(module, "output_fmt", "") == "NHWC" else as_tokens(final)
    extra = final.shape[1] - layers[-1].tokens.shape[1]  # [CLS], where the intermediates of the class have none
    torch.testing.assert_close(layers[-1].tokens, final[:, extra:], rtol=0, atol=1e-5)
    assert "forward_intermediates gives no attention" in model.no_attention
    assert checkpoint.card.normalisation_known
    assert any("final" in note for note in checkpoint.verdict.notes)


def test_timms_embedding_is_what_enters_its_first_block(random_weights) -> None:
    module, _ = timm_built("swin_tiny_patch4_window7_224", random_weights)
    model = load(module).model
    images = images_for(model)
    with torch.no_grad():
        embedding = next(iter(model.trace(images))).tokens
        torch.testing.assert_close(embedding, module.patch_embed(images).flatten(1, 2), rtol=0, atol=1e-6)
    module, size = timm_built("hiera_tiny_224", random_weights)
    model = load(module, image_size=(size, size)).model
    images = images_for(model)
    with torch.no_grad():
        embedding = next(iter(model.trace(images))).tokens
        torch.testing.assert_close(embedding, module._pos_embed(module.patch_embed(images)), rtol=0, atol=1e-6)


def test_a_timm_model_at_another_size(random_weights) -> None:
    module, _ = timm_built("vit_small_patch16_dinov3", random_weights)
    model = load(module, image_size=(64, 48)).model
    assert model.shapes(64, 48)[-1].grid == (4, 3)
    assert module.patch_embed.img_size == (32, 32)
    hiera, _ = timm_built("hiera_tiny_224", random_weights)
    with pytest.raises(CheckpointError, match=r"cannot take images of 96 x 96 pixels"):
        load(hiera, image_size=(96, 96))


def test_a_vit_on_another_patch_embedding_is_adapted(random_weights) -> None:
    """timm's class is VisionTransformer, and its patches come out of convolutions."""
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 32}
    module = random_weights(timm.create_model("vit_tiny_r_s16_p8_224", num_classes=0, **sizes))
    assert type(module) is timm.models.VisionTransformer
    model = load(module, image_size=(32, 32)).model
    images = images_for(model)
    with torch.no_grad():
        torch.testing.assert_close(model.encode(images), module.forward_features(images), rtol=0, atol=1e-5)


def test_a_module_that_fails_is_refused_by_name(random_weights) -> None:
    """What a library raises inside its forward is no traceback of ours."""
    hiera, _ = timm_built("hiera_tiny_224", random_weights)  # of 64 pixels, which the module does not tell
    with pytest.raises(CheckpointError, match=r"Hiera does not give the layers of images of 224 x 224.*image_size="):
        load(hiera)
    config = hf.XCLIPVisionConfig(**VIT)  # takes videos of eight frames
    with pytest.raises(CheckpointError, match=r"XCLIPVisionModel does not give hidden states of images of 32 x 32"):
        load(random_weights(hf.XCLIPVisionModel(config)))


def test_native_pooling_is_the_input_of_timms_head(random_weights) -> None:
    module, _ = timm_built("beitv2_base_patch16_224", random_weights)
    model = load(module).model
    images = images_for(model)
    with torch.no_grad():
        torch.testing.assert_close(model.pool(model.encode(images), "native"), module(images), rtol=0, atol=1e-5)


def test_what_its_library_builds_cannot_be_settled(random_weights) -> None:
    with pytest.raises(CheckpointError, match="num_heads= cannot be given"):
        load(built("dinov2", random_weights), num_heads=2)
