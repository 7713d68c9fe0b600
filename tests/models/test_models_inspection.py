"""The verdict as a page and as JSON: both hold the same facts, and every key that was left over."""

from __future__ import annotations

import io
import json

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from probekit.cli import app
from probekit.models import inspection, load

WIDE = 100


def page(facts: dict) -> str:
    console = Console(file=io.StringIO(), width=WIDE, highlight=False, color_system=None)
    inspection.show(facts, console)
    return console.file.getvalue()


@pytest.fixture
def facts(tiny, mae_names, tmp_path) -> dict:
    content = {"model": mae_names(tiny) | {"head.weight": torch.zeros(3, 64), "head.bias": torch.zeros(3)}}
    content["model"]["decoder_pos_embed"].zero_()
    torch.save(content, tmp_path / "mae_visualize_tiny.pth")
    return inspection.report(load(tmp_path / "mae_visualize_tiny.pth", decoder_num_heads=2))


def test_the_report_is_complete_and_json(facts) -> None:
    assert json.loads(json.dumps(facts)) == facts
    assert facts["format"] == "facebookresearch/mae"
    assert (facts["decoder"], facts["pixel_targets"], facts["mask_ratio"], facts["patch_size"]) == (
        True,
        "plain",
        None,
        None,
    )
    assert facts["left_over"] == ["head.weight", "head.bias"]
    assert facts["missing"] == []
    assert facts["parameters"] == facts["architecture"]["parameters"] + facts["architecture"]["decoder"]["parameters"]
    assert len(facts["sha256"]) == 64
    assert len(facts["warnings"]) == 3  # heads of the encoder, normalisation, positions of the decoder


def test_the_page_says_the_same(facts) -> None:
    text = page(facts)
    for expected in (
        "mae_visualize_tiny",
        "facebookresearch/mae",
        "plain pixels",
        "not recorded",
        "head.weight",
        "Left-over keys (2)",
        "Warnings (3)",
        "heads of the encoder was guessed",
        "decoder are all zero",
        "layer-norm epsilon 1e-06",
        "4 x 4 patches",
        "cls, mean, native",
    ):
        assert expected in text, expected
    assert all(len(line.rstrip()) <= WIDE for line in text.splitlines())


def test_what_is_unknown_is_said_to_be(tiny, random_weights) -> None:
    import timm

    text = page(inspection.report(load(random_weights(timm.create_model("test_vit", img_size=32)))))
    assert "no: an encoder alone" in text
    assert "Missing keys\n  none" in text.replace(" \n", "\n").replace("none ", "none").replace(" " * 10, "")


def test_a_recorded_card_is_shown(tiny) -> None:
    checkpoint = load(tiny, name="mine")
    card = checkpoint.card
    card.mask_ratio, card.patch_size, card.data, card.images_seen, card.licence = (
        0.9,
        16,
        "quadtree",
        150000,
        "apache-2.0",
    )
    text = page(inspection.report(checkpoint))
    for expected in ("mine", "0.9", "16 pixels (the mask unit)", "quadtree", "150,000", "apache-2.0"):
        assert expected in text


def test_the_command_takes_what_the_file_does_not_tell(tiny, mae_names, tmp_path) -> None:
    torch.save({"model": mae_names(tiny)}, tmp_path / "mae.pth")
    told = ["--num-heads", "4", "--decoder-num-heads", "2", "--layer-norm-eps", "1e-5"]
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / "mae.pth"), "--json", *told])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["architecture"]
    assert (found["num_heads"], found["layer_norm_eps"], found["decoder"]["layer_norm_eps"]) == (4, 1e-5, 1e-5)
