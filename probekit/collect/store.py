"""Where a take's rows land: a zarr (v3) group that grows chunk by chunk, and a marker that says how far it is good.

The marker is replaced only after the rows it speaks of are on disk. Rows past the marker do not
exist for any reader, so a killed run costs at most one chunk, and a half-written chunk is written again, never read.
Rows are chunked by image and by layer: a fit reads one layer at a time and never the whole array.

Every chunk ends in a checksum. What was stored by an earlier run is read through once before it is relied on: a chunk
that is missing, short or changed would otherwise come back as zeros. Two processes that want the same rows take turns.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from probekit.errors import ProbeError

CHUNK_IMAGES = 256
"""Most rows that are buffered before they are written."""

CHUNK_BYTES = 48 * 2**20
"""Rows are written earlier where they would take more memory than this."""

LAYOUT = 2
"""Version of how rows lie on disk; part of a store's key."""


class Store:
    """The rows of one take for one split, of which the first `done` exist.

    Args:
        folder: of this take alone; created when the first rows are written.
        rows: how many there will be.
        facts: what determines the numbers, kept beside them for people.
        whole: nothing is written before the last row, for takes that end in a summary over all rows.
    """

    def __init__(self, folder: Path, rows: int, facts: Mapping[str, Any], *, whole: bool = False) -> None:
        self.folder = folder
        self.rows = rows
        self.whole = whole
        self.facts = dict(facts)
        self._buffer: dict[str, list[np.ndarray]] = {}
        self._buffered = 0
        self._group: Any = None
        self.done = 0
        self.refresh()

    @property
    def complete(self) -> bool:
        return self.done >= self.rows

    @property
    def position(self) -> int:
        """The next row that `append` takes."""
        return self.done + self._buffered

    def refresh(self) -> None:
        """Look again how many rows there are; damaged ones are put away and count for nothing."""
        marker = self._marker()
        done = int(marker.get("done", 0))
        if done <= self.done:
            return
        damage = self._damage(done, marker.get("arrays", []), marker.get("summary", False))
        if damage:
            warnings.warn(
                f"Stored measurements are damaged ({damage}): {self.folder} is measured again.",
                RuntimeWarning,
                stacklevel=2,
            )
            rmtree(self.folder, ignore_errors=True)
            self._group = None
        else:
            self.done = done

    def _marker(self) -> dict[str, Any]:
        try:
            marker = json.loads((self.folder / "done.json").read_text())
        except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: no JSON, or no text at all
            return {}
        return marker if isinstance(marker, dict) and marker.get("rows") == self.rows else {}

    def _damage(self, done: int, names: Sequence[str], summary: bool) -> str | None:
        """What is wrong with the first `done` rows, read through chunk by chunk; None if nothing."""
        try:
            group = self.group()
            for name in names:
                array = group[name]
                step = array.chunks[0]
                others = [range(-(-size // chunk)) for size, chunk in zip(array.shape, array.chunks, strict=True)][1:]
                for number, start in enumerate(range(0, done, step)):
                    for place in product(*others):
                        file = self.folder.joinpath("rows.zarr", name, "c", *map(str, (number, *place)))
                        if not file.is_file():
                            return f"{file.relative_to(self.folder)} is missing"
                    array[start : start + step]  # the checksums are compared
            if summary and not self.summary():
                return "summary.npz is missing"
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            return f"{type(error).__name__}: {error}"
        return None

    def group(self) -> Any:
        import zarr

        if self._group is None:
            self._group = zarr.open_group(self.folder / "rows.zarr", mode="a", zarr_format=3)
        return self._group

    def append(self, rows: Mapping[str, np.ndarray], summary: Callable[[], Mapping[str, np.ndarray]]) -> None:
        """Add rows (all arrays of one length); `summary()` gives what is stored beside the last one."""
        length = {len(array) for array in rows.values()}
        if len(length) != 1:
            raise ProbeError(f"Rows of different lengths: { {name: len(array) for name, array in rows.items()} }.")
        for name, array in rows.items():
            self._buffer.setdefault(name, []).append(array)
        self._buffered += length.pop()
        last = self.position >= self.rows
        if last or (not self.whole and self._buffered >= _chunk_rows(rows)):
            self.flush(summary() if last else {})

    def flush(self, summary: Mapping[str, np.ndarray]) -> None:
        """Write what is buffered, then the summary, then the marker."""
        if not self._buffered:
            return
        try:
            self._write({name: np.concatenate(parts) for name, parts in self._buffer.items()}, summary)
        except OSError as error:
            raise unwritable(self.folder, error, self.done, self.rows) from error
        self._buffer.clear()
        self._buffered = 0

    def _write(self, rows: Mapping[str, np.ndarray], summary: Mapping[str, np.ndarray]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        end = self.position
        for name, array in rows.items():
            self._array(name, array)[self.done : end] = array
        if summary:
            self._replace("summary.npz", lambda handle: np.savez(handle, **summary))
        kept = {"done": end, "rows": self.rows, "arrays": sorted(rows), "summary": bool(summary), "facts": self.facts}
        marker = json.dumps(kept).encode()
        self._replace("done.json", lambda handle: handle.write(marker))
        self.done = end

    def _array(self, name: str, rows: np.ndarray) -> Any:
        from zarr.codecs import Crc32cCodec

        group = self.group()
        shape = (self.rows, *rows.shape[1:])
        if name in group and group[name].shape == shape and group[name].dtype == rows.dtype:
            return group[name]
        inner = (1, *shape[2:]) if len(shape) > 3 else shape[1:]  # (row, layer, ...): one chunk per layer
        chunks = (min(_chunk_rows({name: rows}), self.rows), *inner)
        # Floats of features hardly compress: the time is better spent on the next batch. Chunks of zeros are written
        # too, so that one that is not there is known to be lost.
        return group.create_array(
            name, shape=shape, chunks=chunks, dtype=rows.dtype, compressors=[Crc32cCodec()], overwrite=True,
            config={"write_empty_chunks": True},
        )  # fmt: skip

    def _replace(self, name: str, write: Any) -> None:
        handle, part = tempfile.mkstemp(dir=self.folder, prefix=f".{name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
            os.replace(part, self.folder / name)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise

    def summary(self) -> dict[str, np.ndarray]:
        """What was stored beside the last row."""
        if not (self.folder / "summary.npz").exists():
            return {}
        with open(self.folder / "summary.npz", "rb") as handle, np.load(handle) as stored:
            return dict(stored)

    def names(self) -> list[str]:
        return sorted(name for name, _ in self.group().arrays())

    def __getitem__(self, name: str) -> Any:
        """An array as it lies on disk: slice it, e.g. `store["pooled"][:, layer]`. Complete takes only."""
        if not self.complete:
            raise ProbeError(f"{self.folder} holds {self.done} of {self.rows} rows: the pass over it has not finished.")
        return self.group()[name]


def _chunk_rows(rows: Mapping[str, np.ndarray]) -> int:
    """How many rows make a chunk, given some of them."""
    bytes_per_row = sum(array.nbytes / max(1, len(array)) for array in rows.values())
    return int(min(CHUNK_IMAGES, max(1, CHUNK_BYTES // max(1, bytes_per_row))))


def unwritable(folder: Path, error: OSError, done: int, rows: int) -> ProbeError:
    """The error for a cache that cannot be written, with what is safe and the way out."""
    reason = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.EROFS: "the disk is read-only",
        errno.EACCES: "writing there is not permitted",
    }.get(error.errno or 0, str(error))
    return ProbeError(
        f"Measurements cannot be written to {folder}: {reason}. {done} of {rows} images are stored and stay valid; run "
        "the same command again to go on from there once there is room, or point PROBEKIT_CACHE at another folder."
    )


@contextmanager
def alone(stores: Sequence[Store]) -> Iterator[None]:
    """Hold the stores that are not complete, so that no other process writes to them; what another one has written
    until then is taken over."""
    with ExitStack() as held:
        for store in sorted((one for one in stores if not one.complete), key=lambda one: str(one.folder)):
            lock = FileLock(store.folder.with_suffix(".lock"))
            try:
                store.folder.parent.mkdir(parents=True, exist_ok=True)
                try:
                    held.enter_context(lock.acquire(timeout=0))
                except Timeout:
                    warnings.warn(
                        f"Another process is measuring the same ({store.folder}): waiting for it.",
                        RuntimeWarning,
                        stacklevel=2,
                    )
                    held.enter_context(lock.acquire())
            except OSError as error:
                raise unwritable(store.folder, error, store.done, store.rows) from error
            store.refresh()
        yield
