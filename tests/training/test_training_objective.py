"""The loss and its gradient against transformers' ViTMAE, whole against divided; the recipe; what steps depend on."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from small_run import SIZES, some_images
from torch import Tensor
from transformers import ViTMAEForPreTraining

import probekit
from probekit import masking
from probekit.errors import TrainingError
from probekit.models import MaskedAutoencoder, architecture
from probekit.models.architecture import Architecture, DecoderArchitecture
from probekit.training import objective, recipe
from probekit.training import settings as room
from probekit.training.building import create_model
from probekit.training.directory import RunDirectory
from probekit.training.loop import Run
from probekit.training.recipe import choose_precision
from probekit.training.settings import PRESETS, Settings, draw_masks, interior, resolve


def some_settings(**changes: object) -> Settings:
    known = {"data": "noise", "data_fingerprint": "-", "mask_ratio": 0.5, "patch_size": 4, "seed": 0, "images": 80}
    return resolve("tiny", SIZES, **(known | changes))


def gradients(model: MaskedAutoencoder) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("mask_ratio", [0.1, 0.25, 0.5, 0.75, 0.9])
def test_loss_and_gradients_equal_transformers(normalised: bool, mask_ratio: float, tmp_path: Path) -> None:
    settings = some_settings(normalise_targets=normalised, mask_ratio=mask_ratio)
    model = create_model(settings)
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    hidden, _ = draw_masks(settings, 8, step=3)

    from probekit.training.cards import save_checkpoint

    save_checkpoint(tmp_path / "ours", "ours", model, settings, some_images(), 0)
    theirs = ViTMAEForPreTraining.from_pretrained(tmp_path / "ours")
    theirs.config.mask_ratio = mask_ratio
    output = theirs(images, noise=hidden.float())  # visible patches have the smaller noise and are kept
    output.loss.backward()
    assert torch.equal(output.mask.bool(), hidden)

    loss = objective.MaskedLoss(model)(images, hidden, None, int(hidden.sum()))
    loss.backward()
    torch.testing.assert_close(loss, output.loss, rtol=1e-5, atol=1e-6)

    moved = copy.deepcopy(theirs)  # their gradients, in our names: written as weights and read back
    for parameter, source in zip(moved.parameters(), theirs.parameters(), strict=True):
        parameter.data = torch.zeros_like(source) if source.grad is None else source.grad
    moved.save_pretrained(tmp_path / "theirs")
    expected = dict(probekit.load(tmp_path / "theirs", device="cpu").model.named_parameters())
    found = gradients(model)
    assert len(found) == len(list(objective.trained(model)))
    for name, gradient in found.items():
        assert torch.allclose(gradient, expected[name].detach(), rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("mask_ratio", [0.1, 0.75])
def test_explicit_attention_gives_the_loss_and_gradients_of_fused_attention(mask_ratio: float) -> None:
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = []
    for attention in ("fused", "product"):
        sizes = {**PRESETS["tiny"], "image_size": (32, 32)}
        settings = some_settings(**{**sizes, "mask_ratio": mask_ratio, "attention": attention})
        model, (hidden, _) = create_model(settings), draw_masks(settings, 8, step=3)
        explicit = [not block.attn.fused_attn for block in (*model.encoder.blocks, *model.decoder.blocks)]
        assert explicit == ([True] * 4 + [False] if attention == "product" else [False] * 5)  # 58 or 17, and 65 tokens
        loss = objective.MaskedLoss(model)(images, hidden, None, int(hidden.sum()))
        loss.backward()
        found.append((loss.detach(), gradients(model)))
    (loss, expected), (other, gradients_) = found
    torch.testing.assert_close(other, loss, rtol=1e-6, atol=1e-7)
    for name, gradient in gradients_.items():
        assert torch.allclose(gradient, expected[name], rtol=1e-4, atol=1e-6), name


def test_attention_is_a_rule() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert [room.choose_attention("auto", device) for device in (cpu, cuda)] == ["product", "fused"]
    assert room.choose_attention("fused", cpu) == "fused"
    with pytest.raises(TrainingError, match="Did you mean 'product'"):
        some_settings(attention="prodct")


@pytest.mark.parametrize("boundary", [True, False])
def test_micro_batches_add_up(boundary: bool, tmp_path: Path) -> None:
    found = []
    for accumulate in (1, 4):
        settings = some_settings(accumulate=accumulate, boundary=boundary, mask_ratio=0.75)
        run = Run(settings, some_images(), Accelerator(cpu=True), RunDirectory(tmp_path))
        found.append((run.gradients(run.stream.batch(0)), gradients(run.model)))
    (loss, whole), (loss_of_parts, parts) = found
    torch.testing.assert_close(loss, loss_of_parts, rtol=1e-6, atol=1e-7)
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-4, atol=1e-7)


def test_the_loss_counts_hidden_patches_only() -> None:
    settings = some_settings()
    loss = objective.MaskedLoss(create_model(settings))
    images = torch.randn(4, 3, 16, 16)
    hidden, _ = draw_masks(settings, 4, step=0)
    predicted = loss.model.predict(images, hidden)
    errors = (predicted - loss.model.targets(images)).square().mean(-1)
    torch.testing.assert_close(loss(images, hidden, None, int(hidden.sum())), errors[hidden].mean())
    inner = interior(hidden, settings.grid)
    torch.testing.assert_close(loss(images, hidden, inner, int(inner.sum())), errors[inner].mean())


def test_interior_against_the_definition() -> None:
    hidden = torch.rand(50, 5 * 7, generator=torch.Generator().manual_seed(0)) < 0.7
    found = interior(hidden, (5, 7)).view(-1, 5, 7)
    mask = hidden.view(-1, 5, 7)
    for image in range(50):
        for row in range(5):
            for column in range(7):
                near = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
                seen = [not mask[image, r, c] for r, c in near if 0 <= r < 5 and 0 <= c < 7]
                assert found[image, row, column] == (mask[image, row, column] and not any(seen))


def test_learning_rate() -> None:
    rates = [objective.learning_rate(step, 100, 1.0, 0.1) for step in range(100)]
    assert rates[:11] == pytest.approx([step / 10 for step in range(11)])
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))
    assert max(rates) == 1.0
    assert objective.learning_rate(0, 10, 1.0, 0.0) == 1.0


def test_weight_decay_spares_biases_norms_and_tokens() -> None:
    model = create_model(some_settings())
    decayed, free = objective.parameter_groups(model, 0.05)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.05, 0.0)
    assert all(".weight" in names[id(p)] and "norm" not in names[id(p)] for p in decayed["params"])
    assert {"encoder.cls_token", "decoder.mask_token"} <= {names[id(p)] for p in free["params"]}
    together = {names[id(p)] for p in decayed["params"] + free["params"]}
    assert set(names.values()) - together == {"encoder.pos_embed", "decoder.pos_embed"}


def test_presets_are_maes() -> None:
    # ViT-B/16 and ViT-L/16 encoders have 86 and 303 million weights, MAE's decoder 26 with its positions.
    for name, millions in (("base", 111.9), ("large", 329.5)):
        preset = PRESETS[name]
        encoder = [preset[key] for key in ("vit_patch_size", "width", "depth", "num_heads")]
        decoder = [preset[f"decoder_{key}"] for key in ("width", "depth", "num_heads")]
        record = Architecture(
            (preset["image_size"],) * 2, *encoder, 4 * preset["width"],
            decoder=DecoderArchitecture(*decoder, 4 * preset["decoder_width"]),
        )  # fmt: skip
        total = architecture.count(record.build()) + architecture.count(record.build_decoder())
        assert total / 1e6 == pytest.approx(millions, abs=0.2)


def test_masks_are_a_function_of_seed_and_step() -> None:
    one, two = some_settings(), some_settings(seed=1)
    torch.manual_seed(7)
    first = draw_masks(one, 8, 5)[0]
    torch.manual_seed(8)
    assert torch.equal(first, draw_masks(one, 8, 5)[0])
    assert not torch.equal(first, draw_masks(one, 8, 6)[0])
    assert not torch.equal(first, draw_masks(two, 8, 5)[0])


@pytest.mark.parametrize("strategy", masking.STRATEGIES)
def test_masks_of_several_steps_are_those_of_each(strategy: str) -> None:
    settings = some_settings(strategy=strategy, patch_size=8, mask_ratio=0.5)
    several = room.draw_masks_of(settings, range(3, 8))
    assert several.shape == (5, 8, 16)
    for step, masks in zip(range(3, 8), several, strict=True):
        assert torch.equal(masks, draw_masks(settings, 8, step)[0])


def test_precision_is_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(recipe, "native_bfloat16", lambda: True)
    chosen = [choose_precision("auto", width, cpu) for width in (128, 511, 512, 768)]
    assert chosen == ["float32"] * 2 + ["bfloat16"] * 2
    assert choose_precision("bfloat16", 128, cpu) == "bfloat16"
    monkeypatch.setattr(recipe, "native_bfloat16", lambda: False)
    assert choose_precision("auto", 768, cpu) == "float32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    cuda = torch.device("cuda")
    assert [choose_precision("auto", width, cuda) for width in (128, 512)] == ["float32", "bfloat16"]
    assert choose_precision("tf32", 64, cuda) == "tf32"
    with pytest.raises(TrainingError, match="needs an NVIDIA GPU"):
        choose_precision("tf32", 64, cpu)


def test_bfloat16_is_near_float32(tmp_path: Path) -> None:
    losses = []
    for precision in ("float32", "bfloat16"):
        run = Run(some_settings(precision=precision), some_images(), Accelerator(cpu=True), RunDirectory(tmp_path))
        losses.append(run.gradients(run.stream.batch(0)))
        assert all(gradient.dtype == torch.float32 for gradient in gradients(run.model).values())
    torch.testing.assert_close(losses[1], losses[0], rtol=0.02, atol=0.0)
    assert losses[0] != losses[1]


def test_snapshots() -> None:
    assert some_settings(images=800).snapshot_steps() == {12: 0.125, 25: 0.25, 50: 0.5}
    assert some_settings(images=8).snapshot_steps() == {}


def test_known_settings_only() -> None:
    with pytest.raises(TrainingError, match="Did you mean 'width'"):
        resolve("tiny", {"widht": 3}, data="x")
