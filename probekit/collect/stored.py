"""Reading a store's arrays: rows and layers are read from the chunks they lie in, and nothing else."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash

from probekit import files
from probekit.errors import ProbekitError, StorageError

Arrays = dict[str, dict[str, Any]]
"""Array -> {"dtype": text, "shapes": shape per row of each block, "layered": whether blocks are layers}."""

READ = 1 << 20
"""Bytes that are read and digested at a time."""

PIECE = 4096
"""Rows of a column that are read at a time: what lies beside it is read too, and let go."""


def read_whole(path: Path, part: Mapping[str, Any]) -> str | None:
    """What is wrong with a file, read through and compared with its digest; None if nothing."""
    try:
        with files.opened(path, error=StorageError) as stream:
            size = os.fstat(stream.fileno()).st_size
            if size != part["bytes"]:
                return f"{path.name} has {size:,} bytes, not {part['bytes']:,}"
            digest = xxhash.xxh3_128()
            while chunk := stream.read(READ):
                digest.update(chunk)
    except (ProbekitError, OSError) as error:
        return str(error)
    return None if digest.hexdigest() == part["digest"] else f"{path.name} is not as it was written"


class StoredArray:
    """An array on disk that is sliced like NumPy's: `array[:]`, `array[:, layer]`, `array[start:stop, layer]`.

    Args:
        name: of the array.
        arrays: all arrays of the store.
        chunks: file, and what the marker says of it, in order of rows.
    """

    def __init__(self, name: str, arrays: Arrays, chunks: Sequence[tuple[Path, Mapping[str, Any]]]) -> None:
        self.name, self._arrays, self._chunks = name, arrays, list(chunks)
        self.dtype = np.dtype(arrays[name]["dtype"])
        self.shapes: list[tuple[int, ...]] = [tuple(shape) for shape in arrays[name]["shapes"]]
        self.rows = sum(int(chunk["rows"]) for _, chunk in chunks)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole array; layers of different widths have no common shape."""
        if len(set(self.shapes)) > 1:
            raise StorageError(f"The layers of {self.name} have different shapes: read them with layer(number).")
        return (self.rows, *((len(self.shapes),) if self.layered else ()), *self.shapes[0])

    @property
    def layered(self) -> bool:
        """Whether the second axis is of layers, which can be read one at a time."""
        return bool(self._arrays[self.name]["layered"])

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return self.rows * self.dtype.itemsize * sum(math.prod(shape) for shape in self.shapes)

    def __len__(self) -> int:
        return self.rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, key: Any) -> np.ndarray:
        keys = key if isinstance(key, tuple) else (key,)
        if self.layered and len(keys) > 1 and isinstance(keys[1], int | np.integer):
            rows, first = self._wanted(keys[0])
            return np.asarray(self.block(range(len(self.shapes))[keys[1]], rows)[(first, *keys[2:])])
        rows, first = self._wanted(keys[0])
        if not self.layered:
            return np.asarray(self.block(0, rows)[(first, *keys[1:])])
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for place in range(len(self.shapes)):
            out[:, place] = self.block(place, rows)
        return np.asarray(out[(first, *keys[1:])])

    def layer(self, place: int) -> np.ndarray:
        """All rows of one layer: (rows, ...)."""
        return self.block(range(len(self.shapes))[place], range(self.rows))

    def taken(self, place: int, rows: np.ndarray) -> np.ndarray:
        """Chosen rows of one layer, in any order: (len(rows), ...). No others are read, unless they lie between."""
        out = np.empty((len(rows), *self.shapes[place]), self.dtype)
        size = self.dtype.itemsize * math.prod(self.shapes[place])
        order = np.argsort(rows, kind="stable")
        ascending = np.asarray(rows)[order]
        for path, first, count, before in self._places(place):
            low, high = np.searchsorted(ascending, (first, first + count))
            if low == high:
                continue
            wanted = ascending[low:high]
            # Runs of rows, read in one go across gaps that are no longer than what is wanted around them.
            breaks = np.flatnonzero(np.diff(wanted) > 4) + 1
            with files.opened(path, error=StorageError) as stream:
                for run, to in zip(np.split(wanted, breaks), np.split(order[low:high], breaks), strict=True):
                    part = np.empty((run[-1] - run[0] + 1, *self.shapes[place]), self.dtype)
                    stream.seek(before + int(run[0] - first) * size)
                    _fill(stream, part.reshape(-1).view(np.uint8).data, path)
                    out[to] = part[run - run[0]]
        return out

    def _wanted(self, key: Any) -> tuple[range, Any]:
        """The consecutive rows to read for an index of rows, and what to take of them."""
        if isinstance(key, slice):
            chosen = range(self.rows)[key]
            if chosen.step == 1:
                return chosen, slice(None)
        return range(self.rows), key

    def block(self, place: int, rows: range) -> np.ndarray:
        """Some consecutive rows of one block."""
        shape = self.shapes[place]
        out = np.empty((len(rows), *shape), self.dtype)
        bytes_per_row = self.dtype.itemsize * math.prod(shape)
        into = out.reshape(-1).view(np.uint8).data if out.size else memoryview(bytearray())
        for path, first, count, before in self._places(place):
            low, high = max(rows.start, first), min(rows.stop, first + count)
            if low < high and bytes_per_row:
                with files.opened(path, error=StorageError) as stream:
                    stream.seek(before + (low - first) * bytes_per_row)
                    part = into[(low - rows.start) * bytes_per_row : (high - rows.start) * bytes_per_row]
                    _fill(stream, part, path)
        return out

    def _places(self, place: int) -> Iterator[tuple[Path, int, int, int]]:
        """File, first row, rows, and bytes before the block, chunk by chunk."""
        ahead = 0  # bytes per row of what lies before the block
        for name in sorted(self._arrays):
            size = np.dtype(self._arrays[name]["dtype"]).itemsize
            shapes = self._arrays[name]["shapes"]
            if name == self.name:
                ahead += size * sum(math.prod(shape) for shape in shapes[:place])
                break
            ahead += size * sum(math.prod(shape) for shape in shapes)
        first = 0
        for path, chunk in self._chunks:
            yield path, first, int(chunk["rows"]), ahead * int(chunk["rows"])
            first += int(chunk["rows"])


class Column:
    """Features of one layer and one pooling (or node) where they lie: rows are read when they are asked for.

    What fits take as `Rows`: `column[start:stop]` and `column[numbers]` are float32 (n, width).

    Args:
        stored: (rows, layers, poolings, width).
        layer, place: which of its layers and poolings.
        order: the numbers of the rows that the column has, in its order; None = all, as they lie.
    """

    def __init__(self, stored: StoredArray, layer: int, place: int, order: np.ndarray | None = None) -> None:
        self._stored, self._layer, self._place = stored, range(len(stored.shapes))[layer], place
        self._order = order

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), self._stored.shapes[self._layer][-1]

    def __len__(self) -> int:
        return self._stored.rows if self._order is None else len(self._order)

    def chosen(self, order: np.ndarray) -> Column:
        """Rows of these numbers, in this order."""
        return Column(self._stored, self._layer, self._place, order if self._order is None else self._order[order])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, key: Any, /) -> np.ndarray:
        if self._order is not None or not isinstance(key, slice) or key.step not in (None, 1):
            numbers = np.arange(len(self)) if self._order is None else self._order
            return self._one(self._stored.taken(self._layer, numbers[key]))
        rows = range(len(self))[key]
        out = np.empty((len(rows), self.shape[1]), np.float32)
        for start in range(0, len(rows), PIECE):
            out[start : start + PIECE] = self._one(self._stored.block(self._layer, rows[start : start + PIECE]))
        return out

    def _one(self, block: np.ndarray) -> np.ndarray:
        return np.asarray(block[:, self._place], dtype=np.float32)


def _fill(stream: BinaryIO, into: memoryview, path: Path) -> None:
    """Read until the buffer is full."""
    while into:
        count = stream.readinto(into)  # type: ignore[attr-defined]  # files opened as bytes have it
        if not count:
            raise StorageError(f"{path} became shorter while it was read. Run the same command again.")
        into = into[count:]


# --- what a recorder gives --------------------------------------------------------------------------------------------


def is_layered(array: np.ndarray | Sequence[np.ndarray]) -> bool:
    """Whether the second axis is of layers: of (rows, layers, ..., ...) and of a list with one array per layer."""
    return not isinstance(array, np.ndarray) or array.ndim > 3


def layers_of(array: np.ndarray | Sequence[np.ndarray]) -> list[np.ndarray]:
    """What is read apart: the layers, else the array itself."""
    if not isinstance(array, np.ndarray):
        return [np.asarray(part) for part in array]
    return [array[:, place] for place in range(array.shape[1])] if is_layered(array) else [array]


def described(rows: Mapping[str, Sequence[np.ndarray]], layered: set[str]) -> Arrays:
    """Type and shapes per row of each array, as the recorder gave them."""
    return {
        name: {
            "dtype": parts[0].dtype.str,
            "shapes": [list(part.shape[1:]) for part in parts],
            "layered": name in layered,
        }
        for name, parts in rows.items()
    }
