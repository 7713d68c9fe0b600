"""The level ladder and the mask response, as probes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_measured import tiny

import probekit
from probekit.data import load
from probekit.measures.ladder import SCALINGS, ladder
from probekit.models import MaskedAutoencoder

COUNTS = {"train": 20, "val": 20, "test": 40, "ladder": 40, "masked": 40}


class MaskBlind(MaskedAutoencoder):
    """Sees every patch, whatever is hidden."""

    def trace(self, images, hidden=None, *, attention=True):
        return super().trace(images, attention=attention)


def test_the_ladder_is_that_of_the_features() -> None:
    checkpoint = tiny()
    ds = probekit.evaluate(checkpoint, suite="level_ladder", data="shapes", counts=COUNTS, cache=False)
    images = load("shapes", "test", count=40)
    assert ds.ladder_share.dims == ("checkpoint", "data", "layer", "pooling", "scaling", "rung")
    assert ds.rung.values.tolist() == ["pixel", "appearance", "layout", "image", "class", "superclass"]
    shares = ds.ladder_share.sel(rung=["pixel", "appearance", "layout", "image", "class"]).isel(layer=-1)
    np.testing.assert_allclose(shares.sel(scaling="raw").sum("rung"), 1, atol=1e-5)
    assert np.isnan(ds.ladder_share.sel(rung="superclass")).all()
    assert "superclass" in json.dumps(json.loads(ds.attrs["not_applicable"]))
    assert (ds.ladder_level_ci.sel(bound="lower") <= ds.ladder_level).where(ds.ladder_level.notnull(), True).all()

    from probekit.collect import PreparedModel
    from probekit.collect.ladder import LadderSource
    from probekit.collect.pass_settings import PassSettings

    prepared = PreparedModel(checkpoint, PassSettings())
    views = LadderSource(images, 40, 0).views(prepared).batch(np.arange(40))
    tokens = checkpoint.model.encode(views.flatten(0, 1)).detach()
    features = checkpoint.model.pool(tokens, "mean").reshape(40, 4, -1).numpy()
    expected = ladder(features, images.labels).level
    found = ds.ladder_level.isel(layer=-1).sel(pooling="mean", scaling="raw").item()
    assert found == pytest.approx(expected, abs=1e-4)


def test_a_mask_blind_encoder_is_flat_and_a_seeing_one_is_not() -> None:
    blind, seeing = tiny(), tiny()
    blind.model.__class__ = MaskBlind
    options = {"mask_response": {"pixels": False}}
    for checkpoint, flat in ((blind, True), (seeing, False)):
        ds = probekit.evaluate(
            checkpoint, suite="mask_response", data="shapes", counts=COUNTS, options=options, cache=False
        )
        assert ds.response_similarity.dims[2:] == ("eval_mask_ratio", "eval_patch_size", "layer")
        last = ds.isel(layer=-1, checkpoint=0, data=0)
        np.testing.assert_allclose(last.response_similarity.sel(eval_mask_ratio=0), 1, atol=1e-6)
        spread = float(last.response_similarity.max() - last.response_similarity.min())
        level = float(last.response_level.max() - last.response_level.min())
        assert (spread < 1e-6) == flat
        assert (level < 1e-6) == flat
        assert (float(last.response_cka.min()) > 1 - 1e-6) == flat


def test_hidden_pixels_are_measured_where_there_is_a_decoder() -> None:
    options = {"mask_response": {"level": False}}
    ds = probekit.evaluate(tiny(), suite="mask_response", data="shapes", counts=COUNTS, options=options, cache=False)
    assert np.isnan(ds.response_mse.sel(eval_mask_ratio=0)).all()
    assert np.isfinite(ds.response_mse.sel(eval_mask_ratio=[0.1, 0.95])).all()
    assert ds.response_hidden.sel(eval_mask_ratio=0.5).item(0) == pytest.approx(0.5)
    assert "response_level" not in ds


def halves(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that differ in which half is a little brighter, under noise of every kind."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = 128 + 30 * rng.normal(size=(count, 1, 1, 3)) + 30 * rng.normal(size=(count, 16, 16, 3))
    pixels[:, :8] += 25 * (2 * labels - 1)[:, None, None, None]
    return pixels.clip(0, 255).astype(np.uint8), labels


@pytest.mark.filterwarnings("ignore:.*normalis.*:UserWarning")
def test_supervision_lifts_the_ladder_of_the_encoder_that_it_begins_with(tmp_path: Path) -> None:
    """The order on CIFAR-10 (`analyses/supervision`), on images of two classes: class shares and level rise."""
    data = {split: halves(*size) for split, size in {"train": (160, 0), "val": (40, 1), "test": (160, 2)}.items()}
    start = probekit.load(tiny().model, device="cpu", mask_ratio=0.75, patch_size=4)
    recipe = {"preset": "tiny", "epochs": 6, "batch_size": 16, "base_lr": 0.1, "device": "cpu", "threads": 1}
    taught = probekit.finetune(start, data, output=tmp_path / "taught", **recipe)
    found = [
        probekit.evaluate(
            one, "level_ladder", data, layers=[-1], poolings=["mean"], counts={"test": 160, "ladder": 160}, cache=False
        ).squeeze()
        for one in (start, taught)
    ]
    shares = [[ds.ladder_share.sel(rung="class", scaling=one).item() for one in SCALINGS] for ds in found]
    assert (np.array(shares[1]) > 2 * np.array(shares[0])).all(), shares
    for scaling in ("raw", "standardised"):
        before, after = (ds.sel(scaling=scaling).ladder_level_ci for ds in found)
        assert after.sel(bound="lower") > before.sel(bound="upper"), scaling
