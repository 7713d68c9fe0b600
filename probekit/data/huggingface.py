"""`hf:NAME[:SPLIT]`: a data set of the Hugging Face hub, or one saved on disk with `save_to_disk` (NAME is its folder).

The image column is the one of type Image, the label column the one of type ClassLabel (else `label`, of any kind that
`probekit.data.labelling` reads; without one the images have no labels). With `:SPLIT`, that split alone is divided
60 / 20 / 20. Needs the extra `datasets`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from probekit.data.base import ImageSet
from probekit.data.decode import unreadable
from probekit.data.encoded import EncodedSet, decoded
from probekit.data.labelling import read_labels
from probekit.data.request import Request
from probekit.data.selecting import Found, select
from probekit.data.splits import Part, split_name
from probekit.errors import DataError, did_you_mean


class HubSet(EncodedSet):
    """Rows of a `datasets.Dataset` whose images are still encoded."""

    def __init__(
        self, rows: Any, part: str, column: str, positions: np.ndarray, request: Request, **description: Any
    ) -> None:
        super().__init__(request, **description)
        self.rows = rows
        self.part = part
        self.column = column
        self.positions = positions

    def encoded(self, index: int) -> bytes:
        return encoded(self.rows[int(self.positions[index])][self.column], self.image_name(index))

    def image_name(self, index: int) -> str:
        return f"{self.spec} {self.part}[{self.positions[index]}]"


def encoded(cell: Any, name: str) -> bytes:
    """The file that a cell of an image column (not decoded) holds or points to."""
    if cell is None:
        raise DataError(f"{name} has no image.")
    if cell["bytes"] is not None:
        return bytes(cell["bytes"])
    try:
        return Path(cell["path"]).read_bytes()
    except OSError as error:
        raise unreadable(name, error) from error


def open_split(argument: str, request: Request) -> ImageSet:
    """Open a data set of the hub or on disk.

    Args:
        argument: `NAME[:SPLIT]`.
        request: which images.
    """
    spec = request.spec
    name, tables, unused = _given(argument, spec)
    first = next(iter(tables.values()))
    image, label = _columns(first, spec)
    labels = {key: None if label is None else _labels(table, label) for key, table in tables.items()}
    bare = [key for key, cells in labels.items() if cells and all(_is_missing(cell) for cell in cells)]
    if len(bare) < len(labels):  # the test split of a challenge, which is of no use here
        labels, tables = ({k: v for k, v in each.items() if k not in bare} for each in (labels, tables))
        unused += [f"{key} (no labels)" for key in bare]
    for key, cells in labels.items():
        missing = sum(_is_missing(cell) for cell in cells or ())
        if missing:
            raise DataError(f"{spec}, {key}: {missing} of {len(cells or ())} images have no label (label -1).")
    sizes = {key: len(table) for key, table in tables.items()}
    labelling = read_labels(labels, sizes, None if label is None else _names(tables, label, spec), spec)
    parts = {key: Part.of([f"{key}[{i}]" for i in range(size)], labelling.labels[key]) for key, size in sizes.items()}
    from datasets import Image as ImageFeature

    rows = {key: table.cast_column(image, ImageFeature(decode=False)) for key, table in tables.items()}
    chosen = select(
        Found(
            parts,
            labelling.classes,
            lambda part, index: decoded(encoded(rows[part][index][image], f"{spec}[{index}]"), "", request),
            lambda part, index: f"{spec} {part}[{index}]",
            notes=labelling.notes,
        ),
        request,
    )
    options = chosen.options(request)
    options["description"] += f"; left out: {', '.join(unused)}" if unused else ""
    result = HubSet(
        rows[chosen.part],
        chosen.part,
        image,
        chosen.indices,
        request,
        name=Path(name).name,
        origin="decoded",
        facts={"source": "hf", **chosen.facts, **request.decoding},
        licence=first.info.license or "as the data set's card says",
        **options,
    )
    chosen.finish(result)
    return result


def _given(argument: str, spec: str) -> tuple[str, dict[str, Any], list[str]]:
    """The data set's name, its tables by split ("all": without splits), and names of the splits that are left out."""
    name, wanted = _name_and_split(argument)
    found = _tables(name, spec)
    if wanted:
        if wanted not in found:
            raise DataError(f"{spec}: there is no split {wanted!r}. {did_you_mean(wanted, found)}")
        return name, {"all": found[wanted]}, []
    tables = {split_name(key) or "": table for key, table in found.items() if split_name(key)} or found
    unused = sorted(key for key in found if not any(found[key] is table for table in tables.values()))
    if len(tables) == 1:
        ((key, table),) = tables.items()
        tables = {key if key in ("train", "val", "test") else "all": table}
    return name, tables, unused


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
        raise DataError(f"{spec} needs the package datasets: pip install 'mae-probekit[datasets]'.") from error
    from datasets.exceptions import DatasetNotFoundError

    try:
        loaded = datasets.load_from_disk(name) if Path(name).is_dir() else datasets.load_dataset(name)
    except (DatasetNotFoundError, FileNotFoundError, ConnectionError, ValueError, OSError) as error:
        raise DataError(f"{spec}: cannot open the data set {name}: {error}") from error
    return dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"all": loaded}


def _columns(table: Any, spec: str) -> tuple[str, str | None]:
    """Names of the image and of the label column (None where there is none)."""
    from datasets import ClassLabel
    from datasets import Image as ImageFeature

    images = [name for name, feature in table.features.items() if isinstance(feature, ImageFeature)]
    labels = [name for name, feature in table.features.items() if isinstance(feature, ClassLabel)]
    labels = labels or [name for name in ("label", "labels") if name in table.features]
    if len(images) != 1:
        listed = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in table.features.items())
        raise DataError(f"{spec}: one Image column is expected; it has {listed}.")
    return images[0], "label" if "label" in labels else labels[0] if labels else None


def _labels(table: Any, column: str) -> list[Any]:
    """The labels of a table as they are; -1 where there is none."""
    return [-1 if cell is None else cell for cell in table[column]]


def _is_missing(cell: Any) -> bool:
    return isinstance(cell, int) and not isinstance(cell, bool) and cell < 0


def _names(tables: dict[str, Any], label: str, spec: str) -> list[str] | None:
    """The names of the classes, which must be the same for all splits; None if the column has none."""
    from datasets import ClassLabel

    named = {key: table.features[label] for key, table in tables.items()}
    lists = {key: feature.names for key, feature in named.items() if isinstance(feature, ClassLabel)}
    for key, names in lists.items():
        first = next(iter(lists))
        if names != lists[first]:
            differing = sorted(set(names) ^ set(lists[first]))
            raise DataError(f"{spec}: the splits {first} and {key} have different classes: {differing[:5]}.")
    return next(iter(lists.values()), None)
