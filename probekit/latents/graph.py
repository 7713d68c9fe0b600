"""The model of the world: a directed acyclic graph over latents and observables, and Theorem 1 on it.

Every node is an invertible function of its parents and of its own noise, so it determines all of its ancestors. For a
set of hidden observables, a node is *mixed* if it has hidden and visible observables among its descendants. From the
theorem's three conditions:

- c must be determined by either side, so it holds mixed nodes only;
- the noise of a mixed node reaches both sides, so it must be determined by c, or s_m would depend on s_v;
- hence the ancestors of c (with c itself) are all the mixed nodes, and the smallest such set is the mixed nodes without
  a mixed child. It is unique, and its intrinsic dimension is the noise dimension of all mixed nodes.

Nodes are kept in one order, latents from the highest down and then the observables, so that the nodes of one height are
a slice, and one sweep from the bottom up answers for many masks at once, 8 to the byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike, NDArray

from probekit.checks import several
from probekit.errors import did_you_mean
from probekit.latents import families
from probekit.latents.nodes import GraphError, Node

Bits = NDArray[np.bool_]
Words = NDArray[np.uint8]


class LatentGraph:
    """A directed acyclic graph over latents and observables.

    Args:
        edges: (parent, child) pairs; nodes are any hashables. The order of a node's parents is that of its edges.
        observables: the observables, in the order that arrays of masks use. Default: all nodes without children.
        noise_dims: dimension of the nodes' own noise, >= 1: one number, or one per node.

    Attributes:
        latents: latents, from the highest down, ties in order of appearance.
        observables: observables, in the order given (default: of appearance).
        nodes: latents, then observables: a topological order, used by every array over nodes.
        heights: int (nodes,): 0 for observables, else the longest path to an observable.
        noise_dims: int (nodes,): dimension of the node's own noise.
        dims: int (nodes,): noise dimension plus the sum of the parents' dimensions.
        parent_start, parent_index: the parents' positions in compressed rows: those of the node at p are
            parent_index[parent_start[p] : parent_start[p + 1]], in the order of its edges.

    Example:
        >>> LatentGraph.quadtree(2)
        LatentGraph(5 latents, 4 observables, height 2)

    Raises:
        GraphError: a cycle, an edge that starts at an observable, a latent without observable descendant, or noise
            dimensions below 1; the message names the nodes.
    """

    def __init__(
        self,
        edges: Iterable[tuple[Node, Node]],
        observables: Iterable[Node] | None = None,
        noise_dims: int | Mapping[Node, int] = 1,
    ) -> None:
        graph: nx.DiGraph[Node] = nx.DiGraph()
        graph.add_edges_from(edges)
        if observables is not None:
            observables = list(dict.fromkeys(observables))
            graph.add_nodes_from(observables)
        if not graph:
            raise GraphError("The graph has no node. Give edges as (parent, child) pairs, or observables.")
        order = _topological(graph)
        if observables is None:
            observables = [node for node in graph if graph.out_degree(node) == 0]
        _refuse(graph, set(observables))
        self.networkx = graph
        self.observables: tuple[Node, ...] = tuple(observables)
        height = _heights(graph, order)
        latents = [node for node in graph if height[node] > 0]
        self.latents: tuple[Node, ...] = tuple(sorted(latents, key=lambda node: -height[node]))
        self.nodes: tuple[Node, ...] = self.latents + self.observables
        self.index: dict[Node, int] = {node: position for position, node in enumerate(self.nodes)}
        self.heights = np.array([height[node] for node in self.nodes])
        self.noise_dims = self._noise_dims(noise_dims)
        self._links()
        self.dims = self.noise_dims.copy()
        for position in range(len(self.nodes)):
            self.dims[position] += self.dims[self.parents(position)].sum()

    def _noise_dims(self, noise_dims: int | Mapping[Node, int]) -> NDArray[np.int64]:
        if isinstance(noise_dims, Mapping):
            missing = [node for node in self.nodes if node not in noise_dims]
            if missing:
                raise GraphError(
                    f"noise_dims gives no dimension for {_names(missing)}. Give one number for all, or one per node."
                )
            dims = np.array([noise_dims[node] for node in self.nodes], dtype=np.int64)
        else:
            dims = np.full(len(self.nodes), noise_dims, dtype=np.int64)
        if (dims < 1).any():
            few = [node for node, dim in zip(self.nodes, dims, strict=True) if dim < 1]
            raise GraphError(f"noise_dims is below 1 for {_names(few)}: every node has noise of its own.")
        return dims

    def _links(self) -> None:
        """Parents and children of every node as positions, in compressed rows."""
        parents = [[self.index[parent] for parent in self.networkx.pred[node]] for node in self.nodes]
        children = [[self.index[child] for child in self.networkx.succ[node]] for node in self.nodes]
        self.parent_start, self.parent_index = _rows(parents)
        self._child_start, self._child = _rows(children)

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        return f"LatentGraph({len(self.latents)} latents, {len(self.observables)} observables, height {self.height})"

    @property
    def height(self) -> int:
        """Height of the highest latent; 0 if there is none."""
        return int(self.heights.max())

    def parents(self, position: int) -> NDArray[np.int64]:
        """Positions of the parents of the node at `position`, in the order of its edges."""
        return self.parent_index[self.parent_start[position] : self.parent_start[position + 1]]

    def at_height(self, height: int) -> slice:
        """The positions of the nodes of one height."""
        found = np.flatnonzero(self.heights == height)
        return slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 0)

    def positions(self, nodes: Iterable[Node]) -> NDArray[np.int64]:
        """Positions of nodes, int64 (n,).

        Raises:
            GraphError: names the first node that is not in the graph.
        """
        found = []
        for node in nodes:
            if node not in self.index:
                raise GraphError(f"{node!r} is no node of this graph. {did_you_mean(str(node), map(str, self.nodes))}")
            found.append(self.index[node])
        return np.array(found, dtype=np.int64)

    def closure(self, nodes: Iterable[Node]) -> Bits:
        """bool (nodes,): these nodes and all of their ancestors, which they determine."""
        inside = np.zeros(len(self.nodes), dtype=bool)
        waiting = list(self.positions(nodes))
        while waiting:
            position = waiting.pop()
            if not inside[position]:
                inside[position] = True
                waiting.extend(self.parents(position))
        return inside

    # ---------------------------------------------------------------- Theorem 1
    def hidden_row(self, hidden: Iterable[Node]) -> Bits:
        """bool (observables,): a set of hidden observables as a row of a mask matrix."""
        row = np.zeros(len(self.observables), dtype=bool)
        for node in several("hidden", hidden, "observables", error=GraphError):
            position = self.index.get(node, -1)
            if position < len(self.latents):
                known = map(str, self.observables)
                raise GraphError(f"{node!r} is no observable of this graph. {did_you_mean(str(node), known)}")
            row[position - len(self.latents)] = True
        return row

    def _words(self, hidden: ArrayLike) -> tuple[Words, Words, int]:
        """Bits per node over masks: has a hidden, has a visible descendant (or is one); and the number of masks."""
        matrix = np.atleast_2d(np.asarray(hidden, dtype=bool))
        if matrix.ndim != 2 or matrix.shape[1] != len(self.observables):
            raise GraphError(
                f"hidden has shape {np.shape(hidden)}; expected (masks, {len(self.observables)}): "
                "a column per observable."
            )
        return self._sweep(np.packbits(matrix.T, axis=1)), self._sweep(np.packbits(~matrix.T, axis=1)), len(matrix)

    def _sweep(self, below: Words) -> Words:
        """Or over the observable descendants of every node: bytes (observables, words) -> (nodes, words)."""
        found = np.empty((len(self.nodes), below.shape[1]), dtype=np.uint8)
        found[len(self.latents) :] = below
        stop = len(self.latents)
        # Latents are ordered from the highest down, so each height is one slice, right before the one done last.
        for size in np.unique(self.heights[: len(self.latents)], return_counts=True)[1]:
            start = stop - int(size)
            found[start:stop] = self._over_children(found, start, stop)
            stop = start
        return found

    def _over_children(self, values: Words, start: int, stop: int) -> Words:
        """Bitwise or over the children of the latents at positions start..stop; each has a child."""
        if start == stop:
            return values[:0]
        first, last = self._child_start[start], self._child_start[stop]
        rows = self._child_start[start:stop] - first
        return np.asarray(np.bitwise_or.reduceat(values[self._child[first:last]], rows, axis=0), dtype=np.uint8)

    def reach(self, hidden: ArrayLike) -> tuple[Bits, Bits]:
        """Which nodes have hidden, and which have visible observables among their descendants (or are such).

        Args:
            hidden: bool (masks, observables), columns as in `observables`, True = hidden; or one row.

        Returns:
            Two bool arrays (masks, nodes).
        """
        some_hidden, some_visible, masks = self._words(hidden)
        return _unpack(some_hidden, masks), _unpack(some_visible, masks)

    def mixed(self, hidden: ArrayLike) -> Bits:
        """bool (masks, nodes): nodes with hidden and visible descendants, which are c and its ancestors."""
        some_hidden, some_visible, masks = self._words(hidden)
        return _unpack(some_hidden & some_visible, masks)

    def shared_many(self, hidden: ArrayLike) -> Bits:
        """Theorem 1 for many masks at once.

        Args:
            hidden: bool (masks, observables), columns as in `observables`, True = hidden; or one row.

        Returns:
            bool (masks, latents), columns as in `latents`: True where the latent is in c.
        """
        some_hidden, some_visible, masks = self._words(hidden)
        mixed = some_hidden & some_visible
        latents = len(self.latents)
        return _unpack(mixed[:latents] & ~self._over_children(mixed, 0, latents), masks)

    def shared(self, hidden: Iterable[Node]) -> frozenset[Node]:
        """c: the unique smallest set of latents that hidden and visible observables share (Theorem 1).

        Args:
            hidden: the hidden observables; the others are visible.

        Returns:
            The latents in c; empty where nothing is shared (also if nothing, or everything, is hidden).

        Example:
            >>> graph = LatentGraph.quadtree(2)
            >>> graph.shared([("x", 0, 0)])
            frozenset({('z', 2, 0, 0)})
        """
        inside = self.shared_many(self.hidden_row(hidden))[0]
        return frozenset(self.latents[position] for position in np.flatnonzero(inside))

    def specific(self, hidden: Iterable[Node]) -> tuple[frozenset[Node], frozenset[Node]]:
        """(s_m, s_v): the nodes whose noise is specific to the hidden, and to the visible side.

        s_m: no observable descendant is visible; s_v: none is hidden. Observables count as their own descendants.
        """
        some_hidden, some_visible = (rows[0] for rows in self.reach(self.hidden_row(hidden)))
        s_m = frozenset(self.nodes[position] for position in np.flatnonzero(~some_visible))
        s_v = frozenset(self.nodes[position] for position in np.flatnonzero(~some_hidden))
        return s_m, s_v

    # ---------------------------------------------------------------- dimensions of sets
    def dim(self, nodes: Iterable[Node]) -> int:
        """Sum of the dimensions of these nodes as vectors."""
        return int(self.dims[self.positions(nodes)].sum())

    def intrinsic_dim(self, nodes: Iterable[Node]) -> int:
        """Noise dimensions of these nodes and of their ancestors, each once: the size of the information."""
        return int(self.noise_dims[self.closure(nodes)].sum())

    # ---------------------------------------------------------------- families of graphs
    @classmethod
    def quadtree(cls, height: int, noise_dims: int | Mapping[int, int] = 1) -> LatentGraph:
        """A tree of latents over an image: each has four children, the quarters of its square.

        Args:
            height: height of the root, >= 1. Latents are named ("z", height, row, column); there are 4^(height - 1)
                lowest ones, with one observable ("x", row, column) each.
            noise_dims: one number, or one per height from 0 (observables) to `height`.
        """
        return cls(*families.quadtree(height, noise_dims))

    @classmethod
    def random(
        cls,
        sizes: Sequence[int] = (1, 3, 6, 12),
        *,
        max_parents: int = 2,
        skip: float = 0.2,
        noise_dims: int | Mapping[int, int] = 1,
        seed: int,
    ) -> LatentGraph:
        """A random layered graph with overlapping parents and edges that skip levels; see `families.layered`."""
        return cls(*families.layered(sizes, max_parents=max_parents, skip=skip, noise_dims=noise_dims, seed=seed))


def _topological(graph: nx.DiGraph[Node]) -> list[Node]:
    try:
        return list(nx.topological_sort(graph))
    except nx.NetworkXUnfeasible:
        cycle = [parent for parent, _ in nx.find_cycle(graph)]
        raise GraphError(
            f"The graph has a cycle: {' -> '.join(map(repr, [*cycle, cycle[0]]))}. A node cannot be its own ancestor; "
            "remove one of these edges."
        ) from None


def _refuse(graph: nx.DiGraph[Node], observables: set[Node]) -> None:
    for parent, child in graph.edges:
        if parent in observables:
            what = "another observable" if child in observables else "a latent"
            raise GraphError(
                f"The observable {parent!r} has an edge to {child!r}, {what}. Observables have no children: "
                "put a latent above both, or leave the parent out of `observables`."
            )
    barren = [node for node in graph if graph.out_degree(node) == 0 and node not in observables]
    if barren:
        raise GraphError(
            f"No observable descends from {_names(barren)}. Such a latent leaves no trace in the data: remove it, or "
            "list it in `observables`."
        )


def _heights(graph: nx.DiGraph[Node], order: Sequence[Node]) -> dict[Node, int]:
    height: dict[Node, int] = {}
    for node in reversed(order):
        height[node] = max((height[child] + 1 for child in graph.succ[node]), default=0)
    return height


def _rows(lists: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    start = np.concatenate([[0], np.cumsum([len(row) for row in lists], dtype=np.int64)])
    return start, np.fromiter(chain.from_iterable(lists), dtype=np.int64, count=int(start[-1]))


def _unpack(words: Words, masks: int) -> Bits:
    """Bytes (rows, words) -> bool (masks, rows)."""
    return np.unpackbits(words, axis=1, count=masks).view(np.bool_).T


def _names(nodes: Sequence[Node], limit: int = 5) -> str:
    listed = ", ".join(repr(node) for node in nodes[:limit])
    return listed + (f" and {len(nodes) - limit} more" if len(nodes) > limit else "")
