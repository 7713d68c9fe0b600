"""The invertible modules of a generating process: what is computed together, and the constants that are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probekit.latents.graph import LatentGraph
from probekit.latents.nodes import GraphError, Node
from probekit.latents.samples import Array, Layout


@dataclass
class Block:
    """Nodes that are computed together: same depth in the graph, same parents' dims, same noise dim, same height.

    Attributes:
        positions: (nodes,) positions in `graph.nodes`.
        parents: (nodes, parents) positions.
        parent_dims: dimension of each parent.
        scale: of the noise, where it enters g.
        rotations: (layers, nodes, dim, dim), orthogonal.
        gain, offset: (layers, nodes, dim): the affine map is gain * h - offset, with gain > 0.
        weights: (layers, nodes, dim, dim): transposed rotations times gain, for the way forwards.
    """

    positions: NDArray[np.int64]
    parents: NDArray[np.int64]
    parent_dims: tuple[int, ...]
    noise_dim: int
    scale: float
    rotations: Array
    gain: Array
    offset: Array
    weights: Array

    @property
    def is_root(self) -> bool:
        return not self.parent_dims


def layout(graph: LatentGraph, blocks: list[Block]) -> Layout:
    """Where each node stands: in which block, and in which row of it."""
    home, row = np.empty(len(graph), dtype=np.int64), np.empty(len(graph), dtype=np.int64)
    for index, block in enumerate(blocks):
        home[block.positions] = index
        row[block.positions] = np.arange(len(block.positions))
    return Layout(graph, home, row)


def scales(graph: LatentGraph, noise_scale: float | Mapping[int, float]) -> dict[int, float]:
    """The noise scale of each height, checked."""
    heights = range(graph.height + 1)
    given = noise_scale if isinstance(noise_scale, Mapping) else dict.fromkeys(heights, noise_scale)
    # The highest nodes are roots, whose noise is not scaled: the top height may be left out.
    scales = {height: float(given.get(height, 1.0 if height == graph.height else np.nan)) for height in heights}
    for height, scale in scales.items():
        if not scale > 0.0:
            raise GraphError(
                f"noise_scale at height {height} is {given.get(height)}; expected a number above 0 for each height."
            )
    return scales


def drawn_blocks(
    graph: LatentGraph, keys: Sequence[Node], scales: Mapping[int, float], depth: int, seed: int
) -> list[Block]:
    """The modules of all nodes, their rotations drawn.

    Args:
        graph: the latent graph.
        keys: one per node; nodes with one key share their function.
        scales: of the noise, by height.
        depth: layers per module.
        seed: of the rotations.

    Raises:
        GraphError: nodes with one key whose shapes or heights differ.
    """
    steps = np.zeros(len(graph), dtype=np.int64)
    groups: dict[tuple[int, int, tuple[int, ...], int], list[int]] = {}
    for position in range(len(graph)):
        parents = graph.parents(position)
        steps[position] = steps[parents].max(initial=-1) + 1
        shape = tuple(graph.dims[parents].tolist()), int(graph.noise_dims[position])
        groups.setdefault((int(steps[position]), int(graph.heights[position]), *shape), []).append(position)
    seeds = _first_with_key(graph, keys)
    blocks = []
    for (_, height, parent_dims, noise_dim), members in sorted(groups.items()):
        layers = depth if parent_dims else 0
        size = noise_dim + sum(parent_dims)
        rotations = np.empty((layers, len(members), size, size))
        for row, position in enumerate(members):
            rng = np.random.default_rng([seed, seeds[position]])
            for layer in range(layers):
                rotations[layer, row] = orthogonal(size, rng)
        blocks.append(
            Block(
                positions=np.array(members),
                parents=np.array([graph.parents(position) for position in members]).reshape(len(members), -1),
                parent_dims=parent_dims,
                noise_dim=noise_dim,
                scale=scales[height],
                rotations=rotations,
                gain=np.ones((layers, len(members), size)),
                offset=np.zeros((layers, len(members), size)),
                weights=np.ascontiguousarray(rotations.transpose(0, 1, 3, 2)),
            )
        )
    return blocks


def _first_with_key(graph: LatentGraph, keys: Sequence[Node]) -> list[int]:
    """For each node the position of the first node with its key: the seed of the function they share."""
    first: dict[Node, int] = {}
    seeds = []
    for position, key in enumerate(keys):
        leader = first.setdefault(key, position)
        shapes = [(graph.dims[p], len(graph.parents(p)), graph.heights[p]) for p in (leader, position)]
        if shapes[0] != shapes[1]:
            nodes = graph.nodes[leader], graph.nodes[position]
            raise GraphError(
                f"tie gives {nodes[0]!r} and {nodes[1]!r} one function, but their shapes or heights differ."
            )
        seeds.append(leader)
    return seeds


def orthogonal(size: int, rng: np.random.Generator) -> Array:
    """A random orthogonal matrix, uniform (Haar): QR of a normal matrix with the signs of R's diagonal undone."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return np.asarray(q * np.sign(np.diagonal(r)))


def means(n_classes: int, dim: int, spread: float, seed: int, tries: int = 256) -> Array:
    """Means of a mixture on a sphere, (n_classes, dim): of many random sets the one whose nearest two are farthest."""
    if n_classes < 2 or spread < 0:
        raise GraphError(f"n_classes={n_classes}, mixture_spread={spread}: expected two or more, and 0 or above.")
    sets = np.random.default_rng([seed, n_classes]).standard_normal((tries, n_classes, dim))
    sets /= np.linalg.norm(sets, axis=2, keepdims=True)
    cosine = np.einsum("sid,sjd->sij", sets, sets) - 2.0 * np.eye(n_classes)
    return np.asarray(spread * sets[cosine.max((1, 2)).argmin()])
