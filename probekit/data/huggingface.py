"""`hf:NAME[:SPLIT]`: a data set of the Hugging Face hub, or one saved on disk with `save_to_disk` (NAME is its folder).

The image column is the one of type Image, the label column the one of type ClassLabel (else `label` with whole
numbers). With `:SPLIT`, that split alone is divided 60 / 20 / 20. Needs the extra `datasets`.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from probekit import cache, progress
from probekit.data.base import ImageSet
from probekit.data.decode import open_rgb
from probekit.data.splits import ALIASES, Part, check_no_gaps, choose, pick
from probekit.errors import DataError, did_you_mean


class HubSet(ImageSet):
    """Rows of a `datasets.Dataset` whose images are still encoded."""

    def __init__(self, rows: Any, column: str, positions: np.ndarray, **description: Any) -> None:
        super().__init__(**description)
        self.rows = rows
        self.column = column
        self.positions = positions

    def _encoded(self, index: int) -> bytes:
        cell = self.rows[int(self.positions[index])][self.column]
        if cell is None:
            raise DataError(f"{self.image_name(index)} has no image.")
        return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()

    def read(self, index: int) -> np.ndarray:
        return np.asarray(open_rgb(io.BytesIO(self._encoded(index)), self.image_name(index)))

    def image_name(self, index: int) -> str:
        return f"{self.spec}[{self.positions[index]}]"

    def content(self) -> str:
        digests = []
        with progress.bar(f"{self.name}: reading contents", len(self)) as advance:
            for index in range(len(self)):
                digests.append(hashlib.sha256(self._encoded(index)).hexdigest())
                advance()
        return cache.key(images=digests)


def open_split(argument: str, split: str, *, spec: str, count: int | None = None, seed: int = 0) -> ImageSet:
    """Open a data set of the hub or on disk."""
    name, wanted = _name_and_split(argument)
    tables = _tables(name, spec)
    if wanted:
        if wanted not in tables:
            raise DataError(f"{spec}: there is no split {wanted!r}. {did_you_mean(wanted, tables)}")
        tables = {"all": tables[wanted]}
    else:
        tables = {ALIASES[key.lower()]: table for key, table in tables.items() if key.lower() in ALIASES} or tables
    if len(tables) == 1:
        ((key, table),) = tables.items()
        tables = {key if key in ("train", "val", "test") else "all": table}
    first = next(iter(tables.values()))
    image, label = _columns(first, spec)
    classes = _classes(tables, label, spec)
    labels = {key: np.asarray(table[label], dtype=np.int64) for key, table in tables.items()}
    for key, array in labels.items():
        if array.min() < 0:
            raise DataError(f"{spec}: the split {key} has images without a label (label {array.min()}).")
        check_no_gaps(array, classes, spec if key == "all" else f"{spec}, {key}")
    parts = {key: Part([f"{key}[{i}]" for i in range(len(array))], array) for key, array in labels.items()}
    choice = pick(split, parts, classes, spec)
    mine = labels[choice.part][choice.indices]
    chosen = choose([parts[choice.part].names[index] for index in choice.indices], mine, count, seed)
    from datasets import Image as ImageFeature

    return HubSet(
        tables[choice.part].cast_column(image, ImageFeature(decode=False)),
        image,
        choice.indices[chosen],
        name=Path(name).name,
        spec=spec,
        split=split,
        classes=classes,
        labels=mine[chosen],
        origin="decoded",
        facts={"source": "hf", "split_rule": choice.rule},
        licence=first.info.license or "as the data set's card says",
        description=f"{len(chosen)} images in {len(classes)} classes; splits: {choice.rule}",
    )


def _name_and_split(argument: str) -> tuple[str, str]:
    """`NAME[:SPLIT]`; a folder's own name may hold colons."""
    if Path(argument).exists():
        return argument, ""
    name, _, split = argument.rpartition(":")
    return (name, split) if name else (argument, "")


def _tables(name: str, spec: str) -> dict[str, Any]:
    """Split name -> `datasets.Dataset`."""
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"{spec} needs the package datasets: pip install 'probekit[datasets]'.") from error
    from datasets.exceptions import DatasetNotFoundError

    try:
        loaded = datasets.load_from_disk(name) if Path(name).is_dir() else datasets.load_dataset(name)
    except (DatasetNotFoundError, FileNotFoundError, ConnectionError, ValueError, OSError) as error:
        raise DataError(f"{spec}: cannot open the data set {name}: {error}") from error
    return dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"all": loaded}


def _columns(table: Any, spec: str) -> tuple[str, str]:
    """Names of the image and of the label column."""
    from datasets import ClassLabel
    from datasets import Image as ImageFeature

    images = [name for name, feature in table.features.items() if isinstance(feature, ImageFeature)]
    labels = [name for name, feature in table.features.items() if isinstance(feature, ClassLabel)]
    labels = labels or [name for name in ("label", "labels") if name in table.features]
    if len(images) != 1 or not labels:
        listed = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in table.features.items())
        raise DataError(f"{spec}: one Image column and a ClassLabel (or label) column are expected; it has {listed}.")
    return images[0], "label" if "label" in labels else labels[0]


def _classes(tables: dict[str, Any], label: str, spec: str) -> list[str]:
    from datasets import ClassLabel

    named = {key: table.features[label] for key, table in tables.items()}
    lists = {key: feature.names for key, feature in named.items() if isinstance(feature, ClassLabel)}
    if lists:
        first, *rest = lists
        for other in rest:
            if lists[other] != lists[first]:
                differing = sorted(set(lists[other]) ^ set(lists[first]))
                raise DataError(f"{spec}: the splits {first} and {other} have different classes: {differing[:5]}.")
        return list(lists[first])
    return [str(number) for number in range(1 + max(max(table[label]) for table in tables.values()))]
