"""Theorem 1 against brute force on its three conditions, the paper's worked examples, and what a graph refuses."""

from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probekit.latents import GraphError, LatentGraph
from probekit.latents.nodes import Node

Nodes = frozenset[Node]


@st.composite
def small_graphs(draw: st.DrawFn) -> LatentGraph:
    """Up to 6 latents and 4 observables, any edges downwards, every latent with an observable descendant."""
    latents, seen = draw(st.integers(1, 6)), draw(st.integers(2, 4))
    names = [f"z{i}" for i in range(latents)] + [f"x{i}" for i in range(seen)]
    edges = []
    for child in range(1, latents + seen):
        above = range(min(child, latents))
        chosen = draw(st.lists(st.sampled_from(list(above)), max_size=3, unique=True))
        edges += [(names[parent], names[child]) for parent in chosen]
    for parent in reversed(range(latents)):
        if not any(names[parent] == edge[0] for edge in edges):
            edges.append((names[parent], names[draw(st.integers(max(parent + 1, latents), latents + seen - 1))]))
    dims = {name: draw(st.integers(1, 3)) for name in names}
    return LatentGraph(edges, names[latents:], dims)


def ancestors(graph: LatentGraph, nodes: Nodes) -> Nodes:
    """The nodes and all their ancestors, by walking up."""
    found: set[Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        found.add(node)
        waiting += [parent for parent in graph.networkx.pred[node] if parent not in found]
    return frozenset(found)


def brute_force(graph: LatentGraph, hidden: Nodes) -> tuple[list[Nodes], Nodes]:
    """All sets c of smallest total dimension that satisfy Theorem 1, and their s_m.

    With invertible modules a set of vectors is known if and only if the noise of all ancestors is. So a side's
    information is the noise of its ancestors, a set's the noise of its own, and

    1. `x_side = g(c, s)` invertible: c's information is within the side's, and s is the rest of the side's, no overlap;
    2. s_m independent of (c, s_v): s_m shares no noise with either;
    3. the smallest sum of dimensions.
    """
    visible = frozenset(graph.observables) - hidden
    sides = ancestors(graph, hidden), ancestors(graph, visible)
    within = {z: above for z in graph.latents if (above := ancestors(graph, frozenset([z]))) <= sides[0] & sides[1]}
    found: list[tuple[int, Nodes, Nodes]] = []
    for subset in chain.from_iterable(combinations(within, size) for size in range(len(within) + 1)):
        c = frozenset[Node]().union(*(within[z] for z in subset))  # a set is within the sides if each of its latents is
        s_m, s_v = sides[0] - c, sides[1] - c
        if s_m & (c | s_v):
            continue
        found.append((graph.dim(subset), frozenset(subset), s_m))
    least = min(total for total, _, _ in found)
    best = [(c, s_m) for total, c, s_m in found if total == least]
    return [c for c, _ in best], best[0][1]


@settings(max_examples=250, deadline=None)
@given(graph=small_graphs(), data=st.data())
def test_shared_is_the_unique_smallest_set(graph: LatentGraph, data: st.DataObject) -> None:
    for bits in data.draw(st.lists(st.integers(0, 2 ** len(graph.observables) - 1), min_size=4, max_size=4)):
        hidden = frozenset(x for place, x in enumerate(graph.observables) if bits >> place & 1)
        smallest, s_m = brute_force(graph, hidden)
        assert smallest == [graph.shared(hidden)]
        assert graph.specific(hidden)[0] == s_m


def test_shared_is_the_smallest_set_on_two_thousand_more_graphs() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for seed in range(2000):
        sizes = tuple(int(size) for size in rng.integers(1, 4, rng.integers(2, 4)))
        graph = LatentGraph.random(sizes, max_parents=3, skip=0.4, noise_dims=int(rng.integers(1, 3)), seed=seed)
        hidden = frozenset(x for x in graph.observables if rng.random() < 0.5)
        smallest, s_m = brute_force(graph, hidden)
        assert smallest == [graph.shared(hidden)]
        assert graph.specific(hidden)[0] == s_m
        seen.add(len(smallest[0]))
    assert seen >= {0, 1, 2, 3}


@settings(max_examples=100, deadline=None)
@given(graph=small_graphs(), data=st.data())
def test_specific_noise_splits_the_world(graph: LatentGraph, data: st.DataObject) -> None:
    hidden = frozenset(data.draw(st.lists(st.sampled_from(graph.observables), unique=True)))
    c, (s_m, s_v) = graph.shared(hidden), graph.specific(hidden)
    mixed = frozenset(node for node in ancestors(graph, c)) if c else frozenset()
    assert mixed | s_m | s_v == frozenset(graph.nodes)
    assert len(mixed) + len(s_m) + len(s_v) == len(graph)
    assert graph.intrinsic_dim(c) == sum(graph.noise_dims[graph.index[node]] for node in mixed)
    # What only one side shows changes places when the sides do; what they share does not.
    visible = frozenset(graph.observables) - hidden
    assert graph.shared(visible) == c
    assert graph.specific(visible) == (s_v, s_m)


@settings(max_examples=60, deadline=None)
@given(graph=small_graphs(), seed=st.integers(0, 2**32), masks=st.integers(1, 20))
def test_many_masks_equal_one_at_a_time(graph: LatentGraph, seed: int, masks: int) -> None:
    hidden = np.random.default_rng(seed).random((masks, len(graph.observables))) < 0.5
    many = graph.shared_many(hidden)
    assert many.shape == (masks, len(graph.latents))
    for row, inside in zip(hidden, many, strict=True):
        names = [x for x, off in zip(graph.observables, row, strict=True) if off]
        assert graph.shared(names) == {z for z, member in zip(graph.latents, inside, strict=True) if member}


# ------------------------------------------------------------------ the paper's worked examples (Figure 4)
TREE = [("z1", "z2"), ("z1", "z3"), ("z2", "x1"), ("z2", "x2"), ("z3", "x3"), ("z3", "x4")]


def test_an_ideal_mask_asks_for_the_top_latent() -> None:
    graph = LatentGraph(TREE)
    assert graph.shared({"x1", "x2"}) == {"z1"}
    assert graph.specific({"x1", "x2"}) == ({"z2", "x1", "x2"}, {"z3", "x3", "x4"})


@pytest.mark.parametrize("hidden", [{"x1"}, {"x1", "x2", "x3"}], ids=["conservative", "aggressive"])
def test_conservative_and_aggressive_masks_ask_for_a_low_one(hidden: set[Node]) -> None:
    assert len(LatentGraph(TREE).shared(hidden)) == 1
    assert LatentGraph(TREE).shared(hidden) <= {"z2", "z3"}


def test_nothing_is_shared_between_unrelated_sides() -> None:
    graph = LatentGraph([("a", "x"), ("b", "y")])
    assert graph.shared({"x"}) == frozenset()
    assert graph.intrinsic_dim(graph.shared({"x"})) == 0
    assert LatentGraph(TREE).shared([]) == frozenset()
    assert LatentGraph(TREE).shared(["x1", "x2", "x3", "x4"]) == frozenset()


def test_dimensions_count_vectors_and_information() -> None:
    graph = LatentGraph([("a", "b"), ("a", "c"), ("b", "x"), ("c", "x")], noise_dims={"a": 2, "b": 1, "c": 1, "x": 3})
    at = graph.index["x"]
    assert graph.dims[at] == 3 + (1 + 2) + (1 + 2)
    assert graph.intrinsic_dim(["x"]) == 3 + 1 + 1 + 2
    assert graph.dim(["b", "c"]) == 6
    assert graph.intrinsic_dim(["b", "c"]) == 4


def test_heights_are_longest_paths() -> None:
    graph = LatentGraph([("top", "low"), ("low", "x"), ("top", "y")])
    assert {node: int(graph.heights[graph.index[node]]) for node in graph.nodes} == {"top": 2, "low": 1, "x": 0, "y": 0}


def test_the_quadtree_has_its_names_order_and_dimensions() -> None:
    graph = LatentGraph.quadtree(3, {3: 4, 2: 2, 1: 1, 0: 5})
    assert (len(graph.latents), len(graph.observables), graph.height) == (1 + 4 + 16, 16, 3)
    assert graph.observables == tuple(("x", row, column) for row in range(4) for column in range(4))
    assert graph.latents[1:5] == (("z", 2, 0, 0), ("z", 2, 0, 1), ("z", 2, 1, 0), ("z", 2, 1, 1))
    assert graph.dims[graph.index["x", 0, 0]] == 12
    assert graph.shared([("x", row, column) for row in (0, 1) for column in (0, 1)]) == {("z", 3, 0, 0)}
    assert graph.shared([("x", 3, 3)]) == {("z", 2, 1, 1)}
    assert LatentGraph.quadtree(1).latents == (("z", 1, 0, 0),)


def test_random_graphs_have_their_levels_and_are_seeded() -> None:
    graph = LatentGraph.random((1, 3, 6, 12), seed=5)
    assert [int((graph.heights == height).sum()) for height in range(4)] == [12, 6, 3, 1]
    assert set(graph.networkx.edges) == set(LatentGraph.random((1, 3, 6, 12), seed=5).networkx.edges)
    assert set(graph.networkx.edges) != set(LatentGraph.random((1, 3, 6, 12), seed=6).networkx.edges)
    edges = list(LatentGraph.random((2, 4, 8, 16), max_parents=3, skip=0.9, seed=1).networkx.edges)
    height = {node: node[1] if node[0] == "z" else 0 for edge in edges for node in edge}
    assert any(height[parent] - height[child] > 1 for parent, child in edges)
    assert len(edges) > len(height) - 2  # more than a forest: parents overlap


# ------------------------------------------------------------------ refusals
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([("a", "b"), ("b", "a"), ("b", "x")],), "cycle: 'a' -> 'b' -> 'a'"),
        (([("a", "a")],), "cycle: 'a' -> 'a'"),
        (([("a", "x"), ("x", "y")], ["x", "y"]), "'x' has an edge to 'y', another observable"),
        (([("x", "a"), ("a", "y")], ["x", "y"]), "'x' has an edge to 'a', a latent"),
        (([("a", "x"), ("a", "b")], ["x"]), "No observable descends from 'b'"),
        (([],), "no node"),
        (([("a", "x")], None, 0), "below 1 for 'a', 'x'"),
        (([("a", "x")], None, {"a": 1}), "no dimension for 'x'"),
    ],
)
def test_broken_assumptions_are_refused_by_name(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        LatentGraph(*arguments)  # type: ignore[arg-type]


def test_unknown_nodes_are_refused_with_the_nearest() -> None:
    graph = LatentGraph([("sky", "blue"), ("sky", "clouds")])
    with pytest.raises(GraphError, match=r"'cloud' is no observable.*Did you mean 'clouds'"):
        graph.shared(["cloud"])
    with pytest.raises(GraphError, match="'sky' is no observable"):
        graph.shared(["sky"])
    with pytest.raises(GraphError, match="no node of this graph"):
        graph.dim(["sea"])
    with pytest.raises(GraphError, match=r"expected \(masks, 2\)"):
        graph.shared_many(np.zeros((3, 4), dtype=bool))


def test_families_refuse_what_is_no_shape() -> None:
    with pytest.raises(GraphError, match="height=0"):
        LatentGraph.quadtree(0)
    with pytest.raises(GraphError, match="no dimension for height 1"):
        LatentGraph.quadtree(2, {2: 1, 0: 1})
    with pytest.raises(GraphError, match="at least two levels"):
        LatentGraph.random((3,), seed=0)
    with pytest.raises(GraphError, match="skip=2"):
        LatentGraph.random(skip=2, seed=0)
