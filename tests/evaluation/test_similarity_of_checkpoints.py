"""`probekit.similarity`: labels, known answers, one model at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import probekit
from probekit import schema
from probekit.data import load
from probekit.data.interleaving import Subset
from probekit.errors import ProbeError

HALF = {"patch_size": 16, "image_size": 64, "mean": (0.5,) * 3, "std": (0.5,) * 3}


def encoder(name, transform, layers=3):
    def encode(images):
        tokens = torch.nn.functional.unfold(images, 16, stride=16).transpose(1, 2)[..., ::16]
        found = [tokens]
        for _ in range(layers - 1):
            found.append(transform(found[-1]))
        return found

    return probekit.Encoder.wrap(encode, name=name, **HALF)


def test_similarity_between_three_encoders(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PROBEKIT_CACHE", str(tmp_path))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rotation = torch.linalg.qr(torch.randn(48, 48))[0]
    kinds = [
        encoder("a", torch.tanh),
        encoder("rotated", lambda x: torch.tanh(x) @ rotation, 2),
        encoder("noise", lambda x: torch.sin(1e4 * x @ rotation)),
    ]
    ds = probekit.similarity(kinds, "shapes", images=40, metrics=["cka", "mutual_knn"])
    assert ds.similarity.dims == ("checkpoint", "data", "other", "metric", "layer")
    assert schema.problems(ds) == []
    found = ds.similarity.isel(data=0).sel(metric="cka")
    assert np.isnan(found.sel(checkpoint="a", other="a")).all()
    same = found.sel(checkpoint="a", other="rotated", layer=0)
    assert same == pytest.approx(1, abs=1e-6)
    assert found.sel(checkpoint="a", other="noise", layer=2) < 0.5
    assert ds.layer_matched.sel(checkpoint="a", other="rotated").values.tolist() == [0, 0, 1]
    assert np.isnan(found.sel(checkpoint="rotated", other="a", layer=2))  # it has two layers

    square = probekit.similarity(kinds[:2], "shapes", images=40, metrics=["cka"], every_layer=True)
    assert square.layer_similarity.sizes["layer_other"] == 3
    one = square.layer_similarity.sel(checkpoint="a", other="rotated", metric="cka").squeeze()
    assert one.sel(layer=1, layer_other=1) > one.sel(layer=1, layer_other=0)
    assert one.sel(layer=1, layer_other=1) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_neither_batches_nor_the_order_of_images_matter(batch_size) -> None:
    images = load("shapes", "test", count=40)
    shuffled = Subset(images, np.random.default_rng(0).permutation(40), {"order": "shuffled"})
    kinds = [encoder("a", torch.tanh, 2), encoder("b", torch.sin, 2)]
    first, other = (
        probekit.similarity(kinds, one, images=40, cache=False, batch_size=size)
        for one, size in ((images, 64), (shuffled, batch_size))
    )
    for name in ("similarity", "similarity_ci", "similarity_raw", "similarity_null"):
        np.testing.assert_allclose(other[name].values, first[name].values, rtol=1e-5, atol=1e-7, err_msg=name)


def test_what_is_refused() -> None:
    with pytest.raises(ProbeError, match="two or more checkpoints, got 1"):
        probekit.similarity([encoder("a", torch.tanh)], "shapes")
    with pytest.raises(ProbeError, match="No similarity is called"):
        probekit.similarity([encoder("a", torch.tanh)] * 2, "shapes", metrics=["ckaa"])
    with pytest.raises(ProbeError, match="a has no pooling 'cls'"):
        probekit.similarity([encoder("a", torch.tanh)] * 2, "shapes", images=20, pooling="cls", cache=False)
