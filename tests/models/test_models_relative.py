"""MAEs with positions inside the attention: each equal to its own code, with the true positions of visible patches."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from timm.layers import apply_keep_indices_nlc
from timm.models.eva import Eva
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from probekit import load
from probekit.errors import CheckpointError

TOLERANCE = 2e-5
COMPUTED = {  # the timm model whose positions they are, and how timm builds them
    "eva02_tiny_patch14_224": {"rope_grid_indexing": "ij", "ref_feat_shape": (16, 16)},
    "vit_small_patch16_rope_224": {"rope_grid_indexing": "xy", "rope_temperature": 100.0},
    "vit_base_patch16_dinov3": {"rope_type": "dinov3", "rope_temperature": 100.0, "rope_rotate_half": True},
}


def kept(hidden: Tensor) -> Tensor:
    """Columns of the visible patches, in raster order."""
    return (~hidden).nonzero()[:, 1].reshape(len(hidden), -1)


class RopeMae(nn.Module):
    """An MAE around timm's Eva, as such are written: its own decoder, rotary positions of the kept patches."""

    def __init__(self, *, rotary_decoder: bool = False, **options: object) -> None:
        super().__init__()
        options = {"rope_type": "cat", "norm_layer": partial(nn.LayerNorm, eps=1e-6)} | options
        self.encoder = Eva(
            img_size=32, patch_size=8, embed_dim=64, depth=3, num_heads=4, num_classes=0, use_rot_pos_emb=True,
            dynamic_img_size=True, use_fc_norm=False, use_post_transformer_norm=True, **options,
        )  # fmt: skip
        self.decoder_embed = nn.Linear(64, 32)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, 32))
        norm = partial(nn.LayerNorm, eps=1e-6)
        if rotary_decoder:
            inner = Eva(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, use_rot_pos_emb=True,
                        num_classes=0, dynamic_img_size=True, **options | {"attn_type": "rope"})  # fmt: skip
            self.decoder_rope, self.decoder_blocks = inner.rope, inner.blocks
        else:
            self.decoder_pos_embed = nn.Parameter(torch.zeros(1, 1 + 16, 32))
            self.decoder_blocks = nn.ModuleList(Block(32, 2, qkv_bias=True, norm_layer=norm) for _ in range(2))
        self.decoder_norm, self.decoder_pred = norm(32), nn.Linear(32, 8 * 8 * 3)

    def forward(self, images: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        x, rope = self.encoder._pos_embed(self.encoder.patch_embed(images))
        visible, mixed = kept(hidden), getattr(self.encoder, "rope_mixed", False)
        patches = x[:, 1:].gather(1, visible[..., None].expand(-1, -1, 64))
        angles = apply_keep_indices_nlc(patches, rope, visible)
        x = torch.cat([x[:, :1], patches], dim=1)
        for index, block in enumerate(self.encoder.blocks):
            x = block(x, rope=angles[:, index] if mixed else angles[:, None])
        tokens = self.encoder.norm(x)
        y = self.decoder_embed(tokens)
        full = self.mask_token.expand(len(y), 16, -1).scatter(1, visible[..., None].expand(-1, -1, 32), y[:, 1:])
        y = torch.cat([y[:, :1], full], dim=1)
        turned = getattr(self, "decoder_rope", None)
        if turned is None:
            y = y + self.decoder_pos_embed
        angles = None if turned is None else turned.get_embed([4, 4])
        for index, block in enumerate(self.decoder_blocks):
            y = block(y) if turned is None else block(y, rope=angles[index] if angles.ndim == 4 else angles)
        return tokens, self.decoder_pred(self.decoder_norm(y))[:, 1:]


def written(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def assert_equal(checkpoint, reference: nn.Module, images: Tensor, hidden: Tensor, folder: Path) -> None:
    """Tokens and prediction equal the reference's, in the file, written back, and with the attention opened."""
    tokens, prediction = reference(images, hidden)
    again = load(checkpoint.save(folder / "again", format="probekit"))
    for model in (checkpoint.model, again.model):
        torch.testing.assert_close(model.encode(images, hidden), tokens, rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(model.predict(images, hidden), prediction, rtol=0, atol=TOLERANCE)
        part = model.predict(images, hidden, hidden_only=True)
        torch.testing.assert_close(part, prediction[hidden].reshape(part.shape), rtol=0, atol=TOLERANCE)
        *_, last = model.trace(images, hidden)
        torch.testing.assert_close(last.tokens, tokens, rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(last.attention.sum(dim=-1), torch.ones(last.attention.shape[:-1]))
    state = written(folder / "state.pth", again.model.state_dict())
    torch.testing.assert_close(load(state).model.encode(images, hidden), tokens, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", COMPUTED)
@pytest.mark.parametrize("attention", ["eva", "rope", "separate"])
def test_rotary_positions_that_are_computed(images, hidden, random_weights, tmp_path, name, attention) -> None:
    """They leave no tensor: without `rotary` the file is refused, with the way."""
    kind = {"attn_type": "eva", "qkv_fused": False} if attention == "separate" else {"attn_type": attention}
    absolute = {"use_abs_pos_emb": attention == "rope", "init_values": 0.1}
    reference = random_weights(RopeMae(**COMPUTED[name], **kind, **absolute))
    path = written(tmp_path / "rope.pth", {"model": reference.state_dict()})
    given = {"num_heads": 4, "decoder_num_heads": 2, "layer_norm_eps": 1e-6}
    assert_equal(load(path, rotary=name, **given), reference, images, hidden, tmp_path)
    assert_equal(load(reference, mean=(0.5,) * 3, std=(0.5,) * 3), reference, images, hidden, tmp_path)
    if attention != "rope":
        with pytest.raises(CheckpointError, match=r"rotary= to load"):
            load(path, **given)


@pytest.mark.parametrize("layout", ["timm", "rope-vit"])
@pytest.mark.parametrize("axes", ["xy", "ij"])
def test_learned_frequencies(images, hidden, random_weights, tmp_path, layout, axes) -> None:
    """They are in the file; coordinates beside them tell which axis comes first, else columns are taken and said."""
    options = {"rope_type": "mixed", "rope_grid_indexing": axes, "attn_type": "rope", "init_values": 0.1}
    reference = random_weights(RopeMae(rotary_decoder=True, **options))
    tensors = {name.removeprefix("encoder."): tensor for name, tensor in reference.state_dict().items()}
    if layout == "rope-vit":
        for name in ("rope.freqs", "decoder_rope.freqs"):
            tensors[name.replace("rope.", "")] = tensors.pop(name).flatten(2)
        place = torch.arange(16)
        first, second = (place % 4, place // 4) if axes == "xy" else (place // 4, place % 4)
        for part in ("", "decoder_"):
            tensors |= {f"{part}freqs_t_x": first.float(), f"{part}freqs_t_y": second.float()}
    path = written(tmp_path / "mixed.pth", tensors)
    checkpoint = load(path, num_heads=4, decoder_num_heads=2)
    said = any("which axis comes first" in text for text in checkpoint.verdict.warnings)
    assert said == (layout == "timm")
    if axes == "xy" or layout == "rope-vit":
        assert_equal(checkpoint, reference, images, hidden, tmp_path)


def test_a_rotary_decoder_as_the_encoder(images, hidden, random_weights, tmp_path) -> None:
    reference = random_weights(RopeMae(rotary_decoder=True, rope_grid_indexing="xy", rope_temperature=100.0))
    path = written(tmp_path / "both.pth", reference.state_dict())
    checkpoint = load(path, rotary="vit_small_patch16_rope_224", num_heads=4, decoder_num_heads=2, layer_norm_eps=1e-6)
    assert_equal(checkpoint, reference, images, hidden, tmp_path)
    assert checkpoint.model.decoder.pos_embed is None


class BeitMae(nn.Module):
    """An MAE whose attention has BEiT's biases, in plain arithmetic: each pair of tokens looks its distance up."""

    def __init__(self, *, shared: bool, covers: bool, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid, self.covers = grid, covers
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, 64, 8, 8)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 64))
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.blocks = nn.ModuleList(Block(64, 4, qkv_bias=True, norm_layer=norm) for _ in range(2))
        self.norm = norm(64)
        rows = (2 * grid[0] - 1) * (2 * grid[1] - 1) + 3 * covers
        if shared:
            self.rel_pos_bias = nn.Module()
            self.rel_pos_bias.relative_position_bias_table = nn.Parameter(torch.zeros(rows, 4))
        else:
            for block in self.blocks:
                block.attn.relative_position_bias_table = nn.Parameter(torch.zeros(rows, 4))
        self.decoder_embed, self.mask_token = nn.Linear(64, 32), nn.Parameter(torch.zeros(1, 1, 32))
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, 1 + grid[0] * grid[1], 32))
        self.decoder_blocks = nn.ModuleList([Block(32, 2, qkv_bias=True, norm_layer=norm)])
        self.decoder_norm, self.decoder_pred = norm(32), nn.Linear(32, 8 * 8 * 3)

    def bias(self, table: Tensor, visible: Tensor) -> Tensor:
        """(heads, tokens, tokens) of one image, pair by pair."""
        rows, columns = self.grid
        places = [divmod(int(patch), columns) for patch in visible]
        out = table.new_zeros(len(places) + 1, len(places) + 1, table.shape[1])
        for i, (row, column) in enumerate(places, start=1):
            for j, (other_row, other_column) in enumerate(places, start=1):
                down, right = row - other_row + rows - 1, column - other_column + columns - 1
                out[i, j] = table[down * (2 * columns - 1) + right]
        if self.covers:
            out[0, 1:], out[1:, 0], out[0, 0] = table[-3], table[-2], table[-1]
        return out.permute(2, 0, 1)

    def forward(self, images: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        visible = kept(hidden)
        patches = self.patch_embed.proj(images).flatten(2).transpose(1, 2)
        x = patches.gather(1, visible[..., None].expand(-1, -1, 64))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        for block in self.blocks:
            own = getattr(block.attn, "relative_position_bias_table", None)
            table = self.rel_pos_bias.relative_position_bias_table if own is None else own
            bias = torch.stack([self.bias(table, one) for one in visible])
            parts = block.attn.qkv(block.norm1(x)).reshape(*x.shape[:2], 3, 4, 16).permute(2, 0, 3, 1, 4)
            scores = parts[0] @ parts[1].transpose(-2, -1) / 4 + bias
            x = x + block.attn.proj((scores.softmax(dim=-1) @ parts[2]).transpose(1, 2).flatten(2))
            x = x + block.mlp(block.norm2(x))
        tokens = self.norm(x)
        y = self.decoder_embed(tokens)
        full = self.mask_token.expand(*hidden.shape, -1).scatter(1, visible[..., None].expand(-1, -1, 32), y[:, 1:])
        y = torch.cat([y[:, :1], full], dim=1) + self.decoder_pos_embed
        y = self.decoder_norm(self.decoder_blocks[0](y))
        return tokens, self.decoder_pred(y)[:, 1:]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("covers", "grid"), [(True, (4, 4)), (False, (4, 4)), (True, (2, 8))])
def test_biases_by_distance(random_weights, draw_hidden, tmp_path, shared, covers, grid) -> None:
    reference = random_weights(BeitMae(shared=shared, covers=covers, grid=grid))
    images = torch.randn(3, 3, grid[0] * 8, grid[1] * 8, generator=torch.Generator().manual_seed(1))
    tensors = {name.replace("shared", "rel_pos_bias"): t for name, t in reference.state_dict().items()}
    size = {} if grid == (4, 4) else {"image_size": (16, 64)}
    checkpoint = load(written(tmp_path / "beit.pth", tensors), num_heads=4, decoder_num_heads=2, **size)
    assert_equal(checkpoint, reference, images, draw_hidden(3, 16, 12), tmp_path)
    with pytest.raises(CheckpointError, match="rotary or relative positions"):
        checkpoint.save(tmp_path / "transformers")


def test_beits_own_file_equals_timms_model(images, random_weights, tmp_path) -> None:
    """Names, missing key biases, layer scale and the stored index are BEiT's."""
    arguments = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 4, "num_classes": 0}
    reference = random_weights(timm.create_model("beit_base_patch16_224", **arguments))
    tensors = reference.state_dict() | {"blocks.0.attn.relative_position_index": indices(reference)}
    model = load(written(tmp_path / "beit.pth", tensors), num_heads=4).model
    expected = reference.forward_intermediates(images, output_fmt="NLC", return_prefix_tokens=True, norm=False)[1]
    traced = list(model.trace(images, attention=False))
    for layer, (patches, prefix) in zip(traced[1:-1], expected, strict=False):
        torch.testing.assert_close(layer.tokens, torch.cat([prefix, patches], dim=1), rtol=0, atol=TOLERANCE)
    pooled = reference.forward_head(reference.forward_features(images), pre_logits=True)
    torch.testing.assert_close(model.pool(traced[-1].tokens, "native"), pooled, rtol=0, atol=TOLERANCE)


def indices(model: nn.Module) -> Tensor:
    return model.blocks[0].attn.relative_position_index.clone()


def test_other_sizes_are_resampled(random_weights, tmp_path, images) -> None:
    """A table of equal rows has no distances: at twice the size its bias changes nothing."""
    reference = random_weights(BeitMae(shared=True, covers=False, grid=(4, 4)))
    with torch.no_grad():
        reference.rel_pos_bias.relative_position_bias_table.fill_(0.7)
    tensors = dict(reference.state_dict())
    model = load(written(tmp_path / "flat.pth", tensors), num_heads=4, decoder_num_heads=2).model
    larger = F.interpolate(images, scale_factor=2)
    bias = model.encoder.relative((8, 8), 1)
    torch.testing.assert_close(bias[:, :, 1:, 1:], torch.full((1, 4, 64, 64), 0.7))
    assert model.encode(larger).shape == (3, 65, 64)


def hostile_tables() -> dict[str, tuple[dict[str, Tensor], str]]:
    base = BeitMae(shared=False, covers=True, grid=(4, 4)).state_dict()
    name = "blocks.0.attn.relative_position_bias_table"
    rope = {n.removeprefix("encoder."): t for n, t in RopeMae(rope_type="mixed", attn_type="rope").state_dict().items()}
    index = {"blocks.0.attn.relative_position_index": torch.zeros(17, 17, dtype=torch.long)}
    return {
        "no grid": (base | {name: torch.zeros(50, 4)}, "50 relative positions"),
        "empty": (base | {name: torch.zeros(0, 4)}, "0 relative positions"),
        "a huge grid": (base | {name: torch.zeros(1).expand(4001**2 + 3, 4)}, "of which 4 are stored"),
        "one block's lacks": ({n: t for n, t in base.items() if n != name}, "keys of the encoder are missing"),
        "other heads": (base | {name: torch.zeros(52, 3)}, "contradict"),
        "another order": (base | index, "another order"),
        "frequencies of no head": (rope | {"rope.freqs": torch.zeros(2, 3, 5)}, "contradict"),
        "frequencies of other blocks": (rope | {"rope.freqs": torch.zeros(2, 9, 4, 8)}, "contradict"),
        "a table by an MLP": (base | {"blocks.0.attn.rel_pos.mlp.fc1.weight": torch.zeros(4, 2)}, "no place"),
        "a plain file with frequencies": (
            {n: t for n, t in base.items() if "relative" not in n}
            | {"pos_embed": torch.zeros(1, 17, 64), "freqs_cis": torch.zeros(2, 3)},
            "another family",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("case", sorted(hostile_tables()))
def test_hostile_positions_are_refused(tmp_path, case) -> None:
    tensors, message = hostile_tables()[case]
    with pytest.raises(CheckpointError, match=message):
        load(written(tmp_path / "hostile.pth", tensors), num_heads=4, decoder_num_heads=2)


@pytest.mark.parametrize(
    "record",
    [{"kind": "spiral"}, {"kind": "cat", "temperature": "hot"}, {"kind": "cat", "ref_feat_shape": 3}, [], {"a": 1}],
)
def test_damaged_records_are_refused(tmp_path, random_weights, record) -> None:
    import json

    reference = random_weights(RopeMae(rope_grid_indexing="xy", rope_temperature=100.0))
    path = written(tmp_path / "rope.pth", reference.state_dict())
    folder = load(path, rotary="vit_small_patch16_rope_224", num_heads=4, decoder_num_heads=2).save(
        tmp_path / "saved", format="probekit"
    )
    config = json.loads((folder / "config.json").read_text())
    config["encoder"]["rotary"] = record
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"damaged|describes no encoder|contradicts"):
        load(folder)


def test_a_decoder_beside_the_encoders_prefix(tiny, mae_names, images, hidden, tmp_path) -> None:
    """Trap: `encoder.*` beside `decoder_*` lost its decoder, without a word."""
    outside = ("decoder", "mask_token")
    tensors = {n if n.startswith(outside) else f"encoder.{n}": t for n, t in mae_names(tiny).items()}
    model = load(written(tmp_path / "beside.pth", tensors), num_heads=4, decoder_num_heads=2).model
    torch.testing.assert_close(model.predict(images, hidden), tiny.predict(images, hidden), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_base_patch16_dinov4", "Did you mean"),
        ("vit_base_patch16_224", "no rotary positions"),
        (3, "expected timm"),
    ],
)
def test_names_of_rotary_positions(tiny, mae_names, tmp_path, name, message) -> None:
    with pytest.raises(CheckpointError, match=message):
        load(written(tmp_path / "mae.pth", mae_names(tiny)), rotary=name)
