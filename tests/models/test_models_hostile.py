"""Files that claim more than they hold, files of other families, and values that no card can have."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from probekit.errors import CheckpointError
from probekit.models import load
from probekit.models.card import Card
from probekit.models.card_checks import acceptable

HEADS = {"num_heads": 4, "decoder_num_heads": 2}


@pytest.fixture
def weights(tiny, mae_names) -> dict[str, torch.Tensor]:
    return mae_names(tiny)


@pytest.fixture(autouse=True)
def modest():
    """Neither memory nor time: nothing here may take 500 MB or 10 seconds."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000
    assert time.monotonic() - start < 60


def written(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


# --- claims -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("new", [True, False], ids=["zip", "old pickle"])
def test_tensors_that_repeat_one_value(weights, tmp_path, new) -> None:
    """Trap: a tensor of stride 0 took 9 GB from a small file."""
    weights["pos_embed"] = torch.zeros(1).expand(1, 10**6 + 1, 64)
    torch.save({"model": weights}, tmp_path / "expanded.pth", _use_new_zipfile_serialization=new)
    with pytest.raises(CheckpointError, match=r"'pos_embed' claims \(1, 1000001, 64\) values"):
        load(tmp_path / "expanded.pth", **HEADS)


def test_many_views_of_one_storage(weights, tmp_path) -> None:
    shared = torch.zeros(10**6)
    weights |= {f"blocks.{n}.mlp.fc1.weight": shared for n in range(3, 200)}
    with pytest.raises(CheckpointError, match="claims"):
        load(written(tmp_path / "views.pth", weights), **HEADS)


@pytest.mark.parametrize("index", ["999999999", "123456789012345678901234567890"])
@pytest.mark.parametrize("part", ["blocks", "decoder_blocks"])
def test_blocks_with_huge_numbers(weights, tmp_path, part, index) -> None:
    """Trap: as many blocks were built as the highest number says (4.4 GB)."""
    weights[f"{part}.{index}.norm1.weight"] = torch.zeros(64)
    with pytest.raises(CheckpointError):
        load(written(tmp_path / "deep.pth", weights), **HEADS)


@pytest.mark.parametrize("field", ["num_hidden_layers", "decoder_num_hidden_layers"])
def test_a_configuration_with_a_huge_depth(tiny, tmp_path, field) -> None:
    folder = load(tiny).save(tmp_path / "x")
    config = json.loads((folder / "config.json").read_text()) | {field: 10**9}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"1,000,000,000 blocks are stated or numbered and \d+ tensors are there"):
        load(folder)


@pytest.mark.parametrize("change", [{"depth": 10**9}, {"width": 10**12}, {"image_size": [10**9, 10**9]}])
def test_a_directory_of_ours_with_huge_numbers(tiny, tmp_path, change) -> None:
    folder = load(tiny).save(tmp_path / "x", format="probekit")
    config = json.loads((folder / "config.json").read_text())
    config["encoder"] |= change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError):
        load(folder)


def test_timms_arguments_with_a_huge_depth(tmp_path) -> None:
    save_file({"patch_embed.proj.weight": torch.zeros(192, 3, 16, 16)}, tmp_path / "model.safetensors")
    config = {"architecture": "vit_tiny_patch16_224", "model_args": {"depth": 10**8}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="blocks"):
        load(tmp_path)


def test_a_compressed_archive(weights, tmp_path) -> None:
    """torch.save does not compress; an archive that does may hold anything."""
    written(tmp_path / "plain.pth", {"model": {"a": torch.zeros(10**6)}})
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for member in plain.infolist():
            bomb.writestr(member.filename, plain.read(member))
    with pytest.raises(CheckpointError, match="is a compressed archive: its members claim"):
        load(tmp_path / "bomb.pth")


def test_an_old_pickle_that_claims_a_large_storage(weights, tmp_path) -> None:
    path = tmp_path / "old.pth"
    torch.save({"model": {"a": torch.zeros(3)}}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert content.count(b"K\x03N") == 1  # a storage of 3 values
    path.write_bytes(content.replace(b"K\x03N", b"\x8a\x05\x00\x00\x00\x00\x02N"))  # of 8.6 billion
    with pytest.raises(CheckpointError, match=r"a tensor claims 8,589,934,592 values"):
        load(path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "preprocessor_config.json"])
def test_pipes_in_a_directory_are_not_waited_for(tiny, tmp_path, name) -> None:
    folder = load(tiny).save(tmp_path / "x")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(CheckpointError, match="is a pipe; expected"):
        load(folder)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors.index.json"])
def test_json_nested_without_end(tiny, tmp_path, name) -> None:
    folder = load(tiny).save(tmp_path / "x")
    if "index" in name:
        (folder / "model.safetensors").unlink()
    (folder / name).write_text('{"a":' * 5000 + "1" + "}" * 5000)
    with pytest.raises(CheckpointError, match="nested too deeply"):
        load(folder)


class Number:
    """A numpy scalar's pickle with other contents."""

    def __init__(self, code: str, data: bytes) -> None:
        self.code, self.data = code, data

    def __reduce__(self):
        return np.core.multiarray.scalar if hasattr(np, "core") else None, (self.code, self.data)


@pytest.mark.parametrize("code", ["O", "V8", "f8", "U1000000000", "M8[ns]"])
def test_odd_numpy_scalars_are_no_numbers(weights, tmp_path, code) -> None:
    """They are read by a stand-in that knows plain numbers alone; numpy itself is never asked."""
    from probekit.models.pickles import _Dtype, _scalar

    assert _scalar(_Dtype(code), b"\x00" * 3) is None
    assert _scalar(_Dtype("f8"), np.float64(0.5).tobytes()) == 0.5
    assert _scalar("f8", b"12345678") is None
    dtype = pickle.loads(pickle.dumps(np.dtype(">i4")))
    stand_in = _Dtype("i4")
    stand_in.__setstate__((3, ">", None, None, None, -1, -1, 0))
    assert _scalar(stand_in, np.array(7, dtype).tobytes()) == 7


@pytest.mark.parametrize(
    ("field", "value"),
    [("vit_patch_size", [1]), ("layer_norm_eps", {}), ("depth", -1), ("width", "64"), ("image_size", [32]),
     ("image_size", "32"), ("qkv_bias", 1), ("mlp", None), ("head_dim", 0.5), ("registers", True), ("no_field", 1)],
)  # fmt: skip
def test_an_encoders_record_of_other_kinds_is_refused(tiny, tmp_path, field, value) -> None:
    """Trap: a list for the patch and an object for the epsilon were tracebacks."""
    folder = load(tiny).save(tmp_path / "own", format="probekit")
    config = json.loads((folder / "config.json").read_text())
    config["encoder"][field] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"describes no encoder|Fetch both again"):
        load(folder)


# --- other families ---------------------------------------------------------------------------------------------------


def vit(**extra: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"patch_embed.proj.weight": torch.zeros(64, 3, 8, 8), **extra}


OTHERS = {
    "LoRA": (
        {"vit.encoder.layer.0.attention.attention.query.lora_A.default.weight": torch.zeros(2, 2)},
        "Merge it into",
    ),
    "Swin": (vit(**{"layers.0.blocks.0.norm1.weight": torch.zeros(64)}), r"hierarchical transformer \(Swin\)"),
    "Hiera": (vit(**{"blocks.0.attn.q_pool": torch.zeros(4), "reps.3.weight": torch.zeros(3)}), "Hiera"),
    "groups": ({"patch_embed.0.proj.weight": torch.zeros(64, 3, 8, 8)}, "groups of channels"),
    "video": ({"encoder.patch_embed.proj.weight": torch.zeros(64, 3, 2, 8, 8)}, "its patches extend in time"),
    "nothing known": (vit(**{"trunk.a": torch.zeros(2)}), "network of another family"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_family_is_never_called_incomplete(tmp_path, case) -> None:
    tensors, expected = OTHERS[case]
    with pytest.raises(CheckpointError, match=expected) as caught:
        load(written(tmp_path / "other.pth", tensors))
    assert "incomplete" not in str(caught.value)
    assert "fetch it again" not in str(caught.value).lower()


def test_positions_that_are_not_stored(weights, tmp_path) -> None:
    encoder = {n: t for n, t in weights.items() if not n.startswith("decoder") and n not in ("mask_token", "pos_embed")}
    with pytest.raises(CheckpointError, match=r"pos_embed. All else is there.*1-D sinusoid\) or rotary") as caught:
        load(written(tmp_path / "computed.pth", encoder))
    assert "incomplete" not in str(caught.value)


# --- values of a card -------------------------------------------------------------------------------------------------

ODD = [
    float("nan"), float("inf"), -4, -0.5, 0, 1.5, "0.75", "", True, [], {}, [[1]], [None], (1, 2, 3), 10**30,
    {"a": 1}, [0.5, 0.5], [0, 0, 0], ["a", "b", "c"],
]  # fmt: skip
FIELDS = ["mask_ratio", "patch_size", "mean", "std", "interpolation", "crop_fraction", "normalised_targets", "data",
          "epochs", "images_seen", "seed", "licence", "name", "normalisation_known"]  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
def test_every_odd_value_is_taken_or_refused_by_name(tiny, tmp_path, field) -> None:
    """Trap: 17 of 78 odd values were tracebacks, and a patch size of -4 was accepted."""
    folder = load(tiny).save(tmp_path / "x")
    config = json.loads((folder / "config.json").read_text())
    for value in ODD:
        stated = config["probekit"] | {field: value}
        (folder / "config.json").write_text(json.dumps(config | {"probekit": stated}))
        if acceptable(field, value) and (field not in ("mean", "std") or len(value) == 3):
            assert acceptable(field, getattr(load(folder).card, field))
            continue
        with pytest.raises(CheckpointError) as caught:
            load(folder)
        assert str(folder) in str(caught.value)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("field", "value"), [("patch_size", -4), ("mask_ratio", 1.0), ("std", (0, 0, 0)), ("seed", "a")]
)
def test_a_card_refuses_what_it_cannot_hold_at_any_time(tiny, field, value) -> None:
    checkpoint = load(tiny)
    with pytest.raises(CheckpointError, match=rf"The card: {field} is .*; expected"):
        setattr(checkpoint.card, field, value)
    with pytest.raises(CheckpointError, match=rf"{field} is .*; expected"):
        Card(name="x", architecture={}, vit_patch_size=4, image_size=(32, 32), **{field: value})
    assert Card("a\x1b[31mb", {}, 4, (32, 32)).name == "a [31mb"


# --- what a caller says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_ratio": 0.9}, r"says mask_ratio=0.6; mask_ratio=0.9 contradicts it"),
        ({"normalised_targets": False}, r"says normalised_targets=True; normalised_targets=False contradicts it"),
        ({"mean": (0.5,) * 3}, "mean and std belong together"),
        ({"mean": (0.5,) * 2, "std": (0.5,) * 2}, "expected three numbers each"),
        ({"num_heads": 0}, "num_heads is 0; expected a whole number above 0"),
        ({"num_heads": "4"}, "num_heads is '4'; expected a whole number above 0"),
        ({"mean": object(), "std": 0.5}, "mean is <object"),
        ({"mean": 1 + 2j, "std": 0.5}, "mean is"),
        ({"mean": np.float32(0.5), "std": np.array(0.5)}, "expected three numbers each"),
        ({"image_size": 1.5}, r"image_size is 1.5; expected"),
        ({"image_size": (1, 2, 3)}, r"image_size is \(1, 2, 3\); expected"),
        ({"interpolation": "cubic"}, "interpolation is 'cubic'; expected one of"),
        ({"patch_size": -8}, "patch_size is -8; expected"),
        ({"key": "teacher"}, "has no network 'teacher'"),
    ],
)
def test_keywords_that_are_wrong_or_contradict_the_file(weights, tmp_path, options, message) -> None:
    args = argparse.Namespace(mask_ratio=0.6, norm_pix_loss=True)
    path = written(tmp_path / "run.pth", {"model": weights, "args": args})
    assert load(path, **HEADS, mask_ratio=0.6, normalised_targets=True).card.mask_ratio == 0.6
    with pytest.raises(CheckpointError, match=message):
        load(path, **HEADS | options)


def test_options_in_the_string(weights, tmp_path) -> None:
    path = written(tmp_path / "a?b.pth", weights)
    assert load(path, **HEADS).name == "a?b"  # a file that exists is what it is called
    path = written(tmp_path / "mae.pth", weights)
    text = (
        f"{path}?num_heads=4&decoder-num-heads=2&mean=0.5,0.5,0.5&std=0.25,0.25,0.25&normalised_targets=true&name=mine"
    )
    checkpoint = load(f"{text}&mask_ratio=0.75&patch_size=16&epochs=300&image_size=32&crop_fraction=0.875")
    card = checkpoint.card
    assert (card.name, card.mean, card.std, card.normalised_targets) == ("mine", (0.5,) * 3, (0.25,) * 3, True)
    assert (card.mask_ratio, card.patch_size, card.epochs, card.crop_fraction) == (0.75, 16, 300, 0.875)
    assert checkpoint.verdict.warnings == ()
    for query, message in (
        ("num_head=4", r"no option 'num_head'. Did you mean 'num_heads'\?"),
        ("num_heads=x", "num_heads is 'x'; expected a whole number"),
        ("num_heads=4&num_heads=4", "given twice"),
        ("mean=a", "expected numbers such as 0.5,0.5,0.5"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load(f"{path}?{query}")
    with pytest.raises(CheckpointError, match="num_heads is 4 as a keyword and 2 in the string"):
        load(f"{path}?num_heads=2", num_heads=4)


@pytest.mark.parametrize("grid", [(4, 16), (16, 4), (2, 8), (3, 5)])
def test_the_sin_cos_table_tells_the_grid(tiny, weights, tmp_path, grid) -> None:
    """Trap: 4 x 16 patches, whose number is a square, were read as 8 x 8."""
    from probekit.models.positions import sin_cos

    weights |= {"pos_embed": sin_cos(grid, 64), "decoder_pos_embed": sin_cos(grid, 32)}
    path = written(tmp_path / "wide.pth", weights)
    checkpoint = load(path, **HEADS)
    assert checkpoint.card.image_size == (grid[0] * 8, grid[1] * 8)
    load(path, **HEADS, image_size=(grid[0] * 8, grid[1] * 8))
    with pytest.raises(CheckpointError, match="contradict"):
        load(path, **HEADS, image_size=(grid[1] * 8, grid[0] * 8))
    half = {name: tensor.half() for name, tensor in weights.items()}
    assert load(written(tmp_path / "half.pth", half), **HEADS).card.image_size == checkpoint.card.image_size
