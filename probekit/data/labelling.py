"""What labels of any kind mean: numbers of classes, several labels per image, or numbers to predict.

| labels                                  | read as                                                        |
|-----------------------------------------|----------------------------------------------------------------|
| whole numbers 0, 1, ..., k - 1          | classes                                                        |
| whole numbers with gaps; texts; bool (n,) | classes, in sorted order; the mapping is told                |
| 0 and 1 (n, k), one 1 in every row      | classes (one-hot); told                                        |
| bool (n, k), or 0 and 1 (n, k)          | several labels per image: `targets`, kind "multilabel"         |
| lists of class numbers or texts, [[0, 3], [1]] | the same, a column for each class; told                 |
| fractional numbers (n,) or (n, k)       | numbers to predict: `targets`, kind "regression"               |
| nothing                                 | images without labels                                          |

0 and 1 in rows may be floats, as losses take them. Negative whole numbers are refused, since they usually mark images
without a label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from probekit.errors import DataError

MOST_CLASSES = 2**20
"""Labels above this are taken for a mistake."""


class Labelling(NamedTuple):
    """Labels by split.

    `classes` (names) and `labels` (int64 (n,)) for classes; `targets` (n, k) and their `kind` and `names` otherwise.
    `notes` tell what was mapped.
    """

    classes: list[str]
    labels: dict[str, np.ndarray | None]
    targets: dict[str, np.ndarray]
    kind: str | None = None
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_labels(
    given: Mapping[str, Any], sizes: Mapping[str, int], names: Sequence[str] | None, spec: str
) -> Labelling:
    """What the labels of all splits mean together.

    Args:
        given: split -> labels of any kind, or None.
        sizes: split -> number of images.
        names: names of the classes (of the columns for several labels per image), or None.
        spec: for messages.

    Raises:
        DataError: the numbers of images and labels differ, or the labels are of no known kind.
    """
    if names is not None:
        refuse_twice(names, spec)
    lists = _lists(given)
    if lists:
        return _listed(lists, sizes, names, spec)
    arrays = {
        key: None if labels is None else _array(labels, sizes[key], spec if key == "all" else f"{spec}, {key}")
        for key, labels in given.items()
    }
    known = {key: array for key, array in arrays.items() if array is not None}
    if all(_flags(array) for array in known.values()):
        known = {key: array.astype(np.int64) if array.dtype.kind == "f" else array for key, array in known.items()}
    if not known:
        return Labelling([], dict.fromkeys(given), {})
    if len(known) < len(arrays):
        bare = [key for key in arrays if key not in known]
        raise DataError(f"{spec}: {', '.join(bare)} has no labels, while {', '.join(known)} has.")
    kinds = {(array.dtype.kind, array.ndim) for array in known.values()}
    if len({ndim for _, ndim in kinds}) > 1 or ({"f"} < {kind for kind, _ in kinds}):
        raise DataError(f"{spec}: the splits have labels of different kinds: {_shapes(known)}.")
    first = next(iter(known.values()))
    if first.dtype.kind == "f":
        return _regression(known, names, spec)
    if first.ndim == 2:
        return _several(known, names, spec)
    return _classes(known, names, spec)


def refuse_twice(names: Sequence[Any], spec: str) -> None:
    """A `DataError` where one name stands for two classes."""
    texts = [str(name) for name in names]
    if twice := sorted({name for name in texts if texts.count(name) > 1}):
        raise DataError(
            f"{spec}: the class names {', '.join(map(repr, twice[:5]))} are given more than once; every class needs a "
            "name of its own."
        )


def _flags(array: np.ndarray) -> bool:
    """Whether these are rows of zeros and ones."""
    return array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "iubf" and bool(np.isin(array, (0, 1)).all())


def _lists(given: Mapping[str, Any]) -> dict[str, list[list[Any]]]:
    """Labels as a list of class numbers or texts for each image; empty where they are anything else.

    Rows that are all as long are no such lists if they hold zeros and ones (a matrix) or one label each (classes).
    """
    out: dict[str, list[list[Any]]] = {}
    inner = False
    for key, labels in given.items():
        matrix = isinstance(labels, np.ndarray) and labels.dtype != object
        if matrix or isinstance(labels, str) or not isinstance(labels, Sequence | np.ndarray):
            return {}
        rows = [_row(label) for label in labels]
        inner = inner or any(isinstance(label, set | frozenset) or np.ndim(label) == 1 for label in labels)
        found = [row for row in rows if row is not None]
        if len(found) < len(rows):
            return {}
        out[key] = found
    everything = [row for rows in out.values() for row in rows]
    lengths = {len(row) for row in everything}
    flags = all(value in (0, 1) for row in everything for value in row)
    return out if inner and (len(lengths) > 1 or (lengths != {1} and not flags)) else {}


def _row(label: Any) -> list[Any] | None:
    """The integers or strings of one image; None if there is any other type."""
    values = sorted(label) if isinstance(label, set | frozenset) else label
    if isinstance(values, str | np.str_):
        return [str(values)]
    array = np.asarray(values)
    if array.ndim > 1 or (array.size and array.dtype.kind not in "iuU"):
        return None
    return list(np.atleast_1d(array).tolist())


def _listed(
    rows: dict[str, list[list[Any]]], sizes: Mapping[str, int], names: Sequence[str] | None, spec: str
) -> Labelling:
    """Lists of class numbers, or of texts: a column of bools for each class."""
    for key, lists in rows.items():
        at = spec if key == "all" else f"{spec}, {key}"
        if len(lists) != sizes[key]:
            raise DataError(f"{at}: {sizes[key]} images but {len(lists)} lists of labels.")
        for place, row in enumerate(lists):
            if len(set(row)) < len(row) or any(isinstance(value, int) and value < 0 for value in row):
                raise DataError(
                    f"{at}: image {place} has the labels {row[:8]}; a list of different class numbers from 0 upwards "
                    "is expected (for numbers to predict give an array of floats)."
                )
    found = {value for lists in rows.values() for row in lists for value in row}
    values = sorted(found, key=lambda value: (str(type(value)), value))
    if len({type(value) for value in values}) > 1:
        raise DataError(f"{spec}: lists of labels hold texts and numbers, such as {values[0]!r} and {values[-1]!r}.")
    if not values:
        raise DataError(f"{spec}: no image has any label.")
    columns = [str(value) for value in values]
    if names is not None:
        columns = [str(name) for name in names]
        numbered = isinstance(values[0], int)
        unknown = [v for v in values if (v >= len(columns) if numbered else v not in columns)]
        if unknown:
            raise DataError(f"{spec}: the label {unknown[0]!r} is not among {len(columns)} classes: {columns[:5]}.")
        values = list(range(len(columns))) if numbered else columns
    place_of = {value: place for place, value in enumerate(values)}
    targets = {key: np.zeros((len(lists), len(columns)), dtype=bool) for key, lists in rows.items()}
    for key, lists in rows.items():
        for image, row in enumerate(lists):
            targets[key][image, [place_of[value] for value in row]] = True
    note = (
        f"several labels per image, given as lists of classes ({len(columns)} in all): there are no classes, `targets` "
        "holds the labels"
    )
    return Labelling([], dict.fromkeys(rows), targets, "multilabel", tuple(columns), (note,))


def _array(labels: Any, n: int, name: str) -> np.ndarray:
    """Labels as an array (n,) or (n, k) of whole numbers, texts, bools or fractions."""
    try:
        array = np.asarray(labels)
    except ValueError as error:
        raise DataError(
            f"{name}: the labels are rows of different lengths. For several labels per image give lists of class "
            "numbers, or a matrix of bools with one column per label."
        ) from error
    if array.dtype == object and all(isinstance(label, str) for label in array.reshape(-1)):
        array = array.astype(str)
    if array.dtype.kind == "u":  # beside signed numbers, NumPy would make fractions of the largest unsigned type
        array = array.astype(np.int64) if not array.size or array.max() < MOST_CLASSES else array
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind != "f" else array
    if array.ndim not in (1, 2) or len(array) != n or array.dtype.kind not in "iubUf" or 0 in array.shape[1:]:
        raise DataError(
            f"{name}: {n} images but labels of shape {array.shape} and type {array.dtype}; one label per image is "
            "expected (whole numbers or texts), or a row of bools or of numbers per image."
        )
    return array


def _classes(known: dict[str, np.ndarray], names: Sequence[str] | None, spec: str) -> Labelling:
    values = np.unique(np.concatenate([np.unique(array) for array in known.values()]))
    if not len(values):
        raise DataError(f"{spec}: there are no images, and no labels.")
    if values.dtype.kind == "i" and values[0] < 0:
        negative = sum(int((array < 0).sum()) for array in known.values())
        raise DataError(
            f"{spec}: {negative} labels are negative, such as {values[0]}; whole numbers from 0 upwards are expected. "
            "If they mark images without a label, leave those images out."
        )
    if values.dtype.kind in "iu":
        if values[-1] >= MOST_CLASSES:
            raise DataError(f"{spec}: the label {values[-1]} is too large for the number of a class.")
        if names is not None and values[-1] >= len(names):
            raise DataError(f"{spec}: the label {values[-1]} has no name among {len(names)} classes.")
        if names is not None or len(values) == values[-1] + 1:
            classes = [str(name) for name in names] if names is not None else [str(value) for value in values]
            return Labelling(classes, {key: array.astype(np.int64) for key, array in known.items()}, {})
    texts = [str(value) for value in values.tolist()]
    if names is not None and set(map(str, names)) >= set(texts):
        order = [str(name) for name in names]
        labels = {key: np.array([order.index(str(v)) for v in array.tolist()]) for key, array in known.items()}
        return Labelling(order, dict(labels), {})
    if names is not None:
        raise DataError(f"{spec}: the labels {', '.join(texts[:5])} are not among the classes {list(names)[:5]}.")
    note = f"the labels {', '.join(texts[:5])}{', ...' if len(texts) > 5 else ''} are the classes 0 to {len(texts) - 1}"
    return Labelling(texts, {key: np.searchsorted(values, array) for key, array in known.items()}, {}, notes=(note,))


def _several(known: dict[str, np.ndarray], names: Sequence[str] | None, spec: str) -> Labelling:
    """A row of labels per image: one-hot, or several labels."""
    width = _width(known, names, spec)
    for array in known.values():
        if array.dtype.kind not in "iub" or not np.isin(array, (0, 1)).all():
            held = "texts" if array.dtype.kind == "U" else f"{array.min()} to {array.max()}"
            raise DataError(
                f"{spec}: labels of shape {array.shape} with {held}; a row of labels holds "
                "bools (or 0 and 1), or fractional numbers to predict."
            )
    columns = tuple(str(name) for name in names) if names is not None else tuple(str(i) for i in range(width))
    if not sum(map(len, known.values())):
        raise DataError(f"{spec}: there are no images, and no labels.")
    if all(array.dtype.kind != "b" and (array.sum(axis=1) == 1).all() for array in known.values()):
        note = f"the labels are one-hot rows: read as the numbers of {width} classes"
        return Labelling(list(columns), {key: array.argmax(axis=1) for key, array in known.items()}, {}, notes=(note,))
    note = f"several labels per image ({width} in all): there are no classes, `targets` holds the labels"
    targets = {key: array.astype(bool) for key, array in known.items()}
    return Labelling([], dict.fromkeys(known), targets, "multilabel", columns, (note,))


def _regression(known: dict[str, np.ndarray], names: Sequence[str] | None, spec: str) -> Labelling:
    known = {key: array[:, None] if array.ndim == 1 else array for key, array in known.items()}
    width = _width(known, names, spec)
    for key, array in known.items():
        if not (np.abs(array) <= np.finfo(np.float32).max).all():  # NaN too
            raise DataError(
                f"{spec}: {key} has labels that are not finite in single precision; leave those images out."
            )
    note = "the labels are floating-point numbers: read as numbers to predict (give whole numbers for classes)"
    columns = tuple(str(name) for name in names) if names is not None else tuple(str(i) for i in range(width))
    targets = {key: array.astype(np.float32) for key, array in known.items()}
    return Labelling([], dict.fromkeys(known), targets, "regression", columns, (note,))


def _width(known: dict[str, np.ndarray], names: Sequence[str] | None, spec: str) -> int:
    widths = {array.shape[1] for array in known.values()}
    if len(widths) > 1 or (names is not None and {len(names)} != widths):
        named = "" if names is None else f" for {len(names)} names"
        raise DataError(f"{spec}: rows of labels of different lengths{named}: {_shapes(known)}.")
    return int(widths.pop())


def _shapes(known: dict[str, np.ndarray]) -> str:
    return ", ".join(f"{key} {array.dtype} {array.shape}" for key, array in known.items())
