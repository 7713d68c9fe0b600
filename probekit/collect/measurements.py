"""What probes read: measurements by name, whether they were just taken or lay in the cache.

`gather` takes everything that is missing in as few passes as possible: one over each split, one over partners, one over
views, one over each shifted set. A probe then reads arrays; only integrated gradients need the model itself.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from probekit import cache
from probekit.collect import passes, pictures, recorders, tokens
from probekit.collect.identity import ranks
from probekit.collect.image_sets import Splits
from probekit.collect.ladder import RATIOS, LadderSource, MaskedPixels, MaskedSource, PooledViews, units_that_fit
from probekit.collect.partners import PairTerms, reference
from probekit.collect.pass_settings import Counts
from probekit.collect.prepared import Pairs, PreparedModel, Source, ViewSource
from probekit.collect.recorders import Recorder
from probekit.collect.schedule import Recording
from probekit.collect.store import LAYOUT, Store
from probekit.collect.untrained import untrained
from probekit.data import SPLITS, ImageSet
from probekit.data.ladder_views import LadderViews
from probekit.errors import ProbeError, StorageError, did_you_mean
from probekit.files import written_whole
from probekit.measures.whitening import fit_whitening, whitening_matrix


class Need(NamedTuple):
    """Where a measurement comes from: its recorder (None: the images), the split, and what limits it in `Counts`."""

    recorder: type[Recorder] | None
    split: str
    limit: str


NEEDS: dict[str, Need] = {
    **{f"images:{split}": Need(None, split, split) for split in SPLITS},
    **{f"features:{split}": Need(recorders.Pooled, split, split) for split in SPLITS},
    **{f"local:{split}": Need(recorders.Local, split, split) for split in SPLITS},
    **{f"tokens:{split}": Need(tokens.Tokens, split, split) for split in SPLITS},
    "attention": Need(recorders.AttentionStatistics, "test", "images"),
    "attention_maps": Need(recorders.AttentionMaps, "test", "images"),
    "fourier": Need(recorders.Fourier, "test", "images"),
    "moments": Need(recorders.Moments, "test", "pairs"),
    "reconstruction": Need(pictures.Reconstruction, "test", "images"),
    "pictures": Need(pictures.Pictures, "test", "pictures"),
}
"""What one pass over a split can give; `images:SPLIT` needs no pass."""

EXTRA = ("pairs", "ladder", "masked", "masked_ladder", "masked_pixels", "views", "shifts", "conflict")
"""What takes passes of its own: (1 + H) forwards per pair, four views per image, the images (their four views; their
pixels) under each evaluation mask, the views of LiDAR, each shifted set, the cue-conflict set."""

LIMITS = {
    "pairs": "pairs", "ladder": "ladder", "masked": "masked", "masked_ladder": "masked", "masked_pixels": "masked",
    "views": "objects", "shifts": "shifted", "conflict": "shifted",
}  # fmt: skip
"""Which of `Counts` limits an extra pass."""

IMPLIED = {"pairs": ("moments", "features:test"), "masked": ("features:test",), "masked_ladder": ("ladder",)}
"""What an extra pass needs to have been measured before."""

IN_MEMORY = 192 * 2**20
"""A table of features up to this many bytes is read once and kept while the probes of one checkpoint run."""


GRADIENT_STEPS = 8
"""Forwards, each with a gradient, per image whose integrated gradients are taken."""


class Stage(NamedTuple):
    """One pass: its source of images, and the recorders that look on."""

    title: str
    source: Source
    recorders: Callable[[], dict[str, Recorder]]
    countable: bool = True
    """Whether the recorders can be made before the passes before it are done."""


class Planned(NamedTuple):
    """What a pass costs: rows of images, forwards of each, how many forwards in all are not in the cache, and the bytes
    that features and tokens take there.
    """

    title: str
    images: int
    per_image: int
    missing: int
    bytes: int = 0


def measurable(need: str) -> bool:
    """Whether `gather` takes it; of what is only counted, the probe itself makes the forwards."""
    return need != "gradients" and not need.startswith("untrained")


def _whitening_of(features: np.ndarray) -> np.ndarray:
    return fit_whitening(features).matrix


def _or_none(fit: Callable[[], np.ndarray]) -> np.ndarray | None:
    """A whitening; None where there are too few images for one, or the features never vary."""
    try:
        return fit()
    except ProbeError:
        return None


class Measurements:
    """The measurements of one checkpoint on one image set: all that a probe reads.

    Attributes:
        seed: of draws, fits and resampling.
        counts: how many images each part of a measurement uses (`Counts`).
        all_layers: numbers of the layers, 0 = embedding to L = after the final norm.
        layers: those of them that are asked for.
        poolings: names of the poolings that are asked for: `cls`, `mean`, `native`.
        grid: (rows, columns) of ViT patches.
        mask_grid: (rows, columns) of the units that the evaluation masks hide.
        image_size: (height, width) in pixels of the images that the checkpoint sees.
        picture_side: longest side, in pixels, of pictures that are kept.
        batch_size: images that go through the model at once.
        device: where the checkpoint is, as text.
        card: the checkpoint's card.
        model: the model itself, for what no measurement can give.
        shifts: specs of the shifted test sets; conflict: spec of the cue-conflict set, or None.
        fits: what a probe fitted and others can use, by what determines it; gone with the measurements.
        lacking: variable -> why the probe that is running cannot give it, where it gives its others. Probes write here.
        forwards: images that went through an encoder so far.

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
        self.fits: dict[Any, Any] = {}
        self.lacking: dict[str, str] = {}
        self._stores: dict[str, Store] = {}
        self._tables: dict[str, np.ndarray] = {}
        self._twins: dict[int, Measurements] = {}

    # --- facts ------------------------------------------------------------------------------------------------------

    @property
    def counts(self) -> Counts:
        return self.sets.counts

    @property
    def seed(self) -> int:
        return self.prepared.settings.seed

    @property
    def all_layers(self) -> list[int]:
        return list(range(self.prepared.layers))

    @cached_property
    def layers(self) -> list[int]:
        asked = self.prepared.settings.layers
        if asked is None:
            return self.all_layers
        count = self.prepared.layers
        if not all(-count <= layer < count for layer in asked):
            raise ProbeError(
                f"layers={list(asked)}: {self.prepared.checkpoint.name} has the layers 0 (embedding) to {count - 1}; "
                "negative numbers count from the last, -1."
            )
        return sorted({layer % count for layer in asked})

    @cached_property
    def poolings(self) -> tuple[str, ...]:
        asked, known = self.prepared.settings.poolings, self.prepared.poolings
        for name in asked or ():
            if name not in known:
                raise ProbeError(
                    f"poolings={list(asked or ())}: {self.prepared.checkpoint.name} has {', '.join(known)}. "
                    f"{did_you_mean(name, known)}"
                )
        return known if asked is None else tuple(name for name in known if name in asked)

    def asked_for(self, array: xr.DataArray) -> xr.DataArray:
        """A result without the layers and poolings that were not asked for."""
        wanted = {"layer": self.layers, "layer_other": self.layers}
        others = set(self.prepared.poolings) - set(self.poolings)
        for dim in set(array.dims) & set(array.coords):
            labels = array[dim].values.tolist()
            if dim in wanted:
                array = array.sel({dim: [label for label in labels if label in wanted[str(dim)]]})
            elif dim == "pooling" and others & set(labels):
                array = array.sel({dim: [label for label in labels if label not in others]})
        return array

    @property
    def grid(self) -> tuple[int, int]:
        return self.prepared.grid

    def layer_grid(self, layer: int) -> tuple[int, int]:
        """(rows, columns) of a layer's patches; they differ between layers of hierarchical encoders."""
        return self.prepared.layer_grid(layer)

    @property
    def mask_grid(self) -> tuple[int, int]:
        return self.prepared.mask_grid

    @property
    def image_size(self) -> tuple[int, int]:
        return self.prepared.size

    @property
    def picture_side(self) -> int:
        return self.prepared.settings.picture_side

    @property
    def batch_size(self) -> int:
        return self.prepared.settings.batch_size

    @property
    def device(self) -> str:
        return str(self.prepared.device)

    @property
    def card(self) -> Any:
        return self.prepared.checkpoint.card

    @property
    def model(self) -> Any:
        return self.prepared.model

    @property
    def shifts(self) -> tuple[str, ...]:
        return self.sets.shifts

    @property
    def conflict(self) -> str | None:
        return self.sets.conflict

    # --- images -----------------------------------------------------------------------------------------------------

    def images(self, split: str = "test") -> ImageSet:
        """A split; its first `size(split)` images are used."""
        return self.sets[split]

    def size(self, split: str) -> int:
        """How many images of a split are used."""
        return self.sets.size(split)

    def shifted_images(self, spec: str) -> ImageSet:
        """A shifted test set, or the cue-conflict set."""
        return self.sets.shifted(spec)

    def partners(self) -> Pairs:
        """The test images with partners that share their latents of height >= h, h = 1..H."""
        return self.sets.pairs(self.seed)

    def labels(self, split: str) -> np.ndarray:
        """Classes of the used images of a split: int64 (images,)."""
        return np.asarray(self.images(split).known_labels[: self.size(split)])

    def classes_and_superclasses(self, rows: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Class and superclass of the first test images, int64 (rows,) each, -1 where unknown; None where the image
        set has none, or one superclass for all. What is missing is noted in `lacking`.
        """
        images = self.images("test")
        if images.labels is None:
            self.lacking["the rungs class and superclass"] = "the images have no labels: the ladder ends at `image`"
            return None, None
        classes = np.asarray(images.labels[:rows])
        if images.superclasses is None or len(set(images.superclasses)) < 2:
            self.lacking["the rung superclass"] = "no superclasses are known: the ladder ends at `class`"
            return classes, None
        numbers = np.unique(np.asarray(images.superclasses), return_inverse=True)[1]
        return classes, np.where(classes >= 0, numbers[classes], -1)

    def targets(self, split: str) -> np.ndarray:
        """What a probe predicts instead of a class: bool or float32 (images, targets)."""
        targets = self.images(split).targets
        if targets is None:
            raise ProbeError(f"The {split} split of {self.images(split).name} has no targets.")
        return np.asarray(targets[: self.size(split)])

    def groups(self, rows: int) -> np.ndarray | None:
        """What intervals resample instead of single test images, (rows,), if the image set says so."""
        groups = self.images("test").groups
        return None if groups is None else np.asarray(groups[:rows])

    def order(self, rows: int, split: str = "test") -> np.ndarray:
        """Rank of each of the first images by a digest of its pixels: int64 (rows,). What is drawn from images in this
        order does not depend on the order they come in.
        """
        return ranks(self.images(split), rows)

    def pixels(self, images: ImageSet, indices: Iterable[int]) -> np.ndarray:
        """Images as the checkpoint sees them, before normalisation: uint8 (n, height, width, channels)."""
        return np.stack([self.prepared.preprocess(images[int(index)]) for index in indices])

    def inputs(self, images: ImageSet, rows: int) -> np.ndarray:
        """The first images as the checkpoint gets them, normalised: float32 (rows, channels, height, width)."""
        batches = images.batches(256, self.prepared.preprocess, indices=np.arange(rows))
        return np.concatenate([batch["image"].numpy() for batch in batches])

    def batches(self, indices: np.ndarray, size: int) -> Iterator[tuple[Any, Any]]:
        """(images, labels) of test images on the model's device, normalised, `size` at a time: two tensors."""
        found = self.images("test").batches(size, self.prepared.preprocess, indices=indices, device=self.device)
        for batch in found:
            yield batch["image"], batch["label"]

    def object_masks(self, rows: int) -> np.ndarray:
        """Object masks of the first test images, resized and cropped as these are: bool (rows, height, width)."""
        return self.prepared.masks(self.images("test"), np.arange(rows))

    def hidden_units(self, rows: int) -> Any:
        """The evaluation masks of the first test images on `mask_grid`: a bool tensor (rows, units), or None."""
        return self.prepared.hidden_units(self.images("test"), rows)

    # --- taking -----------------------------------------------------------------------------------------------------

    def gather(self, needs: Iterable[str]) -> None:
        """Measure what is missing of `needs`."""
        for stage in self.stages(needs):
            self._run(stage.source, stage.recorders(), stage.title)

    def planned(self, needs: Iterable[str]) -> list[Planned]:
        """What `gather` would do, without doing it.

        Args:
            needs: as in `gather`; besides, `untrained:NEED` is a need of the untrained twin (`untrained-1:NEED` of the
                one of initialisation 1), and `gradients` are integrated gradients.
        """
        wanted = list(dict.fromkeys(needs))
        twins: dict[int, list[str]] = {}
        for name in wanted:
            if name.startswith("untrained"):
                which, _, need = name.removeprefix("untrained").partition(":")
                twins.setdefault(int(which.removeprefix("-") or 0), []).append(need)
        found = [one for stage in self.stages(filter(measurable, wanted)) for one in self._planned(stage)]
        for initialisation, twin in {} if self.model.no_twin else twins.items():
            more = self.untrained(initialisation).planned(twin)
            found += [one._replace(title=f"untrained: {one.title}") for one in more]
        if "gradients" in wanted:
            rows = self.rows("gradients")
            found.append(Planned("gradients", rows, GRADIENT_STEPS, rows * GRADIENT_STEPS))
        return found

    def _planned(self, stage: Stage) -> Iterator[Planned]:
        source = stage.source
        if not stage.countable:
            yield Planned(stage.title, source.rows, source.per_row, source.rows * source.per_row)
            return
        takes = [(recorder, self._store(recorder)) for recorder in stage.recorders().values()]
        lacking = max(store.rows - store.done for _, store in takes)
        size = sum(recorder.row_bytes * store.rows for recorder, store in takes)
        rows = max(store.rows for _, store in takes)
        yield Planned(stage.title, rows, source.per_row, lacking * source.per_row, size)
        for recorder, store in takes:
            if more := recorder.more_forwards:
                yield Planned(f"{recorder.name}: {stage.title}", store.rows, more, (store.rows - store.done) * more)

    def stages(self, needs: Iterable[str]) -> Iterator[Stage]:
        """The passes that `needs` take, each when those before it are done."""
        wanted = list(dict.fromkeys(needs))
        for name in list(wanted):
            wanted += [other for other in IMPLIED.get(name, ()) if other not in wanted]
        unknown = [name for name in wanted if name not in NEEDS and name not in EXTRA]
        if unknown:
            raise ProbeError(f"No measurement is called {unknown[0]!r}. {did_you_mean(unknown[0], [*NEEDS, *EXTRA])}")
        for split in SPLITS:
            names = [name for name in wanted if name in NEEDS and NEEDS[name].split == split and NEEDS[name].recorder]
            if names:
                source = Source(self.images(split), self.size(split))
                yield Stage(f"{split} images", source, partial(self._over_split, split, names))
        if "pairs" in wanted:
            yield Stage("partners", self.sets.pairs(self.seed), self._pairs, countable=False)
        if "ladder" in wanted:
            ladder = self._ladder_source(self.rows("ladder"))
            yield self._stage("views of the ladder", "ladder", PooledViews(self.prepared, ladder, self.poolings))
        yield from self._masked([name for name in wanted if name.startswith("masked")])
        if "views" in wanted:
            views = ViewSource(self.images("test"), self.rows("objects"), self.counts.views, self.seed)
            yield self._stage("views", "views", recorders.Pooled(self.prepared, views))
        specs = (
            *(self.sets.shifts if "shifts" in wanted else ()),
            *([self.sets.conflict] if "conflict" in wanted else ()),
        )
        for spec in specs:
            source = Source(self.sets.shifted(spec), self.counts.shifted)
            yield self._stage(f"shifted: {spec}", f"shift:{spec}", recorders.LastPooled(self.prepared, source))

    @staticmethod
    def _stage(title: str, name: str, recorder: Recorder) -> Stage:
        return Stage(title, recorder.source, lambda: {name: recorder})

    def rows(self, limit: str) -> int:
        """How many test images a part of the measurement uses, by its name in `Counts`."""
        return min(int(getattr(self.counts, limit)), self.size("test"))

    def _over_split(self, split: str, names: list[str]) -> dict[str, Recorder]:
        takes: dict[str, Recorder] = {}
        for name in names:
            need = NEEDS[name]
            source = Source(self.images(split), self.size(split) if need.limit == split else self.rows(need.limit))
            assert need.recorder is not None
            takes[name] = need.recorder(self.prepared, source)
        return takes

    def _ladder_source(self, rows: int) -> LadderSource:
        return LadderSource(self.images("test"), rows, self.seed)

    def _masked(self, names: list[str]) -> Iterator[Stage]:
        """The passes under evaluation masks: one over the images, one over their views, for each ratio and unit."""
        rows = self.rows("masked") if names else 0
        for ratio, unit in self.response_grid() if names else ():
            setting = f"{ratio:g}:{unit}"
            single = MaskedSource(Source(self.images("test"), rows), ratio, unit, self.seed)
            takes: dict[str, Recorder] = {}
            if "masked" in names:
                takes[f"masked:{setting}"] = PooledViews(self.prepared, single, ("mean",))
            if "masked_pixels" in names:
                takes[f"masked_pixels:{setting}"] = MaskedPixels(self.prepared, single)
            if takes:
                yield Stage(f"masked images: ratio {ratio:g}, unit {unit}", single, partial(dict, takes))
            if "masked_ladder" in names:
                views = MaskedSource(self._ladder_source(rows), ratio, unit, self.seed)
                recorder = PooledViews(self.prepared, views, ("mean",))
                yield self._stage(f"masked views: ratio {ratio:g}, unit {unit}", f"masked_ladder:{setting}", recorder)

    def _pairs(self) -> dict[str, Recorder]:
        source = self.sets.pairs(self.seed)
        moments = self.store("moments").summary()
        references = {}
        for layer in self.all_layers:
            mean, variance = moments[f"mean.{layer}"], moments[f"variance.{layer}"]
            whitening = _or_none(partial(whitening_matrix, moments[f"within.{layer}"], source.rows))
            references[layer, "token"] = reference(mean, variance, self.prepared.device, whitening)
            for name in self.prepared.poolings:
                features = self.pooled("test", layer, name).astype(np.float64)
                whitening = _or_none(partial(_whitening_of, features))
                own = features[: source.rows]
                references[layer, name] = reference(own.mean(axis=0), own.var(axis=0), self.prepared.device, whitening)
        return {"pairs": PairTerms(self.prepared, source, references)}

    def _run(self, source: Source, takes: dict[str, Recorder], stage: str) -> None:
        running = []
        for name, recorder in takes.items():
            self._stores[name] = self._store(recorder)
            running.append(Recording(recorder, self._stores[name]))
        title = f"{self.prepared.checkpoint.name} on {self.images().name}: {stage}"
        self.forwards += passes.run(self.prepared, source, running, title) * source.per_row

    def _store(self, recorder: Recorder) -> Store:
        """Where a recorder's rows lie."""
        facts = {
            "layout": LAYOUT,
            "take": recorder.name,
            "version": recorder.version,
            "frame": self.prepared.facts,
            "source": recorder.source.facts,
            "recorder": recorder.facts,
        }
        return Store(self.root / cache.key(**facts), recorder.source.rows, facts, whole=recorder.whole)

    # --- reading ----------------------------------------------------------------------------------------------------

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
        return self._table(f"features:{split}", "pooled", layer)[:, self.prepared.poolings.index(pooling)]

    def local(self, split: str, layer: int) -> np.ndarray:
        """Features under each chosen latent's support: float32 (images, nodes, width)."""
        return self._table(f"local:{split}", "local", layer)

    def shifted(self, spec: str, pooling: str) -> np.ndarray:
        """Features of the last layer on a shifted test set: float32 (images, width)."""
        return np.asarray(self.store(f"shift:{spec}")["pooled"][:, 0, self.prepared.poolings.index(pooling)])

    def views(self, layer: int, pooling: str) -> np.ndarray:
        """Features of augmented views: float32 (images, views, width)."""
        return self._table("views", "pooled", layer)[:, self.prepared.poolings.index(pooling)]

    def ladder(self, layer: int, pooling: str) -> np.ndarray:
        """Features of the four views of each image that the level ladder compares: float32 (images, 4, width)."""
        return self.recorded("ladder", f"{pooling}_{layer}")

    def ladder_views(self) -> LadderViews:
        """The views themselves, as the model sees them."""
        return self._ladder_source(self.rows("ladder")).views(self.prepared)

    def response_grid(self) -> list[tuple[float, int]]:
        """(mask ratio, side of the hidden unit in units of `mask_grid`) of the passes under evaluation masks."""
        return [(ratio, unit) for unit in units_that_fit(self.mask_grid) for ratio in RATIOS]

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

    def _table(self, name: str, array: str, layer: int) -> np.ndarray:
        """Rows of one layer, at that layer's own width."""
        stored = self.store(name)[array]
        if len(set(stored.shapes)) > 1:
            return stored.layer(layer)
        if stored.nbytes > IN_MEMORY:
            return np.asarray(stored[:, layer])
        if name not in self._tables:
            self._tables[name] = np.asarray(stored[:])
        return self._tables[name][:, layer]

    def kept(self, facts: Mapping[str, Any], compute: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Arrays that a probe computes from measurements, kept beside these for other checkpoints' probes to use.

        Args:
            facts: what determines them besides the model, the images and their numbers, the layers and the seed.
            compute: gives the arrays where they are not there.
        """
        images = {split: (self.sets[split].fingerprint, self.size(split)) for split in SPLITS if self.sets.has(split)}
        name = cache.key(
            **facts, images=images, frame=self.prepared.facts, layers=self.layers, seed=self.seed, layout=LAYOUT
        )
        file = self.root / f"{name}.npz"
        try:
            with open(file, "rb") as handle, np.load(handle, allow_pickle=False) as stored:
                return dict(stored)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            pass
        found = dict(compute())
        with suppress(StorageError), written_whole(file, kept="") as part, open(part, "wb") as target:
            np.savez(target, allow_pickle=False, **found)
        return found

    # --- the untrained twin -----------------------------------------------------------------------------------------

    def untrained(self, initialisation: int = 0) -> Measurements:
        """Measurements of the same architecture with weights drawn anew: gather from it what you need.

        Its numbers depend on the architecture and the initialisation alone, so checkpoints of one architecture share
        them in the cache.

        Args:
            initialisation: seed of the weights.
        """
        if initialisation not in self._twins:
            twin = untrained(self.prepared, initialisation)
            self._twins[initialisation] = Measurements(twin, self.sets, self.root)
        return self._twins[initialisation]
