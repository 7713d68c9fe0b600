"""A world whose latents are known: invertible modules on any latent graph.

Each node is z = g(parents, eps): the parents' vectors and the scaled noise side by side, then `depth` layers of a
random orthogonal matrix, a leaky ReLU, and an affine map to zero mean and unit variance. Every layer is invertible, and
its condition number is about 1 / slope, so the inverse of the whole graph holds to float precision. The affine map's
constants come from one seeded draw when the process is made; without it the variance would shrink from level to level,
and with it `noise_scale` reads as the size of a node's noise relative to one dimension of its parents.

Since g keeps everything, dim(z) = noise dim + the parents' dims. Roots are their noise: z = eps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import overload

import numpy as np
import xarray as xr
from numpy.typing import DTypeLike, NDArray

from probekit.checks import instance
from probekit.errors import did_you_mean
from probekit.latents.graph import LatentGraph
from probekit.latents.modules import Block, drawn_blocks, layout, means, scales
from probekit.latents.nodes import GraphError, Node
from probekit.latents.samples import Array, Draw

CHUNK = 32
"""Samples that go through the graph together."""

ROOTS = ("normal", "mixture")


class GeneratingProcess:
    """Invertible modules on a latent graph, seeded.

    Args:
        graph: the graph; it holds the noise dimensions, and so the nodes' dimensions.
        seed: of the modules (rotations, mixture means, calibration). Draws have seeds of their own.
        depth: layers per module, >= 1. More layers, more curved.
        slope: of the leaky ReLU below zero, in (0, 1]; 1 makes every module linear. Small slopes curve more, and
            condition worse: the inverse multiplies errors by up to 1 / slope per layer.
        noise_scale: standard deviation of a node's noise where it enters g, its parents having 1 per dimension. One
            number, or one per height of the node (roots are not affected).
        root: "normal", or "mixture": the highest latent is a Gaussian mixture, and its component is the class label.
        n_classes: components of the mixture, equally likely.
        mixture_spread: distance of the mixture's means from the centre, in standard deviations within a component. The
            whole is scaled to unit mean variance per dimension.
        tie: node -> key; nodes with one key share their function (they must have the same shape). Default: every node
            has its own. `families.quadtree_position` ties the nodes of one height and quarter.
        calibration: samples of the seeded draw that sets the affine maps; 0 leaves them out.

    Raises:
        GraphError: a parameter out of range, or nodes tied whose shapes differ.

    Example:
        >>> process = GeneratingProcess(LatentGraph.quadtree(2), seed=0)
        >>> process.draw(5, np.random.default_rng(0))["x", 0, 0].shape
        (5, 3)
    """

    def __init__(
        self,
        graph: LatentGraph,
        *,
        seed: int = 0,
        depth: int = 2,
        slope: float = 0.3,
        noise_scale: float | Mapping[int, float] = 1.0,
        root: str = "normal",
        n_classes: int = 8,
        mixture_spread: float = 3.0,
        tie: Callable[[Node], Node] | None = None,
        calibration: int = 1024,
    ) -> None:
        instance("graph", graph, LatentGraph, "a LatentGraph, such as LatentGraph.quadtree(4)", error=GraphError)
        if root not in ROOTS:
            raise GraphError(f"root={root!r} is no kind of root. {did_you_mean(root, ROOTS)}")
        if depth < 1 or not 0.0 < slope <= 1.0:
            raise GraphError(
                f"depth={depth}, slope={slope}: expected one layer or more, and a slope above 0 and up to 1."
            )
        self.graph = graph
        self.seed, self.depth, self.slope = seed, depth, slope
        self.n_classes = n_classes if root == "mixture" else 0
        self._scales = scales(graph, noise_scale)
        self._keys = [node if tie is None else tie(node) for node in graph.nodes]
        self.blocks = drawn_blocks(graph, self._keys, self._scales, depth, seed)
        self.layout = layout(graph, self.blocks)
        self.means = means(n_classes, int(graph.noise_dims[0]), mixture_spread, seed) if root == "mixture" else None
        self._mixture_scale = 1.0 / np.sqrt(1.0 + mixture_spread**2 / int(graph.noise_dims[0]))
        if calibration:
            self._calibrate(calibration)

    # ---------------------------------------------------------------- parameters
    def _calibrate(self, samples: int) -> None:
        """Set every layer's affine map from one seeded draw, from the roots down; tied nodes get the same one."""
        noise = self._noise(samples, np.random.default_rng([self.seed, len(self.graph)]))[0]
        values: list[Array] = []
        for block, eps in zip(self.blocks, noise, strict=True):
            hidden = self._mix(block, eps, values)  # of a root: its noise itself, as it has no layer to change it
            keys = [self._keys[position] for position in block.positions]
            same = np.array([[first == second for second in keys] for first in keys], dtype=float)
            same /= same.sum(1, keepdims=True)
            for layer in range(len(block.rotations)):
                hidden = hidden @ block.rotations[layer].transpose(0, 2, 1)
                np.maximum(hidden, self.slope * hidden, out=hidden)
                gain = 1.0 / np.sqrt(same @ hidden.var(1))
                block.gain[layer], block.offset[layer] = gain, gain * (same @ hidden.mean(1))
                # A leaky ReLU commutes with a positive factor, so the gain is spent inside the matrix product.
                block.weights[layer] *= gain[:, None]
                hidden *= gain[:, None]
                hidden -= block.offset[layer][:, None]
            values.append(hidden)

    # ---------------------------------------------------------------- forwards
    def _noise(self, samples: int, rng: np.random.Generator) -> tuple[list[Array], NDArray[np.int64] | None]:
        noise: list[Array] = [rng.standard_normal((len(b.positions), samples, b.noise_dim)) for b in self.blocks]
        if self.means is None:
            return noise, None
        labels = rng.integers(0, self.n_classes, samples)
        top = noise[self.layout.block[0]][self.layout.row[0]]
        top += self.means[labels]
        top *= self._mixture_scale
        return noise, labels

    def _mix(self, block: Block, eps: Array, values: list[Array]) -> Array:
        """The input of g: the parents side by side, then the scaled noise; (nodes, samples, dim)."""
        if block.is_root:
            return eps
        mixed = np.empty((*eps.shape[:2], sum(block.parent_dims) + block.noise_dim), dtype=eps.dtype)
        at = 0
        for slot, size in enumerate(block.parent_dims):
            homes, rows = self.layout.block[block.parents[:, slot]], self.layout.row[block.parents[:, slot]]
            for row, (home, parent) in enumerate(zip(homes, rows, strict=True)):
                mixed[row, :, at : at + size] = values[home][parent]
            at += size
        np.multiply(eps, block.scale, out=mixed[:, :, at:])
        return mixed

    def _push(self, noise: list[Array]) -> list[Array]:
        """Noise -> values, block by block, a few samples at a time: what is in work then stays in the cache."""
        samples = noise[0].shape[1]
        values: list[Array] = [np.empty((len(b.positions), samples, self._dim(b))) for b in self.blocks]
        for start in range(0, samples, CHUNK):
            part: list[Array] = [array[:, start : start + CHUNK] for array in values]
            for block, eps, out in zip(self.blocks, noise, part, strict=True):
                out[...] = self._forward(block, self._mix(block, eps[:, start : start + CHUNK], part))
        return values

    def _forward(self, block: Block, hidden: Array) -> Array:
        for weights, offset in zip(block.weights, block.offset, strict=True):
            hidden = hidden @ weights
            np.maximum(hidden, self.slope * hidden, out=hidden)
            hidden -= offset[:, None]
        return hidden

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        """Draw `n` samples of every node.

        Args:
            n: number of samples.
            rng: of the noise.

        Returns:
            A mapping node -> float64 (n, dim), with `.noise` and `.labels`.
        """
        noise, labels = self._noise(n, rng)
        return Draw(self.layout, self._push(noise), noise, labels)

    def redraw(self, draw: Draw, keep: Iterable[Node], rng: np.random.Generator) -> Draw:
        """A second draw that shares the kept nodes and all their ancestors with `draw`, and is fresh elsewhere.

        Args:
            draw: a full draw of this process.
            keep: nodes to share; none gives an independent draw, the observables give the same one.
            rng: of the fresh noise.

        Returns:
            A draw with as many samples as `draw`.
        """
        kept = self.graph.closure(keep)
        noise, labels = self._noise(draw.samples, rng)
        for position in np.flatnonzero(kept):
            noise[self.layout.block[position]][self.layout.row[position]] = draw.noise.at(int(position))
        if self.means is not None and kept[0]:
            labels = draw.labels
        return Draw(self.layout, self._push(noise), noise, labels)

    # ---------------------------------------------------------------- backwards
    def _unmix(self, block: Block, rows: NDArray[np.int64], hidden: Array) -> Array:
        """The inverse of g for some nodes of a block: (rows, samples, dim) -> the parents, then the scaled noise."""
        for layer in reversed(range(len(block.rotations))):
            hidden = hidden + block.offset[layer, rows, None].astype(hidden.dtype)
            hidden /= block.gain[layer, rows, None].astype(hidden.dtype)
            np.minimum(hidden, hidden / hidden.dtype.type(self.slope), out=hidden)
            hidden = hidden @ block.rotations[layer, rows].astype(hidden.dtype)
        return hidden

    def recover_nodes(self, observables: Mapping[Node, Array], *, dtype: DTypeLike = np.float64) -> Draw:
        """Every node that these observables determine: themselves and all their ancestors, with the noise of each.

        The lowest nodes come first. A node that several children determine is the mean of what they say: the same
        number from each where the observables are exact, and a better estimate where they were rounded.

        Args:
            observables: node -> (samples, dim) for some or all observables.
            dtype: of the arithmetic.

        Returns:
            A draw that knows only the determined nodes.
        """
        positions = self.graph.positions(observables)
        if not positions.size or (self.graph.heights[positions] > 0).any():
            raise GraphError("Give one observable or more, and no latents, to recover the latents from.")
        known = self.graph.closure(observables)
        samples = len(next(iter(observables.values())))
        shapes = [(len(block.positions), samples) for block in self.blocks]
        totals = [np.zeros((*s, self._dim(b)), dtype=dtype) for s, b in zip(shapes, self.blocks, strict=True)]
        noise = [np.zeros((*s, b.noise_dim), dtype=dtype) for s, b in zip(shapes, self.blocks, strict=True)]
        votes = np.zeros(len(self.graph))
        for position, array in zip(positions, observables.values(), strict=True):
            home = totals[self.layout.block[position]][self.layout.row[position]]
            if np.shape(array) != home.shape:
                raise GraphError(f"{self.graph.nodes[position]!r} has shape {np.shape(array)}; expected {home.shape}.")
            home[...] = array
            votes[position] = 1
        for block, total, eps in zip(reversed(self.blocks), reversed(totals), reversed(noise), strict=True):
            rows = np.flatnonzero(known[block.positions])
            total[rows] /= votes[block.positions[rows], None, None].astype(total.dtype)
            mixed = self._unmix(block, rows, total[rows])
            at = 0
            for slot, size in enumerate(block.parent_dims):
                for row, values in zip(rows, mixed[:, :, at : at + size], strict=True):
                    parent = block.parents[row, slot]
                    totals[self.layout.block[parent]][self.layout.row[parent]] += values
                    votes[parent] += 1
                at += size
            eps[rows] = mixed[:, :, at:] / (1.0 if block.is_root else block.scale)
        return Draw(self.layout, totals, noise, None, known)

    def _dim(self, block: Block) -> int:
        return sum(block.parent_dims) + block.noise_dim

    # ---------------------------------------------------------------- labelled
    def sample(self, n: int, seed: int) -> xr.Dataset:
        """Draw samples as a dataset.

        Args:
            n: number of samples.
            seed: of the noise; the same seed gives the same samples.

        Returns:
            See `Draw.to_dataset`.

        Example:
            >>> process.sample(100, seed=0).sizes["sample"]  # doctest: +SKIP
            100
        """
        return self.draw(n, np.random.default_rng(seed)).to_dataset()

    def resample(self, latents: xr.Dataset, keep: Iterable[Node], seed: int) -> xr.Dataset:
        """`redraw` on datasets: a partner of every sample that shares the kept nodes and their ancestors.

        Args:
            latents: from `sample` (its `noise` is what the draw is made of).
            keep: nodes to share.
            seed: of the fresh noise.

        Returns:
            A dataset like `latents`.
        """
        return self.redraw(self.from_dataset(latents), keep, np.random.default_rng(seed)).to_dataset()

    def from_dataset(self, ds: xr.Dataset) -> Draw:
        """The draw that a dataset holds, made again from its noise.

        Args:
            ds: from `sample`.

        Returns:
            The draw, with its labels.

        Raises:
            GraphError: the dataset is of another graph.
        """
        flat = ds["noise"].to_numpy()
        if flat.shape[1] != self.graph.noise_dims.sum():
            raise GraphError(
                f"The dataset's noise has {flat.shape[1]} components; expected {self.graph.noise_dims.sum()}."
            )
        noise: list[Array] = [np.empty((len(b.positions), len(flat), b.noise_dim)) for b in self.blocks]
        parts = np.split(flat, np.cumsum(self.graph.noise_dims)[:-1], axis=1)
        for block, row, part in zip(self.layout.block, self.layout.row, parts, strict=True):
            noise[block][row] = part
        labels = ds["label"].to_numpy() if "label" in ds else None
        return Draw(self.layout, self._push(noise), noise, labels)

    @overload
    def invert(self, observables: xr.Dataset | xr.DataArray, *, dtype: DTypeLike = ...) -> xr.Dataset: ...
    @overload
    def invert(self, observables: Mapping[Node, Array], *, dtype: DTypeLike = ...) -> Draw: ...
    def invert(
        self, observables: xr.Dataset | xr.DataArray | Mapping[Node, Array], *, dtype: DTypeLike = np.float64
    ) -> xr.Dataset | Draw:
        """The latents (and the noise) that observables determine; the exact inverse of a draw.

        Args:
            observables: node -> (samples, dim), for some or all observables; or, for all of them, the dataset of
                `sample` or its array `observables`.
            dtype: of the arithmetic.

        Returns:
            A `Draw` for a mapping, else a dataset like that of `sample` (without labels).
        """
        if isinstance(observables, xr.Dataset):
            observables = observables["observables"]
        if not isinstance(observables, xr.DataArray):
            return self.recover_nodes(observables, dtype=dtype)
        dims = self.graph.dims[len(self.graph.latents) :]
        if observables.shape[1] != dims.sum():
            raise GraphError(f"The observables have {observables.shape[1]} components; expected {dims.sum()}.")
        parts = np.split(observables.to_numpy(), np.cumsum(dims)[:-1], axis=1)
        return self.recover_nodes(dict(zip(self.graph.observables, parts, strict=True)), dtype=dtype).to_dataset()
