"""Images of any shape and number of channels: trained on, resumed, read back, and read by transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_training_run import facts, interrupted, weights
from transformers import ViTMAEForPreTraining

import probekit
from probekit.data import ArraySet, Preprocess, TrainingStream
from probekit.errors import DataError, TrainingError
from probekit.training.scaling import scale_of

Options = Callable[..., dict[str, Any]]


def of_bands(channels: int) -> ArraySet:
    """Random pictures, each channel with a mean and a deviation of its own."""
    noise = np.random.default_rng(0).normal(size=(24, 16, 16, channels))
    pixels = np.clip(100 + 10 * np.arange(channels) + (20 - 2 * np.arange(channels)) * noise, 0, 255).astype(np.uint8)
    known = {"name": "bands", "spec": "bands", "split": "train", "classes": ["a", "b"], "origin": "stored"}
    return ArraySet(pixels, labels=np.arange(24) % 2, facts={}, **known)


@pytest.mark.parametrize("channels", [1, 6])
def test_training_on_any_number_of_channels(
    channels: int, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = of_bands(channels)
    whole = probekit.train(images, **options("whole"))
    interrupted(monkeypatch, images, options("halves"))
    probekit.train(images, **options("halves"))
    assert weights(tmp_path / "halves") == weights(tmp_path / "whole")
    assert facts(tmp_path / "halves") == facts(tmp_path / "whole")

    assert (whole.card.channels, whole.model.channels) == (channels, channels)
    pixels = np.stack([images[index] for index in range(24)]) / 255
    np.testing.assert_allclose(whole.card.mean, pixels.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(whole.card.std, pixels.std((0, 1, 2)), atol=1e-5)
    assert json.loads((tmp_path / "whole/settings.json").read_text())["settings"]["channels"] == channels
    assert json.loads((tmp_path / "whole/config.json").read_text())["num_channels"] == channels

    batch = torch.randn(2, channels, 16, 16, generator=torch.Generator().manual_seed(0))
    hidden = torch.zeros(2, 16, dtype=torch.bool)
    hidden[:, :8] = True
    theirs = ViTMAEForPreTraining.from_pretrained(tmp_path / "whole").eval()
    with torch.no_grad():
        predicted = theirs(batch, noise=hidden.float()).logits
        torch.testing.assert_close(whole.model.predict(batch, hidden), predicted, rtol=1e-4, atol=1e-5)
    processor = json.loads((tmp_path / "whole/preprocessor_config.json").read_text())
    np.testing.assert_allclose(processor["image_mean"], whole.card.mean, atol=1e-6)


def test_one_channel_goes_on_from_one_channel(options: Options, tmp_path: Path) -> None:
    first = probekit.train(of_bands(1), **options("first", images=16))
    sizes = ("width", "depth", "num_heads", "decoder_width", "decoder_depth", "decoder_num_heads", "image_size")
    rest = {name: value for name, value in options("next", images=16).items() if name not in sizes}
    assert probekit.train(of_bands(1), init=first, **rest).card.mean == first.card.mean
    with pytest.raises(DataError, match="6 channels and the model takes 1"):
        probekit.train(of_bands(6), init=first, **(rest | {"output": tmp_path / "other"}))
    assert not (tmp_path / "other").exists()


def test_a_run_of_grey_images_from_before_channels_were_a_setting_goes_on_with_three(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = of_bands(1)
    with pytest.warns(UserWarning, match="sees each grey image three times"):
        probekit.train(images, **options("whole", channels=3))
    with pytest.warns(UserWarning, match="sees each grey image three times"):
        interrupted(monkeypatch, images, options("older", channels=3))
    file = tmp_path / "older/settings.json"
    record = json.loads(file.read_text())
    for name in ("channels", "init", "init_sha256", "init_tensors"):
        del record["settings"][name]
    file.write_text(json.dumps(record))
    with pytest.warns(UserWarning, match="sees each grey image three times"):
        probekit.train(images, **options("older"))
    assert weights(tmp_path / "older") == weights(tmp_path / "whole")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"channels": 3}, DataError, "6 channels and the model takes 3"),
        ({"channels": 0}, TrainingError, "channels=0: expected at least 1"),
        ({"mean": (0.5,) * 6}, TrainingError, "mean= and std= go together"),
        ({"mean": (0.5,) * 3, "std": (0.5,) * 3}, TrainingError, "one for each channel of 6"),
    ],
)
def test_channels_that_do_not_fit(
    changes: dict[str, Any], error: type[Exception], message: str, options: Options
) -> None:
    with pytest.raises(error, match=message):
        probekit.train(of_bands(6), **options(**changes))


def test_a_channel_that_never_changes_is_said() -> None:
    images = np.zeros((4, 8, 8, 2), np.uint8)
    images[..., 1] = np.arange(8)
    bands = ArraySet(
        images, name="flat", spec="flat", split="train", classes=["a"], labels=np.zeros(4, np.int64), origin="stored",
        facts={},
    )  # fmt: skip
    with pytest.warns(UserWarning, match=r"channels \[0\] hold the same value"):
        scale = scale_of(bands, 2)
    assert scale["std"][0] == 1.0
    assert scale["std"][1] == pytest.approx(np.arange(8).std() / 255, abs=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_every_channel_is_augmented_alike(channels: int) -> None:
    """What happens to a channel is what would happen to it alone: crop, flip and filter are shared."""
    images = of_bands(channels)
    scale = (0.0,) * channels, (1.0,) * channels
    batch = TrainingStream(images, 8, Preprocess(8, 8, *scale), seed=1, augment=True).batch(2)
    alone = ArraySet(
        np.ascontiguousarray(images.pixels(np.arange(24))[..., -1:]), name="one", spec="one", split="train",
        classes=["a", "b"], labels=np.arange(24) % 2, origin="stored", facts={},
    )  # fmt: skip
    single = TrainingStream(alone, 8, Preprocess(8, 8, (0.0,), (1.0,)), seed=1, augment=True).batch(2)
    torch.testing.assert_close(batch[:, -1:], single, rtol=0, atol=1e-6)


def test_images_that_are_not_square(images: ArraySet, options: Options, tmp_path: Path) -> None:
    checkpoint = probekit.train(images, **options(images=16, image_size=(16, 8)))
    assert checkpoint.card.image_size == (16, 8)
    assert "encoder.blocks.0.attn.qkv.weight" in load_file(tmp_path / "run/model.safetensors")
