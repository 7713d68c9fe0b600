"""What probes read of measurements that were gathered: arrays by name, layer and pooling."""

from __future__ import annotations

import numpy as np

from probekit.collect.image_sets import Splits
from probekit.collect.prepared import PreparedModel
from probekit.collect.store import Store
from probekit.collect.stored import Column
from probekit.collect.subject import Subject
from probekit.errors import ProbeError

IN_MEMORY = 192 * 2**20
"""Tables of features up to this many bytes together, the untrained twin's included, are read once and kept while the
probes of one checkpoint run, until the next pass over images needs the memory."""


class Readings(Subject):
    """Arrays that were recorded of a checkpoint on an image set."""

    def __init__(self, prepared: PreparedModel, sets: Splits) -> None:
        super().__init__(prepared, sets)
        self._stores: dict[str, Store] = {}
        self._tables: dict[tuple[str, str], np.ndarray] = {}

    def store(self, name: str) -> Store:
        """The rows of a measurement that was gathered."""
        if name not in self._stores:
            raise ProbeError(f"{name!r} was not gathered: the probe that reads it must list it in its NEEDS.")
        return self._stores[name]

    def recorded(self, name: str, array: str) -> np.ndarray:
        """A whole array of a measurement, first axis images: the recorder's docstring says its shape."""
        return np.asarray(self.store(name)[array][:])

    def pooled(self, split: str, layer: int, pooling: str) -> np.ndarray:
        """Features: float32 (images, width). One layer is read at a time where the table is large."""
        return self._column(f"features:{split}", "pooled", layer, self.prepared.poolings.index(pooling))

    def streamed(self, split: str, layer: int, pooling: str) -> np.ndarray | Column:
        """Features as `pooled` gives them if a fit can hold them (twice) in `memory`, else rows that are read when
        asked for: what takes `linear.Rows` takes both.
        """
        return self._streamed(f"features:{split}", "pooled", layer, self.prepared.poolings.index(pooling))

    def local(self, split: str, layer: int, node: int) -> np.ndarray | Column:
        """Features under a chosen latent's support, (images, width), as `streamed` gives them."""
        return self._streamed(f"local:{split}", "local", layer, node)

    @property
    def memory(self) -> int:
        """Bytes of features that a fit may hold at a time."""
        return int(self.prepared.settings.memory * 2**30)

    def shifted(self, spec: str, pooling: str) -> np.ndarray:
        """Features of the last layer on a shifted test set: float32 (images, width)."""
        return self._column(f"shift:{spec}", "pooled", 0, self.prepared.poolings.index(pooling))

    def views(self, layer: int, pooling: str) -> np.ndarray:
        """Features of augmented views: float32 (images, views, width)."""
        stored = self.store("views")["pooled"]
        place = self.prepared.poolings.index(pooling)
        return np.asarray(stored.layer(layer)[:, place], dtype=np.float32)

    def ladder(self, layer: int, pooling: str) -> np.ndarray:
        """Features of the four views of each image that the level ladder compares: float32 (images, 4, width)."""
        return self.recorded("ladder", f"{pooling}_{layer}")

    def masked(self, ratio: float, unit: int, layer: int) -> np.ndarray:
        """Mean-pooled features of the visible patches under an evaluation mask: float32 (images, width)."""
        return self.recorded(f"masked:{ratio:g}:{unit}", f"mean_{layer}")[:, 0]

    def masked_ladder(self, ratio: float, unit: int, layer: int) -> np.ndarray:
        """As `ladder`, mean-pooled over the visible patches, each view under a mask of its own."""
        return self.recorded(f"masked_ladder:{ratio:g}:{unit}", f"mean_{layer}")

    def masked_pixels(self, ratio: float, unit: int) -> dict[str, np.ndarray]:
        """`mse` and, where images are large enough, `ssim` of the hidden pixels: float32 (images,) each."""
        store = self.store(f"masked_pixels:{ratio:g}:{unit}")
        return {name: np.asarray(store[name][:]) for name in store.names()}

    def _column(self, name: str, array: str, layer: int, place: int) -> np.ndarray:
        """Rows of one layer at one of its places, at that layer's own width: float32 (rows, width)."""
        stored = self.store(name)[array]
        key = str(self.prepared.facts["weights"]), name
        if key not in self._tables:
            held = sum(table.nbytes for table in self._tables.values())
            if len(set(stored.shapes)) > 1 or held + stored.nbytes > IN_MEMORY:
                return Column(stored, layer, place)[:]
            self._tables[key] = np.asarray(stored[:])
        return np.asarray(self._tables[key][:, layer, place], dtype=np.float32)

    def _streamed(self, name: str, array: str, layer: int, place: int) -> np.ndarray | Column:
        column = Column(self.store(name)[array], layer, place)
        held = 2 * 4 * column.shape[0] * column.shape[1]
        return column if held > self.memory else self._column(name, array, layer, place)
