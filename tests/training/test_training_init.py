"""Runs that go on from another checkpoint's weights: what they begin with, record, refuse and say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from test_training_run import facts, interrupted, weights
from transformers import ViTMAEForPreTraining
from typer.testing import CliRunner

import probekit
from probekit.cli import app
from probekit.data import ArraySet
from probekit.errors import TrainingError
from probekit.models import MaskedAutoencoder
from probekit.training import Cell, starting, train_grid
from probekit.training.building import create_model
from probekit.training.settings import resolve

Options = Callable[..., dict[str, Any]]
KEPT = (
    "width",
    "depth",
    "num_heads",
    "decoder_width",
    "decoder_depth",
    "decoder_num_heads",
    "image_size",
    "vit_patch_size",
)


def recipe(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a run without the sizes that the weights determine."""
    return {name: value for name, value in options.items() if name not in KEPT}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of sizes that no preset has, with its own normalisation and normalised targets."""
    model = MaskedAutoencoder.create(
        image_size=(16, 16), vit_patch_size=4, width=24, depth=2, num_heads=3, decoder_width=16, decoder_depth=1,
        decoder_num_heads=4, normalised_targets=True, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3), seed=7,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("source") / "mae"
    checkpoint = probekit.load(model, mask_ratio=0.9, patch_size=8, name="the source")
    checkpoint.card.normalisation_known = True
    checkpoint.card.licence = "cc-by-nc-4.0"
    return checkpoint.save(folder)


def test_a_run_begins_with_the_given_weights(images: ArraySet, options: Options, source: Path, tmp_path: Path) -> None:
    before = probekit.load(source)
    after = probekit.train(images, init=source, **recipe(options(base_lr=1e-30)))
    for name, tensor in before.model.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(after.model.state_dict()[name], tensor, rtol=0, atol=1e-6, msg=name)
    card = after.card
    assert (card.normalised_targets, card.mean, card.std) == (True, (0.4, 0.5, 0.6), (0.2, 0.2, 0.3))
    assert (card.mask_ratio, card.patch_size, card.images_seen) == (0.5, 4, 80)
    assert card.licence is not None
    assert "cc-by-nc-4.0" in card.licence
    record = json.loads((tmp_path / "run/settings.json").read_text())["settings"]
    assert (record["init"], record["init_sha256"]) == (str(source), before.card.sha256)
    assert (record["width"], record["depth"], record["image_size"]) == (24, 2, [16, 16])
    text = (tmp_path / "run/README.md").read_text()
    assert f"went on from the weights of the source ({source}, sha256 {before.card.sha256})" in text
    assert "mask ratio 0.9, units of 8 pixels" in text
    assert ViTMAEForPreTraining.from_pretrained(tmp_path / "run").config.hidden_size == 24


def test_its_loss_goes_on_where_the_source_ended(images: ArraySet, options: Options, tmp_path: Path) -> None:
    first = probekit.train(images, **options("first", images=1600, base_lr=0.05, log_every=10))
    more = {"images": 160, "base_lr": 1e-3, "log_every": 10, "seed": 3}
    probekit.train(images, init=first, **recipe(options("second", **more)))
    probekit.train(images, **options("fresh", **more))
    begun, fresh = facts(tmp_path / "second")[0][1], facts(tmp_path / "fresh")[0][1]
    assert begun < 1.1 * facts(tmp_path / "first")[-1][1]
    assert begun < 0.95 * fresh


def test_an_interrupted_run_ends_with_the_same_bits(
    images: ArraySet, options: Options, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probekit.train(images, init=source, **recipe(options("whole")))
    interrupted(monkeypatch, images, {"init": source, **recipe(options("halves"))})
    other = create_model(resolve("tiny", {}, data="-", data_fingerprint="-", mask_ratio=0.5, patch_size=4, seed=5))
    for changed, message in ((None, r"init: '.*mae' there, '' now"), (other, "init_sha256: .* there, .* now")):
        with pytest.raises(TrainingError, match=message):
            probekit.train(images, init=changed, **recipe(options("halves")))
    moved = source.with_name("moved")  # the same weights under another name
    probekit.load(source).save(moved)
    probekit.train(images, init=moved, **recipe(options("halves")))
    assert weights(tmp_path / "halves") == weights(tmp_path / "whole")
    assert facts(tmp_path / "halves") == facts(tmp_path / "whole")


def test_the_checkpoint_given_is_not_changed(images: ArraySet, options: Options, source: Path) -> None:
    given = probekit.load(source)
    before = starting.digest_of(given.model)
    probekit.train(images, init=given, **recipe(options(images=16)))
    assert starting.digest_of(given.model) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 64}, r"width=64 contradicts init=.*mae, whose width is 24"),
        ({"image_size": 32}, r"image_size=\(32, 32\) contradicts .* is \(16, 16\)"),
        ({"decoder_depth": 2.0}, r"decoder_depth=2 contradicts .* is 1"),
        ({"channels": 1}, r"channels=1 contradicts"),
        ({"normalise_targets": False}, r"normalise_targets=False contradicts .* is True"),
        ({"mean": (0.5, 0.5, 0.5)}, r"mean=\(0.5, 0.5, 0.5\) contradicts .* is \(0.4"),
        ({"width": "64"}, "expected a whole number"),
        ({"init_sha256": "0"}, "is recorded, not set"),
    ],
)
def test_a_setting_that_contradicts_the_weights_is_an_error(
    changes: dict[str, Any], message: str, images: ArraySet, options: Options, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=message):
        probekit.train(images, init=source, **(recipe(options()) | changes))
    assert not (tmp_path / "run").exists()


def test_what_agrees_with_the_weights_may_be_said(images: ArraySet, options: Options, source: Path) -> None:
    said = {"width": 24.0, "image_size": 16, "normalise_targets": True, "mean": [0.4, 0.5, 0.6]}
    assert probekit.train(images, init=source, **(recipe(options(images=16)) | said)).card.images_seen == 16


@pytest.mark.parametrize("registers", [0, 2])
def test_an_encoder_gets_a_fresh_decoder(registers: int, images: ArraySet, options: Options, tmp_path: Path) -> None:
    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 1, "num_heads": 3, "num_classes": 5}
    encoder = timm.models.VisionTransformer(reg_tokens=registers, **sizes)
    alone = MaskedAutoencoder(encoder, None, normalised_targets=None, mean=(0.5,) * 3, std=(0.5,) * 3)
    decoder = {"decoder_width": 32, "decoder_depth": 2, "decoder_num_heads": 4}
    with pytest.warns(UserWarning, match="begins with a fresh one"):
        given = probekit.train(images, init=alone, **(recipe(options()) | decoder))
    with pytest.warns(UserWarning, match="begins with a fresh one"):
        again = probekit.train(images, init=alone, **(recipe(options("again")) | decoder))
    assert given.card.architecture["decoder"]["width"] == 32
    assert given.card.mean == (0.5, 0.5, 0.5)
    assert "Its decoder was fresh" in (tmp_path / "run/README.md").read_text()
    assert weights(tmp_path / "run") == weights(tmp_path / "again")
    assert again.model.num_prefix_tokens == 1 + registers


def test_an_encoder_of_another_kind_is_refused(images: ArraySet, options: Options) -> None:
    wrapped = probekit.Encoder.wrap(
        lambda pixels: [pixels.flatten(2).mT], patch_size=1, image_size=16, mean=(0.5,) * 3, std=(0.5,) * 3, name="odd"
    )
    with pytest.raises(TrainingError, match="cannot leave out patches"):
        probekit.train(images, init=wrapped, **recipe(options()))
    with pytest.raises(TrainingError, match="init=5: expected a checkpoint"):
        probekit.train(images, init=5, **recipe(options()))


def test_a_grid_begins_with_the_given_weights(images: ArraySet, options: Options, source: Path, tmp_path: Path) -> None:
    chosen = recipe(options(images=16)) | {"init": source}
    probekit.train(images, **chosen)
    for name in ("mask_ratio", "patch_size", "output"):
        del chosen[name]
    (cell,) = train_grid(images, [Cell(0.5, 4)], output=tmp_path / "grid", **chosen).values()
    assert load_file(cell / "model.safetensors").keys() == load_file(tmp_path / "run/model.safetensors").keys()
    assert weights(cell) == weights(tmp_path / "run")


def test_the_command_takes_a_checkpoint(source: Path, tmp_path: Path) -> None:
    given = ["--mask-ratio", "0.5", "--patch-size", "4", "--images", "8", "--batch-size", "8", "--device", "cpu"]
    command = ["train", "--data", "quadtree", "-o", str(tmp_path / "run"), "--init", str(source), *given]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert probekit.load(tmp_path / "run").model.width == 24
