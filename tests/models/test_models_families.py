"""More families of checkpoints, each against its own arithmetic: rewritten here, or the library's code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from probekit.errors import CheckpointError
from probekit.models import CheckpointWarning, MaskedAutoencoder, load
from probekit.models.positions import sin_cos

TOLERANCE = 2e-5
SIZE, PATCH, GRID, WIDTH, DEEP = 32, 8, (4, 4), 48, 32
"""Images, patches, and widths of encoder and decoder in this file."""


def written(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def visible(tokens: Tensor, hidden: Tensor) -> Tensor:
    return tokens[~hidden].reshape(len(tokens), -1, tokens.shape[-1])


def filled(tokens: Tensor, token: Tensor, hidden: Tensor) -> Tensor:
    """Patch tokens in raster order, the mask token where they are hidden."""
    full = token.reshape(1, 1, -1).repeat(*hidden.shape, 1)
    full[~hidden] = tokens.flatten(0, 1)
    return full


def unfolded(images: Tensor, order: str) -> Tensor:
    """(batch, patches, values), a patch's values in the order 'pqc' or 'cpq'."""
    batch, channels, height, width = images.shape
    split = images.reshape(batch, channels, height // PATCH, PATCH, width // PATCH, PATCH)
    split = split.permute(0, 2, 4, 1, 3, 5) if order == "cpq" else split.permute(0, 2, 4, 3, 5, 1)
    return split.reshape(batch, -1, channels * PATCH * PATCH)


def blocks(width: int, heads: int, eps: float, *, bias: bool, depth: int = 2) -> nn.Sequential:
    norm = lambda channels, **options: nn.LayerNorm(channels, eps=eps)  # noqa: E731
    return nn.Sequential(*[Block(width, heads, qkv_bias=bias, norm_layer=norm) for _ in range(depth)])


def assert_equal(model: MaskedAutoencoder, images: Tensor, hidden: Tensor, tokens: Tensor, prediction: Tensor) -> None:
    torch.testing.assert_close(model.encode(images, hidden), tokens, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(model.predict(images, hidden), prediction, rtol=0, atol=TOLERANCE)


# --- MAE-pytorch ------------------------------------------------------------------------------------------------------


def test_mae_pytorch(images, hidden, random_weights, tmp_path) -> None:
    """No [CLS]; positions are computed; only queries and values have a bias; the projection to the decoder has none."""

    def table(width: int) -> Tensor:
        rows = [[p / 10000 ** (2 * (j // 2) / width) for j in range(width)] for p in range(16)]
        angles = torch.tensor(rows, dtype=torch.float64)
        angles[:, 0::2], angles[:, 1::2] = angles[:, 0::2].sin(), angles[:, 1::2].cos()
        return angles.float()

    net = nn.Module()
    net.embed, net.body, net.norm = nn.Conv2d(3, WIDTH, PATCH, PATCH), blocks(WIDTH, 3, 1e-6, bias=True), None
    net.norm, net.between = nn.LayerNorm(WIDTH, eps=1e-6), nn.Linear(WIDTH, DEEP, bias=False)
    net.deep, net.last = blocks(DEEP, 2, 1e-6, bias=True), nn.LayerNorm(DEEP, eps=1e-6)
    net.head, net.token = nn.Linear(DEEP, 3 * PATCH**2), nn.Parameter(torch.zeros(1, 1, DEEP))
    random_weights(net)
    for block in (*net.body, *net.deep):
        with torch.no_grad():
            block.attn.qkv.bias.view(3, -1)[1] = 0
    with torch.no_grad():
        x = visible(net.embed(images).flatten(2).transpose(1, 2) + table(WIDTH), hidden)
        tokens = net.norm(net.body(x))
        y = filled(net.between(tokens), net.token, hidden) + table(DEEP)
        prediction = net.head(net.last(net.deep(y)))
    names = {"embed.": "encoder.patch_embed.proj.", "body.": "encoder.blocks.", "norm.": "encoder.norm.",
             "between.": "encoder_to_decoder.", "deep.": "decoder.blocks.", "last.": "decoder.norm.",
             "head.": "decoder.head.", "token": "mask_token"}  # fmt: skip
    state = {}
    for name, tensor in net.state_dict().items():
        old = next(old for old in names if name.startswith(old))
        name = names[old] + name.removeprefix(old)
        if name.endswith("attn.qkv.bias"):
            query, _, value = tensor.chunk(3)
            state |= {
                name.replace("qkv.bias", "q_bias"): query.clone(),
                name.replace("qkv.bias", "v_bias"): value.clone(),
            }
        else:
            state[name] = tensor
    path = written(tmp_path / "pengzhiliang.pth", {"model": state, "epoch": 3})
    checkpoint = load(path, num_heads=3, decoder_num_heads=2, image_size=32)
    assert_equal(checkpoint.model, images, hidden, tokens, prediction)
    assert checkpoint.verdict.format == "pengzhiliang/MAE-pytorch"
    assert checkpoint.verdict.left_over == ()
    assert not any("224" in text for text in checkpoint.verdict.warnings)
    with pytest.warns(CheckpointWarning, match="224 x 224 pixels were assumed"):
        assert load(path, num_heads=3, decoder_num_heads=2).card.image_size == (224, 224)
    with pytest.raises(CheckpointError, match="does not divide into patches of 8"):
        load(path, image_size=30)
    again = load(checkpoint.save(tmp_path / "ours", format="probekit"))
    assert torch.equal(again.model.predict(images, hidden), checkpoint.model.predict(images, hidden))


# --- IcarusWizard/MAE -------------------------------------------------------------------------------------------------


def icarus(random_weights, eps: float = 1e-5) -> tuple[nn.Module, dict[str, Tensor]]:
    net = nn.Module()
    for name, rows in (("encoder", 16), ("decoder", 17)):
        part = nn.Module()
        part.pos_embedding = nn.Parameter(torch.zeros(rows, 1, WIDTH))
        part.transformer = blocks(WIDTH, 3, eps, bias=False)
        net.add_module(name, part)
    net.encoder.cls_token, net.encoder.patchify = nn.Parameter(torch.zeros(1, 1, WIDTH)), nn.Conv2d(3, WIDTH, 8, 8)
    net.encoder.layer_norm = nn.LayerNorm(WIDTH)
    net.decoder.mask_token, net.decoder.head = nn.Parameter(torch.zeros(1, 1, WIDTH)), nn.Linear(WIDTH, 3 * PATCH**2)
    random_weights(net)
    return net, net.state_dict()


def test_icarus_wizard(images, hidden, random_weights, tmp_path) -> None:
    """[CLS] has no position; the decoder has neither projection nor norm; its pixels have channels first."""
    net, state = icarus(random_weights)
    encoder, decoder = net.encoder, net.decoder
    with torch.no_grad():
        x = encoder.patchify(images).flatten(2).transpose(1, 2) + encoder.pos_embedding[:, 0]
        x = torch.cat([encoder.cls_token.expand(3, -1, -1), visible(x, hidden)], dim=1)
        tokens = encoder.layer_norm(encoder.transformer(x))
        y = torch.cat([tokens[:, :1], filled(tokens[:, 1:], decoder.mask_token, hidden)], dim=1)
        y = decoder.head(decoder.transformer(y + decoder.pos_embedding[:, 0])[:, 1:])
    prediction = y.reshape(3, 16, 3, PATCH**2).transpose(2, 3).reshape(3, 16, -1)
    checkpoint = load(written(tmp_path / "icarus.pt", state))
    assert_equal(checkpoint.model, images, hidden, tokens, prediction)
    assert checkpoint.verdict.format == "IcarusWizard/MAE"
    assert checkpoint.verdict.left_over == ()
    with pytest.raises(CheckpointError, match="a decoder without a final norm"):
        checkpoint.save(tmp_path / "theirs")
    again = load(checkpoint.save(tmp_path / "ours", format="probekit"))
    assert torch.equal(again.model.predict(images, hidden), checkpoint.model.predict(images, hidden))
    classifier = {name.removeprefix("encoder."): t for name, t in state.items() if name.startswith("encoder.")}
    classifier |= {"head.weight": torch.zeros(10, WIDTH), "head.bias": torch.zeros(10)}
    tuned = load(written(tmp_path / "classifier.pt", classifier))
    torch.testing.assert_close(tuned.model.encode(images, hidden), tokens, rtol=0, atol=TOLERANCE)
    del state["decoder.transformer.1.norm2.bias"]
    with pytest.raises(CheckpointError, match=r"decoder.transformer.1.norm2.bias. A decoder is all or nothing"):
        load(written(tmp_path / "short.pt", state))


# --- stable-pretraining -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "model."])
def test_stable_pretraining(images, hidden, random_weights, tmp_path, prefix) -> None:
    """The patch embedding twice, a decoder over patches alone, a mask token with a projection of its own."""
    vit = VisionTransformer(img_size=32, patch_size=8, embed_dim=WIDTH, depth=2, num_heads=3, num_classes=0)
    net = nn.Module()
    net.vit, net.context_proj, net.query_proj = vit, nn.Linear(WIDTH, DEEP), nn.Linear(WIDTH, DEEP)
    net.blocks, net.final_norm = blocks(DEEP, 2, 1e-5, bias=True), nn.LayerNorm(DEEP)
    net.output_proj, net.mask_token = nn.Linear(DEEP, 3 * PATCH**2), nn.Parameter(torch.zeros(1, 1, WIDTH))
    random_weights(net)
    positions = sin_cos(GRID, DEEP, num_prefix_tokens=0)
    with torch.no_grad():
        x = vit.patch_embed(images) + vit.pos_embed[:, 1:]
        cls = (vit.cls_token + vit.pos_embed[:, :1]).expand(3, -1, -1)
        tokens = vit.norm(vit.blocks(torch.cat([cls, visible(x, hidden)], dim=1)))
        y = filled(net.context_proj(tokens[:, 1:]), net.query_proj(net.mask_token), hidden) + positions
        y = net.output_proj(net.final_norm(net.blocks(y)))
    prediction = y.reshape(3, 16, 3, PATCH**2).transpose(2, 3).reshape(3, 16, -1)
    state = {f"encoder.patch_embed.{n}": t for n, t in vit.patch_embed.state_dict().items()}
    state |= {"decoder.transformer.pos_embed": positions}
    for name, tensor in net.state_dict().items():
        inner = name.replace(".norm2.", ".norm3.") if name.startswith("blocks.") else name
        at = "encoder." if name.startswith("vit.") else "decoder." if name == "mask_token" else "decoder.transformer."
        state[at + inner] = tensor
    path = written(tmp_path / "spt.ckpt", {"state_dict": {prefix + n: t for n, t in state.items()}})
    checkpoint = load(path, num_heads=3, decoder_num_heads=2)
    assert_equal(checkpoint.model, images, hidden, tokens, prediction)
    assert checkpoint.verdict.format == "stable-pretraining"
    assert checkpoint.verdict.left_over == ()
    again = load(checkpoint.save(tmp_path / "ours", format="probekit"))
    assert torch.equal(again.model.predict(images, hidden), checkpoint.model.predict(images, hidden))


# --- lucidrains -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [3, 1])
def test_lucidrains_vit(random_weights, tmp_path, channels) -> None:
    vit_pytorch = pytest.importorskip("vit_pytorch")
    options = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 48, "depth": 2, "mlp_dim": 80}
    net = random_weights(vit_pytorch.ViT(**options, heads=2, channels=channels))
    images = torch.randn(2, channels, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = net.to_patch_embedding(images)
        x = torch.cat([net.cls_token.expand(2, 1, -1), x], dim=1) + net.pos_embedding
        expected = net.transformer(x)
    checkpoint = load(written(tmp_path / "vit.pt", net.state_dict()))
    torch.testing.assert_close(checkpoint.model.encode(images), expected, rtol=0, atol=TOLERANCE)
    assert checkpoint.model.channels == channels
    assert checkpoint.card.architecture["num_heads"] == 2
    assert set(checkpoint.verdict.left_over) == {"mlp_head.weight", "mlp_head.bias"}
    again = load(checkpoint.save(tmp_path / "ours", format="probekit"))
    torch.testing.assert_close(again.model.encode(images), expected, rtol=0, atol=TOLERANCE)
    assert checkpoint.model.has_decoder is False
    *_, last = checkpoint.model.trace(images)
    torch.testing.assert_close(last.tokens, expected, rtol=0, atol=TOLERANCE)


def test_lucidrains_mae(images, hidden, random_weights, tmp_path) -> None:
    vit_pytorch = pytest.importorskip("vit_pytorch")
    options = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 48, "depth": 2, "mlp_dim": 80}
    net = random_weights(vit_pytorch.MAE(encoder=vit_pytorch.ViT(**options, heads=2), decoder_dim=32, decoder_depth=2))
    with torch.no_grad():
        x = net.patch_to_emb(net.to_patch(images)) + net.encoder.pos_embedding[1:17]
        tokens = net.encoder.transformer(visible(x, hidden))
        y = filled(net.enc_to_dec(tokens), net.mask_token, hidden) + net.decoder_pos_emb.weight[:16]
        prediction = net.to_pixels(net.decoder(y))
    checkpoint = load(written(tmp_path / "mae.pt", net.state_dict()))
    assert_equal(checkpoint.model, images, hidden, tokens, prediction)
    assert checkpoint.card.architecture["decoder"]["num_heads"] == 8
    assert "encoder.cls_token" in checkpoint.verdict.left_over
    again = load(checkpoint.save(tmp_path / "ours", format="probekit"))
    assert torch.equal(again.model.predict(images, hidden), checkpoint.model.predict(images, hidden))


# --- MAE's names with something more or less -------------------------------------------------------------------------


def test_u_mae(tiny, mae_names, images, hidden, tmp_path) -> None:
    """Both `norm` and `fc_norm`: the second one belongs to a probe that was trained along."""
    state = mae_names(tiny) | {"fc_norm.weight": torch.rand(64), "fc_norm.bias": torch.rand(64)}
    state |= {"fc.weight": torch.rand(10, 64), "fc.bias": torch.rand(10)}
    checkpoint = load(written(tmp_path / "umae.pth", {"model": state}), num_heads=4, decoder_num_heads=2)
    assert torch.equal(checkpoint.model.predict(images, hidden), tiny.predict(images, hidden))
    assert set(checkpoint.verdict.left_over) == {"fc_norm.weight", "fc_norm.bias", "fc.weight", "fc.bias"}
    assert checkpoint.card.finetuned is None


def test_the_encoder_of_cross_mae(tiny, mae_names, images, hidden, tmp_path) -> None:
    state = {
        name: tensor for name, tensor in mae_names(tiny).items() if not name.startswith(("norm.", "decoder_embed"))
    }
    state |= {"decoder_blocks.0.cross_attn.q.weight": torch.rand(32, 32), "dec_norms.0.weight": torch.rand(64)}
    state |= {"wfm.linear.weight": torch.rand(2, 3)}
    with pytest.warns(CheckpointWarning, match="decoder attends from hidden patches"):
        checkpoint = load(written(tmp_path / "cross.pth", {"model": state}), num_heads=4)
    before_the_norm = [layer.tokens for layer in load(tiny).model.trace(images, hidden)]
    x = before_the_norm[2]
    expected = tiny.encoder.blocks[2](x)
    torch.testing.assert_close(checkpoint.model.encode(images, hidden), expected, rtol=0, atol=TOLERANCE)
    assert not checkpoint.verdict.decoder
    assert checkpoint.verdict.format == "CrossMAE"


@pytest.mark.parametrize("rows", [17, 20], ids=["without registers", "with registers"])
@pytest.mark.parametrize("name", ["reg_token", "register_tokens"])
def test_registers_in_maes_names(tiny, mae_names, images, hidden, tmp_path, rows, name) -> None:
    """Positions cover [CLS] and patches, registers stand between; the decoder's table tells whether it takes them."""
    state, registers = mae_names(tiny), torch.randn(1, 3, 64, generator=torch.Generator().manual_seed(0))
    state[name] = registers
    if rows == 20:
        table = state["decoder_pos_embed"]
        state["decoder_pos_embed"] = torch.cat([table[:, :1], torch.randn(1, 3, 32), table[:, 1:]], dim=1)
    checkpoint = load(written(tmp_path / "registers.pth", {"model": state}), num_heads=4, decoder_num_heads=2)
    encoder = tiny.encoder
    with torch.no_grad():
        x = visible(encoder.patch_embed(images) + encoder.pos_embed[:, 1:], hidden)
        cls = (encoder.cls_token + encoder.pos_embed[:, :1]).expand(3, -1, -1)
        tokens = encoder.norm(encoder.blocks(torch.cat([cls, registers.expand(3, -1, -1), x], dim=1)))
        y = tiny.decoder.embed(tokens)
        kept = 4 if rows == 20 else 1
        patches = filled(y[:, 4:], tiny.decoder.mask_token, hidden)
        y = torch.cat([y[:, :kept], patches], dim=1) + state["decoder_pos_embed"]
        prediction = tiny.decoder.pred(tiny.decoder.norm(tiny.decoder.blocks[1](tiny.decoder.blocks[0](y))))[:, kept:]
    assert_equal(checkpoint.model, images, hidden, tokens, prediction)
    assert checkpoint.card.architecture["registers"] == 3


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 12, 13])
def test_any_number_of_channels(random_weights, hidden, mae_names, tmp_path, channels) -> None:
    """SatMAE without groups, torchgeo's ViTs, medical and audio MAEs: MAE's and timm's names, other channels."""
    model = MaskedAutoencoder.create(
        image_size=(32, 32), vit_patch_size=8, width=64, depth=2, num_heads=4, decoder_width=32, decoder_depth=1,
        decoder_num_heads=2, channels=channels, seed=0,
    )  # fmt: skip
    random_weights(model)
    pictures = torch.randn(3, channels, 32, 32, generator=torch.Generator().manual_seed(0))
    heads = {"num_heads": 4, "decoder_num_heads": 2, "normalised_targets": True}
    path = written(tmp_path / "satmae.pth", {"model": mae_names(model)})
    with pytest.warns(CheckpointWarning, match=r"normalisation of images is not recorded.*mean= and std="):
        checkpoint = load(path, **heads)
    assert (checkpoint.card.channels, checkpoint.model.channels) == (channels, channels)
    assert len(checkpoint.preprocess.mean) == channels
    stated = load(path, **heads, mean=[0.25] * channels, std=[0.5] * channels)
    assert not any("normalisation" in text for text in stated.verdict.warnings)
    assert (stated.card.mean, stated.card.normalisation_known) == ((0.25,) * channels, True)
    for again in (stated, load(stated.save(tmp_path / "a")), load(stated.save(tmp_path / "b", format="probekit"))):
        assert torch.equal(again.model.predict(pictures, hidden), model.predict(pictures, hidden))
        assert again.model.reconstruct(pictures, hidden).shape == pictures.shape
        assert again.card.mean == (0.25,) * channels
    assert json.loads((tmp_path / "a" / "config.json").read_text())["num_channels"] == channels
    with pytest.raises(CheckpointError, match=r"expected .*one for each channel"):
        load(path, **heads, mean=[0.5] * (channels + 1), std=[0.5] * (channels + 1))
    vit = random_weights(timm.create_model("test_vit", img_size=32, patch_size=8, in_chans=channels, num_classes=0))
    loaded = load(written(tmp_path / "torchgeo.pth", vit.state_dict()), num_heads=vit.blocks[0].attn.num_heads)
    torch.testing.assert_close(loaded.model.encode(pictures), vit.forward_features(pictures), rtol=0, atol=TOLERANCE)


# --- transformers' ViTs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ViTModel", "ViTForImageClassification", "DeiTModel", "DeiTForImageClassification"])
def test_transformers_vits(images, random_weights, tmp_path, kind) -> None:
    import transformers

    config = getattr(transformers, f"{kind[:4].replace('ViTM', 'ViT').replace('ViTF', 'ViT')}Config")(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=80, image_size=32, patch_size=8
    )
    theirs = random_weights(getattr(transformers, kind)(config))
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        body = theirs if kind.endswith("Model") else getattr(theirs, theirs.base_model_prefix)
        expected = body(images).last_hidden_state
    for source in (tmp_path, theirs):
        checkpoint = load(source)
        torch.testing.assert_close(checkpoint.model.encode(images), expected, rtol=0, atol=TOLERANCE)
        assert isinstance(checkpoint.model, MaskedAutoencoder)
        assert checkpoint.verdict.format == "transformers ViT"
        assert (checkpoint.card.mask_ratio, checkpoint.card.patch_size) == (None, None)


def test_a_softmax_over_two_heads_of_other_width_is_scaled_by_its_own(random_weights) -> None:
    """`head_dim` other than width / heads: the scale follows the head."""
    from probekit.models.architecture import Architecture

    record = Architecture((16, 16), 8, width=24, depth=1, num_heads=2, mlp_hidden=32, head_dim=16, qkv_bias=False)
    encoder = random_weights(record.build("cpu"))
    attention, x = encoder.blocks[0].attn, torch.randn(1, 5, 24)
    query, key, value = (t.reshape(1, 5, 2, 16).transpose(1, 2) for t in attention.qkv(x).chunk(3, dim=-1))
    mixed = F.scaled_dot_product_attention(query, key, value, scale=0.25).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention(x), attention.proj(mixed), rtol=0, atol=TOLERANCE)
    assert Architecture.of(encoder) == record
