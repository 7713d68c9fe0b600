"""What probes see: measurements by name, whether they were just taken or lay in the cache.

`gather` takes everything that is missing in as few passes as possible: one over each split, one over partners, one over
views, one over each shifted set. A probe then reads arrays and never sees a model (but for `gradients`, which need
one).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from probekit import cache
from probekit.collect import passes, pictures, recorders
from probekit.collect.identity import ranks
from probekit.collect.image_sets import Splits
from probekit.collect.partners import PairTerms, reference
from probekit.collect.pass_settings import Counts
from probekit.collect.prepared import PreparedModel, Source, ViewSource
from probekit.collect.recorders import Recorder
from probekit.collect.store import LAYOUT, Store
from probekit.data import SPLITS, ImageSet
from probekit.errors import ProbeError, did_you_mean


class Need(NamedTuple):
    """Where a measurement comes from: its recorder, the split, and which of `Counts` limits it."""

    recorder: type[Recorder]
    split: str
    count: str


NEEDS: dict[str, Need] = {
    **{f"features:{split}": Need(recorders.Pooled, split, split) for split in SPLITS},
    **{f"local:{split}": Need(recorders.Local, split, split) for split in SPLITS},
    "attention": Need(recorders.AttentionStatistics, "test", "images"),
    "attention_maps": Need(recorders.AttentionMaps, "test", "images"),
    "fourier": Need(recorders.Fourier, "test", "images"),
    "moments": Need(recorders.Moments, "test", "pairs"),
    "reconstruction": Need(pictures.Reconstruction, "test", "images"),
    "pictures": Need(pictures.Pictures, "test", "pictures"),
}
"""What one pass over a split can give."""

EXTRA = ("pairs", "views", "shifts", "conflict")
"""What takes passes of its own: (1 + H) forwards per pair, the views, each shifted set, the cue-conflict set."""

LIMITS = {"pairs": "pairs", "views": "objects", "shifts": "shifted", "conflict": "shifted"}
"""Which of `Counts` limits an extra pass."""

IMPLIED = {"pairs": ("moments", "features:test")}
"""What an extra pass needs to have been measured before."""

IN_MEMORY = 192 * 2**20
"""A table of features up to this many bytes is read once and kept while the probes of one checkpoint run."""


class Measurements:
    """The measurements of one checkpoint on one image set.

    Args:
        prepared: the checkpoint, and how images are put before it.
        sets: the splits.
        root: folder of the stores.
    """

    def __init__(self, prepared: PreparedModel, sets: Splits, root: Path) -> None:
        self.prepared = prepared
        self.sets = sets
        self.root = root
        self.forwards = 0
        """Images that went through an encoder so far."""
        self.fits: dict[Any, Any] = {}
        """What probes fitted and others can use, by what determines it; gone with the measurements."""
        self.lacking: dict[str, str] = {}
        """Variable -> why the probe that is running cannot give it, where it gives its others."""
        self._stores: dict[str, Store] = {}
        self._tables: dict[str, np.ndarray] = {}

    # --- facts ------------------------------------------------------------------------------------------------------

    @property
    def counts(self) -> Counts:
        return self.sets.counts

    @property
    def seed(self) -> int:
        return self.prepared.settings.seed

    @property
    def layers(self) -> list[int]:
        """0 = embedding, 1..L."""
        return list(range(self.prepared.layers))

    @property
    def poolings(self) -> tuple[str, ...]:
        return self.prepared.poolings

    def images(self, split: str = "test") -> ImageSet:
        return self.sets[split]

    def labels(self, split: str) -> np.ndarray:
        return np.asarray(self.images(split).labels[: self.sets.size(split)])

    def groups(self, rows: int) -> np.ndarray | None:
        """What intervals resample instead of single test images, if the set says so."""
        groups = self.images("test").groups
        return None if groups is None else np.asarray(groups[:rows])

    def order(self, rows: int, split: str = "test") -> np.ndarray:
        """What draws from the first images of a split go by, so that the same images in another order give the same
        numbers: int64 (rows,).
        """
        return ranks(self.images(split), rows)

    # --- taking -----------------------------------------------------------------------------------------------------

    def gather(self, needs: Iterable[str]) -> None:
        """Recording what is missing of `needs`."""
        wanted = list(dict.fromkeys(needs))
        for name in list(wanted):
            wanted += [other for other in IMPLIED.get(name, ()) if other not in wanted]
        unknown = [name for name in wanted if name not in NEEDS and name not in EXTRA]
        if unknown:
            raise ProbeError(f"No measurement is called {unknown[0]!r}. {did_you_mean(unknown[0], [*NEEDS, *EXTRA])}")
        for split in SPLITS:
            names = [name for name in wanted if name in NEEDS and NEEDS[name].split == split]
            if names:
                self._over_split(split, names)
        if "pairs" in wanted:
            self._pairs()
        if "views" in wanted:
            source = ViewSource(self.images("test"), self._rows("objects"), self.counts.views, self.seed)
            self._run(source, {"views": recorders.Pooled(self.prepared, source)}, "views")
        specs = (
            *(self.sets.shifts if "shifts" in wanted else ()),
            *([self.sets.conflict] if "conflict" in wanted else ()),
        )
        for spec in specs:
            source = Source(self.sets.shifted(spec), self.counts.shifted)
            self._run(source, {f"shift:{spec}": recorders.LastPooled(self.prepared, source)}, spec)

    def _rows(self, count: str) -> int:
        return min(int(getattr(self.counts, count)), self.sets.size("test"))

    def _over_split(self, split: str, names: list[str]) -> None:
        takes = {}
        for name in names:
            rows = self.sets.size(split) if NEEDS[name].count == split else self._rows(NEEDS[name].count)
            source = Source(self.images(split), rows)
            takes[name] = NEEDS[name].recorder(self.prepared, source)
        self._run(Source(self.images(split), self.sets.size(split)), takes, f"{split} images")

    def _pairs(self) -> None:
        source = self.sets.pairs(self.seed)
        moments = self.store("moments").summary()
        references = {}
        for layer in self.layers:
            mean, variance = moments["mean"][layer], moments["variance"][layer]
            references[layer, "token"] = reference(mean, variance, self.prepared.device)
            for name in self.poolings:
                features = self.pooled("test", layer, name)[: source.rows].astype(np.float64)
                references[layer, name] = reference(features.mean(axis=0), features.var(axis=0), self.prepared.device)
        self._run(source, {"pairs": PairTerms(self.prepared, source, references)}, "partners")

    def _run(self, source: Source, takes: dict[str, Recorder], stage: str) -> None:
        running = []
        for name, recorder in takes.items():
            facts = {
                "layout": LAYOUT,
                "take": recorder.name,
                "version": recorder.version,
                "frame": self.prepared.facts,
                "source": recorder.source.facts,
                "recorder": recorder.facts,
            }
            folder = self.root / cache.key(**facts)
            self._stores[name] = Store(folder, recorder.source.rows, facts, whole=recorder.whole)
            running.append(passes.Recording(recorder, self._stores[name]))
        title = f"{self.prepared.checkpoint.name} on {self.images().name}: {stage}"
        self.forwards += passes.run(self.prepared, source, running, title) * source.per_row

    # --- reading ----------------------------------------------------------------------------------------------------

    def store(self, name: str) -> Store:
        """The rows of a measurement that was gathered."""
        if name not in self._stores:
            raise ProbeError(f"{name!r} was not gathered: the probe that reads it must list it in its NEEDS.")
        return self._stores[name]

    def pooled(self, split: str, layer: int, pooling: str) -> np.ndarray:
        """Features: float32 (images, width). One layer is read at a time where the table is large."""
        return self._table(f"features:{split}", "pooled", layer)[:, self.poolings.index(pooling)]

    def local(self, split: str, layer: int) -> np.ndarray:
        """Features under each chosen latent's support: float32 (images, nodes, width)."""
        return self._table(f"local:{split}", "local", layer)

    def shifted(self, spec: str, pooling: str) -> np.ndarray:
        """Features of the last layer on a shifted test set: float32 (images, width)."""
        return np.asarray(self.store(f"shift:{spec}")["pooled"][:, 0, self.poolings.index(pooling)])

    def views(self, layer: int, pooling: str) -> np.ndarray:
        """Features of augmented views: float32 (images, views, width)."""
        return self._table("views", "pooled", layer)[:, self.poolings.index(pooling)]

    def _table(self, name: str, array: str, layer: int) -> np.ndarray:
        stored = self.store(name)[array]
        if stored.nbytes > IN_MEMORY:
            return np.asarray(stored[:, layer])
        if name not in self._tables:
            self._tables[name] = np.asarray(stored[:])
        return self._tables[name][:, layer]

    @cached_property
    def has_cls(self) -> bool:
        return "cls" in self.poolings
