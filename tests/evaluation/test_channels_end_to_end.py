"""Reconstructions of any number of channels, and one normalisation stated in many ways: the same numbers."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

import probekit
from probekit import schema
from probekit.measures import fsim, images
from probekit.models import MaskedAutoencoder

SIZES = {
    "image_size": (32, 32), "vit_patch_size": 8, "width": 32, "depth": 1, "num_heads": 2, "decoder_width": 32,
    "decoder_depth": 1, "decoder_num_heads": 2,
}  # fmt: skip


def names_of_mae(model: MaskedAutoencoder) -> dict[str, torch.Tensor]:
    out = {}
    for name, tensor in model.state_dict().items():
        part, _, rest = name.partition(".")
        if part in ("encoder", "decoder"):
            out[rest if part == "encoder" or rest == "mask_token" else f"decoder_{rest}"] = tensor
    return out


@pytest.mark.filterwarnings("ignore::probekit.models.card.CheckpointWarning")
@pytest.mark.parametrize("channels", [1, 2, 13])
def test_masked_psnr_is_the_same_however_the_normalisation_is_told(channels, tmp_path) -> None:
    mean, std = ([round(low + 0.02 * c, 2) for c in range(channels)] for low in (0.2, 0.3))
    model = MaskedAutoencoder.create(**SIZES, channels=channels, mean=mean, std=std, seed=0)
    state, told = names_of_mae(model), {"num_heads": 2, "decoder_num_heads": 2, "normalised_targets": True}
    scale = {"mean": mean, "std": std}
    torch.save({"model": state}, tmp_path / "stated.pth")
    torch.save({"model": state, "args": argparse.Namespace(**scale, norm_pix_loss=True)}, tmp_path / "args.pth")
    (tmp_path / "beside").mkdir()
    torch.save(state, tmp_path / "beside" / "weights.pth")
    preprocessor = json.dumps({"image_mean": mean, "image_std": std})
    (tmp_path / "beside" / "preprocessor_config.json").write_text(preprocessor)
    heads = {"num_heads": 2, "decoder_num_heads": 2}
    stated = probekit.load(tmp_path / "stated.pth", **told, **scale)
    checkpoints = {
        "stated": stated,
        "args": probekit.load(tmp_path / "args.pth", **heads),
        "preprocessor": probekit.load(tmp_path / "beside", **told),
        "transformers": probekit.load(stated.save(tmp_path / "theirs")),
        "probekit": probekit.load(stated.save(tmp_path / "ours", format="probekit")),
    }
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, channels), dtype=np.uint8)
    data = {"train": (pixels[:8], np.arange(8) % 2), "test": (pixels[8:], np.arange(12) % 2)}
    found = {name: probekit.evaluate(one, "reconstruction", data, cache=False) for name, one in checkpoints.items()}
    first = found.pop("stated")
    assert np.isfinite([float(first[name].squeeze()) for name in ("psnr", "masked_psnr", "ssim", "masked_ssim")]).all()
    for name, other in found.items():
        for variable in ("masked_psnr", "masked_ssim", "psnr"):
            np.testing.assert_allclose(other[variable], first[variable], rtol=0, atol=2e-3, err_msg=name)
    assert first.example_image.sizes["channel"] == channels
    lacking = schema.not_applicable(first).get("stated", {})
    assert ("fsim" in first) == (channels == 1)
    assert (f"these have {channels} channels" in lacking.get("fsim", "")) == (channels != 1)


def test_metrics_of_channels_that_are_no_colours() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.random((2, 3, 5, 32, 32))
    expected = [
        structural_similarity(a, b, data_range=1, channel_axis=0, gaussian_weights=True, sigma=1.5,
                              use_sample_covariance=False)
        for a, b in zip(one, other, strict=True)
    ]  # fmt: skip
    np.testing.assert_allclose(images.ssim(one, other), expected, atol=1e-7)
    np.testing.assert_allclose(images.mse(one, other), ((one - other) ** 2).mean((1, 2, 3)))
    grey, blurred = one[:, :1], one[:, :1] * 0.5 + 0.2
    colours = [np.repeat(picture, 3, axis=1) for picture in (grey, blurred)]
    np.testing.assert_allclose(fsim.fsim(grey, blurred), fsim.fsim(*colours), atol=1e-6)
