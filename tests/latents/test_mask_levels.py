"""Expected levels: the quadtree's exact answers, definitions recomputed node by node, intervals, and refusals."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from probekit.errors import MaskError
from probekit.latents import GraphError, LatentGraph, expected_levels
from probekit.latents.mask_levels import (
    PER_LEVEL,
    VARIABLES,
    binding_levels,
    describe,
    observable_grid,
    sample_masks,
)
from probekit.latents.nodes import Node

QUADTREE = LatentGraph.quadtree(3)


def by_hand(graph: LatentGraph, hidden: set[Node]) -> dict[Node, int]:
    """Binding level of each hidden observable, by walking up."""
    found = {}
    visible = set(graph.observables) - hidden
    for x in hidden:
        above = [z for z, inside in zip(graph.latents, graph.closure([x]), strict=False) if inside]
        bound = [z for z in above if any(graph.closure([seen])[graph.index[z]] for seen in visible)]
        found[x] = min((int(graph.heights[graph.index[z]]) for z in bound), default=0)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_every_quantity_equals_its_definition(seed: int) -> None:
    graph = LatentGraph.random((2, 3, 5, 7), max_parents=2, skip=0.4, noise_dims={3: 2, 2: 1, 1: 3, 0: 1}, seed=seed)
    hidden = np.random.default_rng(seed).random((12, 7)) < np.linspace(0.1, 0.9, 12)[:, None]
    found = describe(graph, hidden, high=2)
    bound = binding_levels(graph, hidden)
    for row, mask in enumerate(hidden):
        names = {x for x, off in zip(graph.observables, mask, strict=True) if off}
        c = graph.shared(names)
        heights = [int(graph.heights[graph.index[z]]) for z in c]
        expected = by_hand(graph, names)
        assert {x: level for x, level, off in zip(graph.observables, bound[row], mask, strict=True) if off} == expected
        assert found["empty"][row] == (not c)
        assert found["dimension"][row] == graph.dim(c)
        assert found["intrinsic_dimension"][row] == graph.intrinsic_dim(c)
        assert found["high_level"][row] == (bool(c) and min(heights) >= 2)
        assert found["touched"][row].tolist() == [level in heights for level in (1, 2, 3)]
        levels = [level for level in expected.values() if level]
        np.testing.assert_allclose(found["mean_height"][row], np.mean(heights) if c else np.nan)
        np.testing.assert_allclose(found["binding_level"][row], np.mean(levels) if levels else np.nan)


def test_monte_carlo_agrees_with_all_masks_of_a_small_quadtree() -> None:
    every = np.zeros((1820, 16), dtype=bool)
    for row, chosen in enumerate(combinations(range(16), 4)):
        every[row, list(chosen)] = True
    exact = {name: np.nanmean(values, axis=0) for name, values in describe(QUADTREE, every, high=2).items()}
    ds = expected_levels(QUADTREE, [0.25], [1], n_masks=4000, seed=1)
    for name in VARIABLES:
        mean, interval = ds[name].to_numpy()[0, 0], ds[f"{name}_ci"].to_numpy()[0, 0]
        slack = 0.5 * (interval[..., 1] - interval[..., 0]) + 1e-9
        assert (interval[..., 0] - slack <= exact[name]).all(), name
        assert (exact[name] <= interval[..., 1] + slack).all(), name
        assert ((interval[..., 0] <= mean) & (mean <= interval[..., 1])).all()


def test_on_a_quadtree_the_patch_size_sets_the_height_and_the_ratio_the_binding() -> None:
    ds = expected_levels(LatentGraph.quadtree(4), [0.1, 0.5, 0.9], [4, 8, 16], n_masks=400, observable_size=4)
    # Not exactly 2, 3, 4: a mask that happens to hide whole subtrees asks for something higher.
    assert np.abs(ds.mean_height - np.array([2, 3, 4])).max() < 0.02
    assert (ds.binding_level.diff("mask_ratio").sel(patch_size=[4, 8]) > 0).all()
    assert (ds.binding_level.sel(patch_size=16) == 4).all()
    assert ds.real_ratio.sel(patch_size=16).to_numpy().tolist() == [0.25, 0.5, 0.75]
    np.testing.assert_allclose(ds.level_share.sum("level"), 1)
    np.testing.assert_allclose(ds.binding_share.sum("level"), 1)


def test_structure_masks_of_whole_quadrants_ask_for_the_root() -> None:
    ds = expected_levels(LatentGraph.quadtree(4), [0.75], [1], n_masks=50, strategy="structure")
    assert ds.mean_height.item() == 4
    assert ds.high_level.item() == 1
    assert ds.high_level_ci.sel(bound="lower").item() < 1


def test_the_quadtree_is_one_graph_among_others() -> None:
    """The same tree under other names gives the same answers for the same masks."""
    other = LatentGraph(
        [tuple("".join(map(str, node)) for node in edge) for edge in QUADTREE.networkx.edges],
        ["".join(map(str, x)) for x in QUADTREE.observables],
    )
    hidden = sample_masks(QUADTREE, 100, mask_ratio=0.5, patch_size=1, seed=0)
    first, second = describe(QUADTREE, hidden, high=2), describe(other, hidden, high=2)
    assert all(np.array_equal(first[name], second[name], equal_nan=True) for name in VARIABLES)


def test_runs_of_observables_on_other_graphs() -> None:
    graph = LatentGraph.random((1, 3, 7), seed=0)
    assert observable_grid(graph) is None
    assert observable_grid(QUADTREE) == (4, 4)
    hidden = sample_masks(graph, 50, mask_ratio=0.5, patch_size=3, seed=0)
    assert hidden.shape == (50, 7)
    assert (hidden[:, 0:3].all(1) | ~hidden[:, 0:3].any(1)).all()
    assert set(hidden.sum(1).tolist()) <= {4, 6}


def test_masks_of_one_pair_do_not_depend_on_the_others() -> None:
    one = expected_levels(QUADTREE, [0.5], [1], n_masks=50, seed=3)
    many = expected_levels(QUADTREE, [0.25, 0.5], [1, 2], n_masks=50, seed=3)
    assert one.equals(many.sel(mask_ratio=[0.5], patch_size=[1]))
    assert not one.equals(expected_levels(QUADTREE, [0.5], [1], n_masks=50, seed=4))


def test_a_mask_without_c_counts_as_empty_and_not_as_low() -> None:
    ds = expected_levels(LatentGraph([("a", "x"), ("b", "y")]), [0.5], [1], n_masks=20)
    assert ds.empty.item() == 1
    assert np.isnan(ds.mean_height.item())
    assert np.isnan(ds.binding_level.item())
    assert ds.intrinsic_dimension.item() == 0
    assert ds.touched.to_numpy().ravel().tolist() == [0]


def test_variables_are_described() -> None:
    ds = expected_levels(QUADTREE, [0.5], [1], n_masks=10)
    for name in VARIABLES:
        assert ds[name].attrs["long_name"]
        assert ds[f"{name}_ci"].dims == (*ds[name].dims, "bound")
        assert ("level" in ds[name].dims) == (name in PER_LEVEL)


def test_impossible_masks_are_refused() -> None:
    with pytest.raises(MaskError, match="between 0 and 1"):
        expected_levels(QUADTREE, [1.5])
    with pytest.raises(MaskError, match="Units that fit"):
        expected_levels(QUADTREE, [0.5], [3])
    with pytest.raises(GraphError, match="two masks"):
        expected_levels(QUADTREE, [0.5], [1], n_masks=1)
