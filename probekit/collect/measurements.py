"""What probes read: measurements by name, whether they were just taken or lay in the cache.

`gather` takes everything that is missing in as few passes as possible: one over each split, one over partners, one over
views, one over each shifted set. A probe then reads arrays; only integrated gradients need the model itself.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probekit import cache
from probekit.collect import passes, recorders
from probekit.collect.freed import give_back
from probekit.collect.image_sets import Splits
from probekit.collect.ladder import MaskedPixels, MaskedSource, PooledViews
from probekit.collect.needs import EXTRA, GRADIENT_STEPS, IMPLIED, NEEDS, Planned, Stage, measurable, of_twin
from probekit.collect.partners import PairTerms, reference
from probekit.collect.prepared import PreparedModel, Source, ViewSource
from probekit.collect.readings import Readings
from probekit.collect.recorders import Recorder
from probekit.collect.schedule import Recording
from probekit.collect.store import LAYOUT, Store
from probekit.collect.untrained import outlined, untrained
from probekit.data import SPLITS
from probekit.errors import ProbeError, ProbekitError, StorageError, did_you_mean
from probekit.files import read_bytes, write_bytes
from probekit.measures.linear import Rows
from probekit.measures.whitening import fit_whitening, whitening_matrix
from probekit.seals import sealed, unsealed


def _whitening_of(features: Rows) -> np.ndarray:
    return fit_whitening(features).matrix


def _or_none(fit: Callable[[], np.ndarray]) -> np.ndarray | None:
    """The whitening; None if there are too few images, or if the features are constant."""
    try:
        return fit()
    except ProbeError:
        return None


class Measurements(Readings):
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
        batch_size: images that go through the model at once (fewer than asked for, if they are large).
        device: where the checkpoint is, as text.
        card: the checkpoint's card.
        model: the model itself, for what no measurement can give.
        shifts: specs of the shifted test sets; conflict: spec of the cue-conflict set, or None.
        fits: what a probe fitted and others can use, by what determines it; gone with the measurements.
        lacking: variable -> why the probe that is running cannot give it, where it gives its others. Probes write here.
        forwards: images that went through an encoder so far.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from probekit.collect import Counts, PassSettings
        >>> prepared = PreparedModel(probekit.load("shipped:untrained-s0", device="cpu"), PassSettings(cache=False))
        >>> with TemporaryDirectory() as folder:  # a probe's `run` is given measurements that are taken already
        ...     measurements = Measurements(prepared, Splits("shapes", Counts(test=4)), Path(folder))
        ...     measurements.gather(["features:test"])
        ...     measurements.pooled("test", layer=0, pooling="mean").shape
        (4, 64)

    Args:
        prepared: the checkpoint, and how images are put before it.
        sets: the splits.
        root: folder of the stores.
    """

    def __init__(self, prepared: PreparedModel, sets: Splits, root: Path) -> None:
        super().__init__(prepared, sets)
        self.root = root
        self.forwards = 0
        self.fits: dict[Any, Any] = {}
        self._twins: dict[int, Measurements] = {}

    # --- taking -----------------------------------------------------------------------------------------------------

    def gather(self, needs: Iterable[str]) -> None:
        """Take the measurements that are not stored yet.

        Args:
            needs: names of measurements (`probekit.collect.needs.NEEDS` and `EXTRA`).

        Raises:
            ProbeError: a name that is unknown.
        """
        for stage in self.stages(needs):
            self._run(stage.source, stage.recorders(), stage.title)

    def planned(self, needs: Iterable[str]) -> list[Planned]:
        """What `gather` would do, without doing it.

        Args:
            needs: as in `gather`; besides, `untrained:NEED` is a need of the untrained twin (`untrained-1:NEED` of the
                one of initialisation 1), and `gradients` are integrated gradients.

        Returns:
            One entry for each pass over images, with its title, images and forwards.
        """
        wanted = list(dict.fromkeys(needs))
        twins: dict[int, list[str]] = {}
        for name in wanted:
            if of_twin(name):
                which, _, need = name.removeprefix("untrained").partition(":")
                twins.setdefault(int(which.removeprefix("-") or 0), []).append(need)
        found = [one for stage in self.stages(filter(measurable, wanted)) for one in self._planned(stage)]
        for initialisation, twin in {} if self.model.no_twin else twins.items():
            more = Measurements(outlined(self.prepared, initialisation), self.sets, self.root).planned(twin)
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

    def _over_split(self, split: str, names: list[str]) -> dict[str, Recorder]:
        takes: dict[str, Recorder] = {}
        for name in names:
            need = NEEDS[name]
            source = Source(self.images(split), self.size(split) if need.limit == split else self.rows(need.limit))
            assert need.recorder is not None
            takes[name] = need.recorder(self.prepared, source)
        return takes

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
                features = self.streamed("test", layer, name)
                whitening = _or_none(partial(_whitening_of, features))
                own = np.asarray(features[: source.rows], dtype=np.float64)
                references[layer, name] = reference(own.mean(axis=0), own.var(axis=0), self.prepared.device, whitening)
        return {"pairs": PairTerms(self.prepared, source, references)}

    def _run(self, source: Source, takes: dict[str, Recorder], stage: str) -> None:
        running = []
        for name, recorder in takes.items():
            self._stores[name] = self._store(recorder)
            running.append(Recording(recorder, self._stores[name]))
        if not all(one.store.complete for one in running):
            self._tables.clear()
        title = f"{self.prepared.checkpoint.name} on {self.images().name}: {stage}"
        self.forwards += passes.run(self.prepared, source, running, title) * source.per_row
        takes.clear()
        running.clear()  # what recorders summed up goes with them
        give_back()

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

    def kept(self, facts: Mapping[str, Any], compute: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Arrays that a probe computes from measurements, kept beside these for other checkpoints' probes to use.

        Args:
            facts: what determines them besides the model, the images and their numbers, the layers and the seed.
            compute: gives the arrays where they are not there.

        Returns:
            Name -> array, stored or computed.
        """
        images = {split: (self.sets[split].fingerprint, self.size(split)) for split in SPLITS if self.sets.has(split)}
        name = cache.key(
            **facts, images=images, frame=self.prepared.facts, layers=self.layers, seed=self.seed, layout=LAYOUT, kept=2
        )
        file = self.root / f"{name}.npz"
        content, there = None, os.path.lexists(file)
        with suppress(ProbekitError):  # not there
            content = unsealed(read_bytes(file))
        if content is not None:
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                return dict(stored)
        if there:
            warnings.warn(f"A stored result is damaged: {file} is computed again.", RuntimeWarning, stacklevel=2)
        found, packed = dict(compute()), io.BytesIO()
        np.savez(packed, allow_pickle=False, **found)
        with suppress(StorageError):
            write_bytes(file, sealed(packed.getbuffer()), sync=False)
        return found

    @torch.inference_mode()
    def patch_tokens(self, images: Tensor, layer: int) -> Tensor:
        """Patch tokens of images that no pass has seen (random crops), from the frozen encoder.

        Args:
            images: (n, channels, height, width), normalised, on the model's device.
            layer: 0 = embedding to L = after the final norm.

        Returns:
            float32 (n, patches, width), rounded to float16 as stored tokens are.
        """
        self.forwards += len(images)
        with self.prepared.autocast():
            for traced in self.prepared.model.trace(images, attention=False):
                if traced.index == layer:
                    patches: Tensor = traced.tokens[:, self.prepared.model.num_prefix_tokens :]
                    return patches.to(torch.float16).float()
        name = self.prepared.checkpoint.name
        raise ProbeError(f"{name} has no layer {layer}: its layers are 0 to {self.all_layers[-1]}.")

    # --- the untrained twin -----------------------------------------------------------------------------------------

    def untrained(self, initialisation: int = 0) -> Measurements:
        """Measurements of the same architecture with weights drawn anew: gather from it what you need.

        Its numbers depend on the architecture and the initialisation alone, so checkpoints of one architecture share
        them in the cache.

        Args:
            initialisation: seed of the weights.

        Returns:
            The twin's measurements; only the last one asked for stays in memory.
        """
        if initialisation not in self._twins:
            self._twins.clear()  # one at a time is in memory
            self._tables.clear()  # room for the new one's
            twin = Measurements(untrained(self.prepared, initialisation), self.sets, self.root)
            twin._tables = self._tables  # they share the room for them
            self._twins[initialisation] = twin
        return self._twins[initialisation]

    def forget_untrained(self) -> None:
        """Let the twin in memory go: nobody will ask for it any more (if somebody does, it is made again)."""
        if self._twins:
            self._twins.clear()
            self._tables.clear()
