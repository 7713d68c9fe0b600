"""Families of latent graphs: the quadtree over an image, and random layered graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from probekit.checks import whole
from probekit.latents.nodes import GraphError, GraphParts, Node


def quadtree(height: int, noise_dims: int | Mapping[int, int] = 1) -> GraphParts:
    """The parts of a quadtree of latents over a square grid of observables; see `LatentGraph.quadtree`."""
    height = whole("height", height, least=1, error=GraphError)
    edges: list[tuple[Node, Node]] = []
    for level in range(height, 1, -1):
        side = 2 ** (height - level + 1)
        edges += [
            (("z", level, row // 2, column // 2), ("z", level - 1, row, column))
            for row in range(side)
            for column in range(side)
        ]
    side = 2 ** (height - 1)
    cells = [(row, column) for row in range(side) for column in range(side)]
    edges += [(("z", 1, *cell), ("x", *cell)) for cell in cells]
    return GraphParts(edges, [("x", *cell) for cell in cells], _by_height(edges, noise_dims, height))


def quadtree_position(node: Node) -> Node:
    """The kind of a quadtree node: its name, height and quarter. Nodes of one kind may share a function (`tie`)."""
    assert isinstance(node, tuple)
    *kind, row, column = node
    return (*kind, row % 2, column % 2) if kind[0] == "z" else tuple(kind)


def layered(
    sizes: Sequence[int],
    *,
    max_parents: int = 2,
    skip: float = 0.2,
    noise_dims: int | Mapping[int, int] = 1,
    seed: int,
) -> GraphParts:
    """The parts of a random graph in layers: parents overlap, and some edges skip levels.

    Each node has 1 to `max_parents` parents, drawn near its own relative place one level up (so that neighbours share
    parents, as patches of an image do); each of them but the first comes from a higher level with probability `skip`.
    A latent that is left without a child one level down is given one, so its height is its level.

    Args:
        sizes: nodes per level from the top to the observables, at least two levels. Latents are named ("z", level, i),
            observables ("x", i).
        max_parents: most parents drawn for a node (the repair above may add one).
        skip: probability in [0, 1] that a further parent is from a higher level than the next.
        noise_dims: one number, or one per height from 0 (observables) to the top.
        seed: the same seed gives the same graph.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise GraphError(f"sizes={tuple(sizes)}: expected at least two levels with one node or more each.")
    if max_parents < 1 or not 0.0 <= skip <= 1.0:
        raise GraphError(f"max_parents={max_parents}, skip={skip}: expected 1 or more, and a probability.")
    rng = np.random.default_rng(seed)
    top = len(sizes) - 1
    layers: list[list[Node]] = [
        [("z", top - depth, place) if depth < top else ("x", place) for place in range(size)]
        for depth, size in enumerate(sizes)
    ]
    edges: dict[tuple[Node, Node], None] = {}
    for depth in range(1, top + 1):
        above, below = layers[depth - 1], layers[depth]
        with_child: set[Node] = set()
        for place, node in enumerate(below):
            for nth in range(rng.integers(1, max_parents + 1)):
                far = nth > 0 and depth > 1 and rng.random() < skip
                layer = layers[rng.integers(0, depth - 1)] if far else above
                parent = layer[_near(place / len(below), len(layer), rng)]
                edges[parent, node] = None
                with_child.add(parent)
        for place, parent in enumerate(above):
            if parent not in with_child:
                edges[parent, below[_near(place / len(above), len(below), rng)]] = None
    return GraphParts(list(edges), layers[-1], _by_height(list(edges), noise_dims, top))


def _near(place: float, size: int, rng: np.random.Generator) -> int:
    """A position in a layer near the relative place, off by one either way at random."""
    return min(max(int(place * size) + int(rng.integers(-1, 2)), 0), size - 1)


def _by_height(
    edges: Sequence[tuple[Node, Node]], noise_dims: int | Mapping[int, int], top: int
) -> int | dict[Node, int]:
    if not isinstance(noise_dims, Mapping):
        return noise_dims
    missing = [height for height in range(top + 1) if height not in noise_dims]
    if missing:
        raise GraphError(f"noise_dims gives no dimension for height {missing[0]}; expected one for each of 0..{top}.")
    nodes = {node for edge in edges for node in edge}
    return {node: noise_dims[node[1] if node[0] == "z" else 0] for node in nodes if isinstance(node, tuple)}
