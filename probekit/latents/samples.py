"""A draw from a generating process: every node's values and noise, stored so that arithmetic is batched.

Nodes of equal shape and depth form a *block*, one array (nodes, samples, dim), so that one batched matrix product
serves all of them. A `Draw` reads as a mapping node -> (samples, dim), and puts the nodes of one height side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probekit.latents.graph import Bits, LatentGraph
from probekit.latents.nodes import GraphError, Node

Array = NDArray[np.floating[Any]]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Where each node lives: `block[p]` and `row[p]` for the node at position p of `graph.nodes`."""

    graph: LatentGraph
    block: NDArray[np.int64]
    row: NDArray[np.int64]


class Nodes(Mapping[Node, Array]):
    """One array per node, (samples, dim), kept in blocks (nodes, samples, dim).

    Args:
        layout: where each node lives.
        blocks: one array (nodes, samples, dim) per block.
        known: bool (nodes,) where only some nodes have values; None if all have.
    """

    def __init__(self, layout: Layout, blocks: list[Array], known: Bits | None = None) -> None:
        self.layout = layout
        self.blocks = blocks
        self.known = np.ones(len(layout.block), dtype=bool) if known is None else known

    def __getitem__(self, node: Node) -> Array:
        position = self.layout.graph.index[node]
        if not self.known[position]:
            raise KeyError(node)
        return self.at(position)

    def at(self, position: int) -> Array:
        """Values (samples, dim) of the node at a position of `graph.nodes`."""
        block: Array = self.blocks[self.layout.block[position]]
        values: Array = block[self.layout.row[position]]
        return values

    def __iter__(self) -> Iterator[Node]:
        return (node for node, known in zip(self.layout.graph.nodes, self.known, strict=True) if known)

    def __len__(self) -> int:
        return int(self.known.sum())

    def level(self, height: int) -> Array:
        """The nodes of one height side by side, in the order of `graph.nodes` (raster order on a quadtree).

        Returns:
            (samples, nodes, dim); the nodes must have one dimension.
        """
        inside = range(len(self.known))[self.layout.graph.at_height(height)]
        arrays = [self.at(position) for position in inside if self.known[position]]
        if not arrays or len({array.shape for array in arrays}) > 1:
            sizes = sorted({array.shape[1] for array in arrays})
            raise GraphError(
                f"Height {height} has no common array: its nodes have the dimensions {sizes}. Read them by node."
            )
        return np.stack(arrays, axis=1)

    def flat(self, positions: range) -> Array:
        """The known nodes at these positions, side by side: (samples, sum of dims)."""
        return np.concatenate([self.at(position) for position in positions if self.known[position]], axis=1)


class Draw(Nodes):
    """Samples of a generating process: a mapping node -> values (samples, dim), with the noise they are made of.

    Args:
        layout, blocks, known: as in `Nodes`.
        noise: the nodes' own noise (samples, noise dim), at unit scale: a mapping with the same nodes.
        labels: int64 (samples,): class of each sample where the root is a mixture and known, else None.

    Example:
        >>> draw = process.draw(100, np.random.default_rng(0))  # doctest: +SKIP
        >>> draw.level(1).shape, draw.noise.level(1).shape  # doctest: +SKIP
        ((100, 4, 2), (100, 4, 1))
    """

    def __init__(
        self, layout: Layout, blocks: list[Array], noise: list[Array], labels: Labels | None, known: Bits | None = None
    ) -> None:
        super().__init__(layout, blocks, known)
        self.noise = Nodes(layout, noise, known)
        self.labels = labels

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.blocks[0].shape[1])

    @property
    def observables(self) -> dict[Node, Array]:
        """The observables' values, in the order of `graph.observables`."""
        return {node: self[node] for node in self.layout.graph.observables if node in self}

    def to_dataset(self) -> xr.Dataset:
        """The draw as a labelled dataset.

        Returns:
            `latents`, `observables` and `noise` (sample, component), and `label` (sample) where there is one. A
            component is one dimension of one node; the coordinates `<kind>_node`, `<kind>_height` and `<kind>_dim` say
            which.
        """
        graph = self.layout.graph
        latents, total = len(graph.latents), len(graph.nodes)
        parts = {
            "latents": (self, range(latents)),
            "observables": (self, range(latents, total)),
            "noise": (self.noise, range(total)),
        }
        data: dict[str, tuple[tuple[str, ...], NDArray[Any]]] = {}
        coords: dict[str, tuple[str, NDArray[Any]]] = {}
        for kind, (nodes, positions) in parts.items():
            held = [position for position in positions if nodes.known[position]]
            if not held:
                continue
            dims = [nodes.at(position).shape[1] for position in held]
            dim = f"{kind}_component"
            data[kind] = (("sample", dim), nodes.flat(positions))
            coords[f"{kind}_node"] = (dim, np.repeat([str(graph.nodes[position]) for position in held], dims))
            coords[f"{kind}_height"] = (dim, np.repeat(graph.heights[held], dims))
            coords[f"{kind}_dim"] = (dim, np.concatenate([np.arange(size) for size in dims]))
        if self.labels is not None:
            data["label"] = (("sample",), self.labels)
        return xr.Dataset(data, coords)
