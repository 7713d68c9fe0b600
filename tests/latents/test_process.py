"""The generating process: exact inverses, shared draws, and that Theorem 1's conditions hold in its numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probekit.latents import GeneratingProcess, GraphError, LatentGraph
from probekit.latents.families import quadtree_position

QUADTREE = LatentGraph.quadtree(4, {4: 4, 3: 2, 2: 2, 1: 2, 0: 4})


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), slope=st.floats(0.2, 1.0), depth=st.integers(1, 3), scale=st.floats(0.2, 2.0))
def test_the_inverse_is_exact_on_random_graphs(seed: int, slope: float, depth: int, scale: float) -> None:
    graph = LatentGraph.random((2, 3, 5, 8), max_parents=2, skip=0.3, noise_dims=2, seed=seed)
    process = GeneratingProcess(graph, seed=seed, slope=slope, depth=depth, noise_scale=scale, calibration=64)
    draw = process.draw(16, rng(seed))
    back = process.invert(draw.observables)
    assert set(back) == set(graph.nodes)
    for node in graph.nodes:
        np.testing.assert_allclose(back[node], draw[node], atol=1e-8)
        np.testing.assert_allclose(back.noise[node], draw.noise[node], atol=1e-8)


def test_the_inverse_holds_in_single_precision_at_height_four() -> None:
    process = GeneratingProcess(QUADTREE, seed=3)
    draw = process.draw(500, rng())
    single = {node: array.astype(np.float32) for node, array in draw.observables.items()}
    back = process.invert(single, dtype=np.float32)
    assert back[QUADTREE.latents[0]].dtype == np.float32
    assert max(np.abs(back[node] - draw[node]).max() for node in QUADTREE.latents) < 1e-4


def test_dimensions_are_the_graphs() -> None:
    draw = GeneratingProcess(QUADTREE, calibration=0).draw(3, rng())
    for node, dim, noise_dim in zip(QUADTREE.nodes, QUADTREE.dims, QUADTREE.noise_dims, strict=True):
        assert draw[node].shape == (3, dim)
        assert draw.noise[node].shape == (3, noise_dim)


def test_values_are_standardised_by_calibration() -> None:
    process = GeneratingProcess(QUADTREE, noise_scale={0: 0.5, 1: 2.0, 2: 1.0, 3: 1.0})
    draw = process.draw(2000, rng())
    for height in range(5):
        level = draw.level(height)
        assert np.abs(level.mean(0)).max() < 0.25
        assert np.abs(level.std(0) - 1).max() < 0.2


@pytest.mark.parametrize("samples", [1, 31, 100])
def test_values_come_from_the_noise_alone(samples: int) -> None:
    process = GeneratingProcess(QUADTREE, seed=1)
    first, again, other = (process.draw(samples, rng(seed)) for seed in (5, 5, 6))
    assert all(np.array_equal(first[node], again[node]) for node in QUADTREE.nodes)
    assert not any(np.array_equal(first[node], other[node]) for node in QUADTREE.nodes)
    top = QUADTREE.latents[0]
    assert np.array_equal(first[top], first.noise[top])


def test_a_visible_side_determines_c_and_not_the_rest() -> None:
    """Theorem 1's first condition in numbers: c comes back from either side alone."""
    process = GeneratingProcess(QUADTREE, seed=2)
    draw = process.draw(50, rng())
    hidden = [("x", row, column) for row in range(8) for column in range(4)]
    visible = [x for x in QUADTREE.observables if x not in hidden]
    c, (s_m, s_v) = QUADTREE.shared(hidden), QUADTREE.specific(hidden)
    for side, own, other in ((hidden, s_m, s_v), (visible, s_v, s_m)):
        back = process.invert({x: draw[x] for x in side})
        assert all(np.allclose(back[z], draw[z]) for z in c)
        assert set(back) >= own
        assert not set(back) & other


def test_a_partner_shares_what_is_kept_and_its_ancestors_only() -> None:
    process = GeneratingProcess(QUADTREE, root="mixture", noise_scale=0.7)
    draw = process.draw(400, rng())
    keep = ("z", 2, 1, 2)
    partner = process.redraw(draw, [keep], rng(1))
    kept = {keep, ("z", 3, 0, 1), ("z", 4, 0, 0)}
    for node in QUADTREE.nodes:
        assert np.array_equal(partner.noise[node], draw.noise[node]) == (node in kept)
        assert np.array_equal(partner[node], draw[node]) == (node in kept)
    assert np.array_equal(partner.labels, draw.labels)
    assert not np.array_equal(process.redraw(draw, [], rng(1)).labels, draw.labels)
    same = process.redraw(draw, QUADTREE.observables, rng(1))
    assert all(np.array_equal(same[node], draw[node]) for node in QUADTREE.nodes)
    fresh = process.redraw(draw, [], rng(1))[keep]
    assert np.abs(np.corrcoef(fresh.T, draw[keep].T)[: fresh.shape[1], fresh.shape[1] :]).max() < 0.2


def test_tied_nodes_share_their_function() -> None:
    process = GeneratingProcess(QUADTREE, tie=quadtree_position)
    by_node = {
        tuple(QUADTREE.nodes[p]): (b, r) for b, blk in enumerate(process.blocks) for r, p in enumerate(blk.positions)
    }

    def weights(node: tuple[object, ...]) -> np.ndarray:
        block, row = by_node[node]
        return np.concatenate(
            [process.blocks[block].weights[:, row].ravel(), process.blocks[block].offset[:, row].ravel()]
        )

    np.testing.assert_allclose(weights(("z", 1, 0, 1)), weights(("z", 1, 4, 7)))
    np.testing.assert_allclose(weights(("x", 0, 1)), weights(("x", 4, 6)))
    assert not np.allclose(weights(("z", 1, 0, 1)), weights(("z", 1, 0, 0)))
    with pytest.raises(GraphError, match="one function, but their shapes or heights differ"):
        GeneratingProcess(QUADTREE, tie=lambda node: "all")


def test_labels_are_the_components_of_the_top_latent() -> None:
    process = GeneratingProcess(QUADTREE, root="mixture", n_classes=4, mixture_spread=8.0)
    draw = process.draw(4000, rng())
    top, labels = draw[QUADTREE.latents[0]], draw.labels
    assert labels is not None
    assert np.abs(np.bincount(labels, minlength=4) / 4000 - 0.25).max() < 0.05
    centres = np.stack([top[labels == label].mean(0) for label in range(4)])
    nearest = np.linalg.norm(top[:, None] - centres, axis=2).argmin(1)
    assert (nearest == labels).mean() > 0.99
    assert abs(top.var(0).mean() - 1) < 0.1


def test_datasets_round_trip() -> None:
    graph = LatentGraph([("a", "x"), ("a", "y"), ("b", "y")], noise_dims={"a": 2, "b": 1, "x": 1, "y": 2})
    process = GeneratingProcess(graph, root="mixture", n_classes=3)
    ds = process.sample(20, seed=4)
    assert ds.identical(process.sample(20, seed=4))
    assert dict(ds.sizes) == {"sample": 20, "latents_component": 3, "observables_component": 8, "noise_component": 6}
    assert ds.latents_node.to_numpy().tolist() == ["a", "a", "b"]
    back = process.invert(ds)
    np.testing.assert_allclose(back.latents, ds.latents, atol=1e-9)
    np.testing.assert_allclose(process.invert(ds.observables).noise, ds.noise, atol=1e-9)
    partner = process.resample(ds, ["a"], seed=1)
    kept = (ds.latents_node == "a").to_numpy()
    assert (partner.latents == ds.latents).all("sample").to_numpy().tolist() == kept.tolist()
    assert partner.label.identical(ds.label)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slope": 0.0}, "slope=0.0"),
        ({"depth": 0}, "depth=0"),
        ({"noise_scale": 0.0}, "noise_scale at height 0 is 0.0"),
        ({"noise_scale": {0: 1.0}}, "noise_scale at height 1 is None"),
        ({"root": "mixtur"}, "Did you mean 'mixture'"),
        ({"root": "mixture", "n_classes": 1}, "n_classes=1"),
    ],
)
def test_settings_out_of_range_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        GeneratingProcess(QUADTREE, **arguments)  # type: ignore[arg-type]


def test_what_cannot_be_inverted_is_refused() -> None:
    process = GeneratingProcess(LatentGraph([("a", "x"), ("a", "y")]))
    draw = process.draw(4, rng())
    with pytest.raises(GraphError, match="no latents"):
        process.invert({"a": draw["a"]})
    with pytest.raises(GraphError, match=r"'x' has shape \(4, 1\); expected \(4, 2\)"):
        process.invert({"x": draw["a"]})
    with pytest.raises(GraphError, match="expected 4"):
        process.invert(draw.to_dataset().observables[:, :3])
    with pytest.raises(GraphError, match="no common array"):
        GeneratingProcess(LatentGraph([("a", "x"), ("a", "y"), ("b", "y")])).draw(2, rng()).level(0)
