"""Features as data, and what a measurement costs beforehand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_measured import COUNTS, SPEC, tiny
from typer.testing import CliRunner

import probekit
from probekit import progress
from probekit.cli import app
from probekit.data import Preprocess
from probekit.errors import ProbeError
from probekit.models import MaskedAutoencoder


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images that went through an encoder."""
    seen: list[int] = []
    trace = MaskedAutoencoder.trace

    def counted(self: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(len(images))
        return trace(self, images, *args, **kwargs)

    monkeypatch.setattr(MaskedAutoencoder, "trace", counted)
    return seen


def test_features_are_the_models_own_in_the_order_of_the_images() -> None:
    ckpt = tiny()
    ds = probekit.features(ckpt, SPEC, count=12, layers=[-1, 0])
    assert ds.features.dims == ("image", "layer", "pooling", "width")
    assert ds.layer.values.tolist() == [0, 2]
    images = probekit.data.load(SPEC, "test", count=12)
    assert ds.label.values.tolist() == images.labels[:12].tolist()
    assert len(set(ds.path.values)) == 12
    [batch] = images.batches(12, Preprocess(16, 16, ckpt.card.mean, ckpt.card.std))
    with torch.inference_mode():
        tokens = ckpt.model.encode(batch["image"])
    for pooling in ds.pooling.values:
        np.testing.assert_allclose(
            ds.features.sel(layer=2, pooling=pooling), ckpt.model.pool(tokens, pooling), rtol=1e-5, atol=1e-6
        )
    half = probekit.features(ckpt, SPEC, count=12, dtype="float16")
    assert half.features.dtype == np.float16
    np.testing.assert_allclose(half.features.sel(layer=[0, 2]), ds.features, rtol=1e-3, atol=1e-3)


def test_features_that_were_measured_are_read(forwards: list[int]) -> None:
    ckpt = tiny()
    probekit.evaluate(ckpt, "knn", SPEC, counts=COUNTS)
    before = len(forwards)
    ds = probekit.features(ckpt, SPEC, count=COUNTS.test)
    assert len(forwards) == before
    assert ds.sizes["image"] == COUNTS.test
    assert json.loads(ds.attrs["provenance"])["forwards"] == 0


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"split": "tset"}, "Did you mean 'test'"),
        ({"layers": [9]}, "has the layers 0"),
        ({"poolings": ["max"]}, "no pooling is called"),
        ({"dtype": "int8"}, "float32 or float16"),
        ({"count": 0}, "at least 1"),
        ({"sampling": "even"}, "proportional or balanced"),
    ],
)
def test_features_that_there_are_not_are_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        probekit.features(tiny(), SPEC, **asked)


def test_layers_of_different_width_are_no_array() -> None:
    def encode(images: torch.Tensor) -> list[torch.Tensor]:
        tokens = images.unfold(2, 8, 8).unfold(3, 8, 8).flatten(4).permute(0, 2, 3, 1, 4).flatten(3).flatten(1, 2)
        return [tokens, tokens[..., :10], tokens[..., 10:20]]

    half = (0.5, 0.5, 0.5)
    wrapped = probekit.Encoder.wrap(encode, patch_size=8, image_size=16, mean=half, std=half, name="halves")
    with pytest.raises(ProbeError, match=r"differ in width \(0: 192, 1: 10, 2: 10\).*layers=\[2\]"):
        probekit.features(wrapped, SPEC, count=4)
    assert probekit.features(wrapped, SPEC, layers=[1, 2], count=4).features.shape == (4, 2, 1, 10)


@pytest.mark.parametrize("name", ["f.nc", "f.zarr"])
def test_the_command_writes_them(name: str, tmp_path: Path) -> None:
    tiny().save(tmp_path / "ckpt")
    output = tmp_path / name
    command = ["features", str(tmp_path / "ckpt"), "--data", SPEC, "--count", "8", "-o", str(output)]
    for _ in range(2):  # the second replaces the first
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
    opened = xr.open_dataset(output) if name.endswith("nc") else xr.open_zarr(output)
    xr.testing.assert_equal(opened.load(), probekit.features(str(tmp_path / "ckpt"), SPEC, count=8))
    refused = CliRunner().invoke(app, [*command[:-1], str(tmp_path / "f.npz")])
    assert isinstance(refused.exception, ProbeError)


# --- the cost beforehand ----------------------------------------------------------------------------------------------

EVERYTHING = ["knn", "level_spectrum", "label_free", "reconstruction", "mask_response", "level_ladder"]


def test_a_dry_run_counts_every_forward_and_makes_none(forwards: list[int]) -> None:
    ckpt = tiny()
    told = probekit.evaluate(ckpt, EVERYTHING, SPEC, counts=COUNTS, dry_run=True)
    assert int(told.bytes[list(told.stage.values).index("train images")]) == COUNTS.train * 3 * 2 * 32 * 4
    tried = sum(forwards)
    assert tried <= 2 * 64
    assert set(told.stage.values) >= {"train images", "test images", "partners", "views"}
    assert any(stage.startswith("untrained: ") for stage in told.stage.values)
    forwards.clear()
    probekit.evaluate(ckpt, EVERYTHING, SPEC, counts=COUNTS)
    masked = [stage.partition(":")[0] in ("reconstruction", "pictures", "masked_pixels") for stage in told.stage.values]
    traced = told.missing_forwards.values[~np.array(masked)]  # the others encode the visible patches alone
    assert sum(forwards) == traced.sum()
    again = probekit.evaluate(ckpt, EVERYTHING, SPEC, counts=COUNTS, dry_run=True)
    assert int(again.missing_forwards.sum()) == 0


def test_the_command_prints_it_and_writes_nothing(tmp_path: Path) -> None:
    tiny().save(tmp_path / "ckpt")
    output = tmp_path / "r.nc"
    command = ["evaluate", str(tmp_path / "ckpt"), "--suite", "knn", "--data", SPEC, "--counts", '{"train": 30}']
    done = CliRunner().invoke(app, [*command, "--dry-run", "-o", str(output)])
    assert done.exit_code == 0, done.output
    assert "train images" in done.output
    assert "nothing was written" in done.output
    assert "MB are free" in " ".join(done.output.split())
    assert not output.exists()


def test_outside_a_terminal_a_run_is_a_line_and_then_one_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    monkeypatch.delenv("PROBEKIT_PROGRESS", raising=False)
    with (
        progress.run("model on set", 1000, "1,000 forwards (train images 1,000)"),
        progress.bar("x", 1000, "forwards") as advance,
    ):
        for _ in range(100):
            clock[0] += 1
            advance(10)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "probekit: model on set: 1,000 forwards (train images 1,000)"
    assert lines[1] == "probekit: model on set: 10 of 1,000 forwards, 10 forwards/s, about 2 min left"
    assert len(lines) == 2 + 3
    monkeypatch.setenv("PROBEKIT_PROGRESS", "0")
    with progress.run("model on set", 1000, "much"), progress.bar("x", 1000, "forwards") as advance:
        clock[0] += 100
        advance(10)
    assert capsys.readouterr().err == ""
