"""Recovery: the regressions and shares on known answers, and one small training run of each kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from probekit.latents import GeneratingProcess, GraphError, LatentGraph, examples, recover, recover_many
from probekit.latents.autoencoder import VectorAutoencoders
from probekit.latents.recovery import _r2, _shares, binary_tree

QUICK = {"steps": 150, "samples": 1024, "test_samples": 200, "width": 32, "batch_size": 128}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_regressions_find_what_is_there_and_nothing_else() -> None:
    x = rng().standard_normal((800, 3))
    curved, unrelated = np.sin(2 * x[:, :1]) + x[:, 1:2] ** 2, rng(1).standard_normal((800, 2))
    targets = [x @ np.ones((3, 2)), curved, unrelated]
    straight = [_r2(x, target, kernel=False, seed=0)[0] for target in targets]
    kernel = [_r2(x, target, kernel=True, seed=0)[0] for target in targets]
    assert straight[0] > 0.999
    assert kernel[0] > 0.99
    assert straight[1] < 0.2
    assert kernel[1] > 0.9
    assert max(straight[2], kernel[2]) < 0.05


def test_intervals_hold_the_value_and_shrink() -> None:
    widths = []
    for size in (100, 2000):
        x = rng().standard_normal((size, 1))
        value, (low, high) = _r2(x, x + rng(1).standard_normal((size, 1)), kernel=False, seed=0)
        assert low < value < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


def test_share_of_known_codes() -> None:
    kept, fresh = rng().standard_normal((1500, 2)), rng(1).standard_normal((2, 1500, 2))
    found = _shares([kept, kept + fresh[0], fresh[0]], [kept, kept + fresh[1], fresh[1]], seed=0)
    shares, intervals = found["share_of_c"][1], found["share_of_c_ci"][1]
    np.testing.assert_allclose(shares, [1, 0.5, 0], atol=0.08)
    np.testing.assert_allclose(intervals[0], 1)
    assert intervals[1, 0] < shares[1] < intervals[1, 1]


def test_a_models_bottleneck_is_its_own() -> None:
    model = VectorAutoencoders(6, 4, [1, 3], width=8, layers=1, seed=0)
    codes = model.codes(rng().standard_normal((5, 6)))
    assert [code.shape for code in codes] == [(5, 1), (5, 3)]
    coded = model.encode(torch.randn(5, 6))
    assert torch.equal(coded[0, :, 1:], torch.zeros(5, 2))
    assert model(torch.randn(5, 6)).shape == (2, 5, 4)


def test_the_default_examples_cover_the_papers_kinds() -> None:
    worlds = examples()
    kinds = [(world.name, kind) for world in worlds for kind in world.masks]
    assert len(kinds) >= 10
    tree = worlds[0]
    graph = tree.process.graph
    assert graph.shared(tree.masks["ideal"]) == {("z", 3, 0)}
    for kind in ("conservative", "aggressive"):
        assert {z[1] for z in graph.shared(tree.masks[kind]) if isinstance(z, tuple)} == {1}


def test_training_recovers_c_and_drops_the_rest() -> None:
    process = GeneratingProcess(binary_tree(2, {2: 1, 1: 1, 0: 1}), seed=1, depth=1, slope=0.5, noise_scale=0.5)
    ds = recover(process, [("x", 0), ("x", 1)], **QUICK)
    nonlinear = ds.sel(regressor="nonlinear")
    assert nonlinear.c_from_code.sel(encoder="matched") > 0.8
    assert nonlinear.specific_from_code.sel(encoder="matched") < 0.1
    assert ds.share_of_c.sel(encoder="matched") > ds.share_of_c.sel(encoder="untrained")
    assert ds.loss.sel(encoder="matched") < ds.loss.sel(encoder="untrained")
    assert ds.bottleneck.to_numpy().tolist() == [1, 1, 2, 1]
    assert (int(ds.c_dim), float(ds.c_height), float(ds.hidden_share)) == (1, 2.0, 0.5)
    for name in ("c_from_code", "code_from_c", "share_of_c"):
        interval = ds[f"{name}_ci"]
        assert (interval.sel(bound="lower") <= ds[name]).all()
        assert (ds[name] <= interval.sel(bound="upper")).all()


def test_masks_with_nothing_shared_are_counted_and_left_out_of_means() -> None:
    process = GeneratingProcess(LatentGraph([("a", "x"), ("a", "y"), ("b", "w")]), calibration=64)
    ds = recover_many(process, [["w"], ["x"]], steps=5, samples=64, test_samples=60)
    assert ds.attrs["empty"] == 1
    assert ds.c_dim.to_numpy().tolist() == [0, 1]
    assert ds.c_from_code.isnull().all(("encoder", "regressor")).to_numpy().tolist() == [True, False]
    assert not ds.c_from_code.mean("mask").isnull().any()


@pytest.mark.parametrize("hidden", [[], ["x", "y"]])
def test_one_sided_masks_are_refused(hidden: list[str]) -> None:
    process = GeneratingProcess(LatentGraph([("a", "x"), ("a", "y")]), calibration=64)
    with pytest.raises(GraphError, match="hide at least one and leave one visible"):
        recover(process, hidden)


@pytest.mark.slow
def test_theorem_two_on_the_default_examples() -> None:
    found = [recover_many(world.process, list(world.masks.values())) for world in examples()]
    c = np.concatenate([ds.c_from_code.sel(encoder="matched", regressor="nonlinear") for ds in found])
    s_v = np.concatenate([ds.specific_from_code.sel(encoder="matched", regressor="nonlinear") for ds in found])
    assert len(c) >= 10
    assert np.nanmean(c) >= 0.9
    assert np.nanmean(c) - np.nanmean(s_v) >= 0.5
