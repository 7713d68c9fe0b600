"""What is kept of a forward. A recorder sees each layer as it is computed, keeps a few numbers per image, and lets it
go.

Recorders of one pass share its forward: asking for attention and features together costs one encoder call. Each lands
in a store of its own, so that asking for one more later computes that one alone.
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probekit.collect.prepared import Batch, PreparedModel, Source
from probekit.data import ImageSet
from probekit.errors import ProbeError
from probekit.measures import attention as attention_measures
from probekit.measures import label_free as spectrum_measures
from probekit.measures import level_shares as level_measures

Rows = dict[str, np.ndarray | list[np.ndarray]]


class Recorder(abc.ABC):
    """One kind of measurement. `version` grows whenever a stored number would differ."""

    name: str
    version = 1
    wants_attention = False
    more_forwards = 0
    """Forwards of the encoder per row that the recorder makes itself, besides the pass's."""
    whole = False
    """Whether all rows must be seen in one go: such a recording starts again after a kill."""

    def __init__(self, prepared: PreparedModel, source: Source) -> None:
        self.prepared = prepared
        self.source = source

    @property
    def facts(self) -> dict[str, Any]:
        """What determines the numbers besides the prepared's and the source's facts."""
        return {}

    @property
    def row_bytes(self) -> int:
        """Bytes per row in the store; 0 for recorders that are small compared with features and tokens."""
        return 0

    def begin(self) -> None:  # noqa: B027 - most recorders have nothing to forget
        """Forget what was summed up: called whenever the rows are gone through from the start."""

    @abc.abstractmethod
    def layer(self, index: int, tokens: Tensor, attention: Tensor | None, batch: Batch) -> None:
        """Recording what is wanted of one layer (tokens float32)."""

    @abc.abstractmethod
    def rows(self, batch: Batch) -> Rows:
        """The finished rows of this batch: arrays whose first axis is the batch's rows."""

    def summary(self) -> dict[str, np.ndarray]:
        """Arrays that are known only after the last row; only `whole` recorders may have them."""
        return {}


class Pooled(Recorder):
    """`pooled`: (rows, layers, poolings, width); for views (rows, layers, poolings, views, width).

    float32, or float16 where the settings say so. Layers of different widths stay apart: each (rows, poolings, its
    width).
    """

    name = "features"

    def __init__(self, prepared: PreparedModel, source: Source) -> None:
        super().__init__(prepared, source)
        self.dtype = np.dtype(prepared.settings.features_dtype)
        self._layers: list[np.ndarray] = []

    @property
    def facts(self) -> dict[str, Any]:
        return {"poolings": self.prepared.poolings}

    @property
    def row_bytes(self) -> int:
        width = sum(shape.width for shape in self.prepared.shapes)
        return self.dtype.itemsize * self.source.per_row * len(self.prepared.poolings) * width

    def layer(self, index: int, tokens: Tensor, attention: Tensor | None, batch: Batch) -> None:
        pooled = torch.stack([self.prepared.model.pool(tokens, name) for name in self.prepared.poolings], dim=1)
        array = pooled.cpu().numpy()
        if self.dtype == np.float16 and np.abs(array).max(initial=0) > np.finfo(np.float16).max:
            raise ProbeError(
                f"{self.prepared.checkpoint.name}: features of layer {index} exceed the range of float16 (65,504). "
                "Store them as float32 (features_dtype)."
            )
        array = array.astype(self.dtype, copy=False)
        if self.source.per_row > 1:
            array = array.reshape(len(batch.indices), self.source.per_row, *array.shape[1:]).swapaxes(1, 2)
        self._layers.append(array)

    def rows(self, batch: Batch) -> Rows:
        out = together(self._layers)
        self._layers.clear()
        return {"pooled": out}


def together(layers: list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
    """(rows, layers, ...), or the layers themselves, each (rows, ...), where their shapes differ."""
    return np.stack(layers, axis=1) if len({layer.shape for layer in layers}) == 1 else list(layers)


class LastPooled(Pooled):
    """Like `Pooled`, but only the last layer: (rows, 1, poolings, width). For shifted test sets."""

    name = "last_features"

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * len(self.prepared.poolings) * self.prepared.shapes[-1].width

    def layer(self, index: int, tokens: Tensor, attention: Tensor | None, batch: Batch) -> None:
        if index == self.prepared.model.depth:
            super().layer(index, tokens, attention, batch)


NODES_PER_LEVEL = 2
"""Latents of each level that are read; more would multiply the fits without changing what is asked."""


def chosen_nodes(nodes: int) -> list[int]:
    """Which nodes of a level (raster order on a square) are read: on the diagonal, evenly spread."""
    side = round(nodes**0.5)
    places = sorted({round(place) for place in np.linspace(0, side - 1, min(NODES_PER_LEVEL, side))})
    return [place * side + place for place in places]


def support(node: int, nodes: int, grid: tuple[int, int]) -> list[int]:
    """Patches (raster order) under a latent's part of the image; where that is smaller than a patch, the one around
    it.
    """
    side = round(nodes**0.5)
    row, column = divmod(node, side)

    def cut(place: int, cells: int) -> range:
        start = place * cells // side
        return range(start, max(start + 1, (place + 1) * cells // side))

    return [y * grid[1] + x for y in cut(row, grid[0]) for x in cut(column, grid[1])]


class Local(Recorder):
    """`local`: float32 (rows, layers, nodes, width): tokens under a latent's support, averaged; levels 1..H in
    order.
    """

    name = "local"

    def __init__(self, prepared: PreparedModel, source: Source) -> None:
        super().__init__(prepared, source)
        grids = {prepared.layer_grid(index) for index in range(prepared.layers)}
        self.weights = {grid: self._weights(grid).to(prepared.device) for grid in grids}
        self._layers: list[np.ndarray] = []

    def _weights(self, grid: tuple[int, int]) -> Tensor:
        """(nodes, patches): the average of the patches under each node's support."""
        latents = self.source.image_set.latents or {}
        sizes = [latents[level].shape[1] for level in sorted(latents)]
        under = [support(node, nodes, grid) for nodes in sizes for node in chosen_nodes(nodes)]
        weights = torch.zeros(len(under), grid[0] * grid[1])
        for row, patches in enumerate(under):
            weights[row, patches] = 1 / len(patches)
        return weights

    @property
    def facts(self) -> dict[str, Any]:
        return {"nodes": NODES_PER_LEVEL}

    def layer(self, index: int, tokens: Tensor, attention: Tensor | None, batch: Batch) -> None:
        patches = tokens[:, self.prepared.model.num_prefix_tokens :]
        weights = self.weights[self.prepared.layer_grid(index)]
        self._layers.append(torch.matmul(weights, patches).cpu().numpy())

    def rows(self, batch: Batch) -> Rows:
        out = together(self._layers)
        self._layers.clear()
        return {"local": out}


class AttentionStatistics(Recorder):
    """`distance`, `entropy`, `nmi`: float32 (rows, blocks, heads); NaN for heads that a block does not have."""

    name = "attention"
    wants_attention = True

    def __init__(self, prepared: PreparedModel, source: Source) -> None:
        super().__init__(prepared, source)
        self.distances = {
            grid: attention_measures.patch_distances(grid, prepared.size[0] / grid[0], prepared.device)
            for grid in {prepared.layer_grid(index) for index in range(1, prepared.layers)}
        }
        self._layers: list[Tensor] = []

    def layer(self, index: int, tokens: Tensor, attention: Tensor | None, batch: Batch) -> None:
        if attention is not None:
            prefix = self.prepared.model.num_prefix_tokens
            distances = self.distances[self.prepared.layer_grid(index)]
            found = attention_measures.statistics(attention, distances, num_prefix=prefix)
            self._layers.append(torch.stack([found.distance, found.entropy, found.nmi]))

    def rows(self, batch: Batch) -> Rows:
        heads = max(found.shape[-1] for found in self._layers)
        self._layers = [
            torch.nn.functional.pad(found, (0, heads - found.shape[-1]), value=torch.nan) for found in self._layers
        ]
        out = torch.stack(self._layers, dim=2).cpu().numpy().astype(np.float32)
        self._layers.clear()
        return dict(zip(("distance", "entropy", "nmi"), out, strict=True))


class AttentionMaps(Recorder):
    """Attention over the patches, heads averaged, rows summing to one; float32.

    `cls`: (rows, blocks, patches), of [CLS]; `object`: (rows, patches), of the patch on the object (the image's centre
    where no mask is known), last block; `rollout`: (rows, patches), of [CLS] through all blocks.
    """

    name = "attention_maps"
    wants_attention = True

    def __init__(self, prepared: PreparedModel, source: Source) -> None:
        super().__init__(prepared, source)
        self.has_cls = "cls" in prepared.model.poolings
        self._cls: list[Tensor] = []
        self._rollout = attention_measures.Rollout()
        self._last: Tensor | None = None

    def layer(self, index: int, tokens: Tensor, attention: Tensor | None, batch: Batch) -> None:
        if attention is None:
            return
        prefix = self.prepared.model.num_prefix_tokens
        if self.has_cls:
            self._cls.append(attention_measures.query_map(attention, 0, num_prefix=prefix))
            self._rollout.update(attention)
        if index == self.prepared.model.depth:
            queries = torch.from_numpy(object_patches(self.source.image_set, batch.indices, self.prepared)) + prefix
            self._last = attention_measures.query_map(attention, queries, num_prefix=prefix)

    def rows(self, batch: Batch) -> Rows:
        out: Rows = {"object": self._last.cpu().numpy()} if self._last is not None else {}
        if self.has_cls:
            out["cls"] = torch.stack(self._cls, dim=1).cpu().numpy()
            prefix = self.prepared.model.num_prefix_tokens
            rolled = self._rollout.result()[:, 0, prefix:]
            out["rollout"] = (rolled / rolled.sum(dim=1, keepdim=True)).cpu().numpy()
        self._cls.clear()
        self._rollout = attention_measures.Rollout()
        return out


def object_patches(image_set: ImageSet, indices: np.ndarray, prepared: PreparedModel) -> np.ndarray:
    """For each image the patch nearest the centre of its object: int64 (n,)."""
    rows, columns = prepared.layer_grid(prepared.layers - 1)
    if image_set.object_masks is None:
        return np.full(len(indices), (rows // 2) * columns + columns // 2, dtype=np.int64)
    masks = prepared.masks(image_set, indices).astype(np.float64)
    mass = np.maximum(masks.sum(axis=(1, 2)), 1e-12)
    y = np.einsum("nhw,h->n", masks, np.arange(masks.shape[1]) + 0.5) / mass / masks.shape[1]
    x = np.einsum("nhw,w->n", masks, np.arange(masks.shape[2]) + 0.5) / mass / masks.shape[2]
    empty = masks.sum(axis=(1, 2)) == 0
    y, x = np.where(empty, 0.5, y), np.where(empty, 0.5, x)
    row = np.minimum((y * rows).astype(np.int64), rows - 1)
    return row * columns + np.minimum((x * columns).astype(np.int64), columns - 1)


class Moments(Recorder):
    """Mean and variance of every token at its position, per layer: what the level spectrum centres on.

    Rows: `seen`, so that the store has some. Summary: `mean.N`, `variance.N` of layer N, float64 (tokens, width), and
    `within.N`, (width, width): the covariance of tokens at their own position, mean over positions.
    """

    name = "moments"
    version = 3
    whole = True

    def __init__(self, prepared: PreparedModel, source: Source) -> None:
        super().__init__(prepared, source)
        self.begin()

    def begin(self) -> None:
        self.layers = [level_measures.Moments() for _ in range(self.prepared.layers)]
        self._origin: dict[int, Tensor] = {}
        self._products: dict[int, Tensor] = {}

    def layer(self, index: int, tokens: Tensor, attention: Tensor | None, batch: Batch) -> None:
        self.layers[index].update(tokens.cpu().numpy())
        origin = self._origin.setdefault(index, tokens.mean(dim=0))  # near the mean: sums of squares stay exact
        flat = (tokens - origin).flatten(0, 1)
        products = (flat.T @ flat).double().cpu()
        self._products[index] = self._products[index] + products if index in self._products else products

    def rows(self, batch: Batch) -> Rows:
        return {"seen": np.ones(len(batch.indices), dtype=np.uint8)}

    def summary(self) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for index in range(len(self.layers)):
            moments = self.layers.pop(0)  # what is summed up is let go: of large images it takes hundreds of MB
            offset = moments.mean - self._origin.pop(index).double().cpu().numpy()
            within = self._products.pop(index).numpy() / moments.count - offset.T @ offset
            found |= {f"mean.{index}": moments.mean, f"variance.{index}": moments.variance}
            found[f"within.{index}"] = within / len(offset)
        return found


class Fourier(Recorder):
    """`fourier`: float32 (rows, layers, bins): Fourier log-amplitude of the patch tokens by frequency.

    Where the layers have no grid in common, there is `seen` alone.
    """

    name = "fourier"

    def __init__(self, prepared: PreparedModel, source: Source) -> None:
        super().__init__(prepared, source)
        self.given = prepared.no_common_grid is None
        self._layers: list[np.ndarray] = []

    def layer(self, index: int, tokens: Tensor, attention: Tensor | None, batch: Batch) -> None:
        if not self.given:
            return
        patches = tokens[:, self.prepared.model.num_prefix_tokens :]
        maps = patches.reshape(len(patches), *self.prepared.layer_grid(index), -1).cpu().numpy()
        self._layers.append(spectrum_measures.fourier_log_amplitude(maps).astype(np.float32))

    def rows(self, batch: Batch) -> Rows:
        if not self.given:
            return {"seen": np.ones(len(batch.indices), dtype=np.uint8)}
        out = np.stack(self._layers, axis=1)
        self._layers.clear()
        return {"fourier": out}
