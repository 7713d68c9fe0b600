"""Where the rows of a measurement land: one file per chunk of rows, and a marker that says which files count.

    <key>/000000000/000000000-<digest>.rows    rows from 0 on, array by array, layer by layer
    <key>/000000000/summary-<digest>.npz       what is known only after the last row
    <key>/000000000/done.json                  shapes, types, files with their digests, and its own digest
    <key>/000010240/ ...                       the next shard

The marker is replaced only after the file it speaks of is there, so a killed run costs at most one chunk. No file is
trusted: each is compared with its digest before a probe reads it. What is missing, short or changed is measured again,
with a warning.

Many rows are split into shards, each complete in itself, which several processes can fill at the same time. The process
that holds a shard's lock writes it. Should two processes write one all the same, their files have different names or
the same content, and the marker that comes last counts.
"""

from __future__ import annotations

import io
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import xxhash

from probekit import files
from probekit.collect.stored import Arrays, StoredArray, described, is_layered, layers_of, read_whole
from probekit.errors import ProbeError, ProbekitError, StorageError
from probekit.locks import Lock

CHUNK_IMAGES = 256
"""Most rows that are buffered before they are written."""

CHUNK_BYTES = 48 * 2**20
"""Rows are written earlier where they would take more memory than this."""

SHARD = 10_240
"""Rows of a shard: a multiple of common batch sizes, so that batches do not depend on shards."""

LAYOUT = 3
"""Version of how rows lie on disk; part of a store's key."""

Rows = Mapping[str, np.ndarray | Sequence[np.ndarray]]


class Shard:
    """Consecutive rows of a store, of which the first `done` exist.

    Args:
        folder: of this shard alone; created when the first rows are written.
        start, stop: its rows among the store's.
        facts: what determines the numbers, kept beside them for people.
        whole: nothing is written before the last row, for measurements that end in a summary over all rows.
    """

    def __init__(self, folder: Path, start: int, stop: int, facts: Mapping[str, Any], *, whole: bool = False) -> None:
        self.folder, self.start, self.stop, self.whole = folder, start, stop, whole
        self.facts = dict(facts)
        self.lock = Lock(folder.with_name(f"{folder.name}.lock"))
        self.done = 0
        self.arrays: Arrays = {}
        self.chunks: list[dict[str, Any]] = []
        self._summary: dict[str, Any] | None = None
        self._buffer: dict[str, list[list[np.ndarray]]] = {}
        self._buffered = 0
        self._layered: set[str] = set()
        self._proven: set[str] = set()
        self._said = False
        self.refresh()

    @property
    def rows(self) -> int:
        return self.stop - self.start

    @property
    def complete(self) -> bool:
        return self.done >= self.rows

    @property
    def position(self) -> int:
        """The next row that `append` takes, among the store's."""
        return self.start + self.done + self._buffered

    # --- proof ------------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look again how many rows there are; damaged ones count for nothing."""
        marker = self._marker()
        if marker is None or marker["done"] <= self.done:
            return
        self.done, self.arrays, self.chunks = marker["done"], marker["arrays"], marker["chunks"]
        self._summary = marker["summary"]
        self.prove()

    def prove(self) -> bool:
        """Compare every file with its digest, once. Returns whether all match; if not, the rows are dropped."""
        for part in [*self.chunks, *([self._summary] if self._summary else [])]:
            if part["name"] not in self._proven:
                damage = read_whole(self.folder / part["name"], part)
                if damage:
                    self._damaged(damage)
                    return False
                self._proven.add(part["name"])
        return True

    def _damaged(self, damage: str) -> None:
        if not self._said:
            warnings.warn(
                f"Stored measurements are damaged ({damage}): {self.folder} is measured again.",
                RuntimeWarning,
                stacklevel=4,
            )
        self._said = True
        self.done, self.arrays, self.chunks, self._summary = 0, {}, [], None
        self._proven.clear()

    def _marker(self) -> dict[str, Any] | None:
        """The marker on disk; None if there is none, or none that holds."""
        file = self.folder / "done.json"
        if not os.path.lexists(file):
            return None
        try:
            found = files.read_json(file)
            body = found["body"]
            if found["digest"] != _digest_of(body) or (body["start"], body["rows"]) != (self.start, self.rows):
                raise ValueError("the marker is not as it was written")
        except (ProbekitError, KeyError, TypeError, ValueError) as error:
            self._damaged(str(error) if isinstance(error, ValueError) else "the marker is not as it was written")
            return None
        return dict(body)

    # --- writing ----------------------------------------------------------------------------------------------------

    def tidy(self) -> None:
        """Delete what does not count: damaged rows, and what a killed process left. Only while the lock is held."""
        if not self.done:
            rmtree(self.folder, ignore_errors=True)
            return
        counted = {"done.json", *(part["name"] for part in [*self.chunks, self._summary] if part)}
        for file in self.folder.iterdir():
            if file.name not in counted:
                rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)

    def append(self, rows: Rows, summary: Callable[[], Mapping[str, np.ndarray]]) -> None:
        """Add rows: see `Store.append`."""
        layers = {name: layers_of(array) for name, array in rows.items()}
        self._layered |= {name for name, array in rows.items() if is_layered(array)}
        length = {len(part) for parts in layers.values() for part in parts}
        if len(length) != 1:
            raise ProbeError(f"Rows of different lengths: { {name: len(p[0]) for name, p in layers.items()} }.")
        for name, parts in layers.items():
            for place, part in enumerate(parts):
                kept = self._buffer.setdefault(name, [[] for _ in parts])
                kept[place].append(np.ascontiguousarray(part))  # [CLS] alone would keep all tokens of its batch
        self._buffered += length.pop()
        last = self.position >= self.stop
        if last or (not self.whole and self._buffered >= _chunk_rows(layers)):
            self.flush(summary() if last else {})

    def flush(self, summary: Mapping[str, np.ndarray]) -> None:
        """Write what is buffered, then the summary, then the marker."""
        if not self._buffered:
            return
        rows = {name: [np.concatenate(part) for part in parts] for name, parts in sorted(self._buffer.items())}
        arrays = described(rows, self._layered)
        if self.arrays and arrays != self.arrays:
            raise StorageError(
                f"{self.folder} holds rows of other shapes or types than these ({self.arrays}; {arrays}): it was "
                "written by another version of the same measurement. Delete that folder."
            )
        content = b"".join(np.ascontiguousarray(part).data.cast("B") for parts in rows.values() for part in parts)
        self.chunks.append(self._kept(f"{self.start + self.done:09d}", ".rows", content) | {"rows": self._buffered})
        if summary:
            self._summary = self._kept("summary", ".npz", zipped(dict(summary)))
        self.arrays, self.done = arrays, self.done + self._buffered
        self._buffer.clear()
        self._buffered = 0
        self._mark()

    def _kept(self, stem: str, suffix: str, content: bytes | memoryview) -> dict[str, Any]:
        """Write a file whose name tells its content; returns what the marker says of it."""
        digest = xxhash.xxh3_128_hexdigest(content)
        name = f"{stem}-{digest[:16]}{suffix}"
        self._replace(name, content)
        return {"name": name, "bytes": len(content), "digest": digest}

    def _mark(self) -> None:
        body = {
            "start": self.start, "rows": self.rows, "done": self.done, "arrays": self.arrays, "chunks": self.chunks,
            "summary": self._summary, "facts": self.facts,
        }  # fmt: skip
        self._replace("done.json", json.dumps({"body": body, "digest": _digest_of(body)}).encode())

    def _replace(self, name: str, content: bytes | memoryview) -> None:
        kept = (
            f"{self.done} of {self.rows} images are stored and stay valid; run the same command again to go on from "
            "there once there is room, or point PROBEKIT_CACHE at another folder."
        )
        files.write_bytes(self.folder / name, content, kept=kept, sync=False)  # digests tell what was lost

    def summary(self) -> dict[str, np.ndarray]:
        """What was stored beside the last row."""
        if not self._summary:
            return {}
        content = files.read_bytes(self.folder / self._summary["name"], error=StorageError)
        if xxhash.xxh3_128_hexdigest(content) != self._summary["digest"]:
            raise StorageError(f"{self.folder} changed while it was read. Run the same command again.")
        with np.load(io.BytesIO(content)) as stored:
            return dict(stored)


class Store:
    """The rows of one measurement for one split, in shards.

    Args:
        folder: of this measurement alone.
        rows: how many there will be.
        facts: what determines the numbers, kept beside them for people.
        whole: all rows are seen in one go and make one shard.
    """

    def __init__(self, folder: Path, rows: int, facts: Mapping[str, Any], *, whole: bool = False) -> None:
        self.folder, self.rows, self.whole = folder, rows, whole
        step = max(rows, 1) if whole else SHARD
        self.shards = [
            Shard(folder / f"{start:09d}", start, min(start + step, rows), facts, whole=whole)
            for start in range(0, rows, step)
        ]

    @property
    def complete(self) -> bool:
        return all(shard.complete for shard in self.shards)

    @property
    def done(self) -> int:
        """How many rows exist."""
        return sum(shard.done for shard in self.shards)

    @property
    def position(self) -> int:
        """The next row that is missing."""
        return next((shard.position for shard in self.shards if shard.position < shard.stop), self.rows)

    def between(self, start: int, stop: int) -> list[Shard]:
        """The shards that have rows in [start, stop)."""
        return [shard for shard in self.shards if shard.start < stop and start < shard.stop]

    def append(
        self, rows: Rows, summary: Callable[[], Mapping[str, np.ndarray]] = dict, start: int | None = None
    ) -> None:
        """Add rows.

        Args:
            rows: arrays of one length, the rows; of an array (rows, layers, ...) each layer can be read alone. A list
                of arrays has one per layer, whose widths may differ.
            summary: gives what is stored beside the last row.
            start: number of the first row; None for the next that is missing. Rows that exist already are left out.
        """
        place = self.position if start is None else start
        shard = next(one for one in self.shards if one.start <= place < one.stop)
        have = shard.position - place
        if have > 0:
            rows = {
                name: array[have:] if isinstance(array, np.ndarray) else [part[have:] for part in array]
                for name, array in rows.items()
            }
        shard.append(rows, summary)

    def prove(self) -> bool:
        """Verify every file against its digest; whether all is well (see `Shard.prove`)."""
        return all([shard.prove() for shard in self.shards])

    def summary(self) -> dict[str, np.ndarray]:
        """What was stored beside the last row."""
        return self.shards[-1].summary() if self.shards else {}

    def names(self) -> list[str]:
        return sorted(self.shards[0].arrays) if self.shards else []

    def __getitem__(self, name: str) -> StoredArray:
        """An array as it lies on disk: slice it, e.g. `store["pooled"][:, layer]`. Complete measurements only."""
        if not self.complete:
            raise ProbeError(f"{self.folder} holds {self.done} of {self.rows} rows: the pass over it has not finished.")
        if name not in self.shards[0].arrays:
            raise ProbeError(f"{self.folder} holds no array {name!r}, but {', '.join(self.names())}.")
        chunks = [(shard.folder / chunk["name"], chunk) for shard in self.shards for chunk in shard.chunks]
        return StoredArray(name, self.shards[0].arrays, chunks)


def _digest_of(body: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(json.loads(json.dumps(body)), sort_keys=True).encode())


def zipped(arrays: dict[str, np.ndarray]) -> memoryview:
    """Arrays as `numpy.savez` packs them; each is let go once it is packed, for together they may be large."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in list(arrays):
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(arrays.pop(name)), allow_pickle=False)
    return packed.getbuffer()


def _chunk_rows(rows: Mapping[str, Sequence[np.ndarray]]) -> int:
    """How many rows make a chunk, given some of them."""
    bytes_per_row = sum(part.nbytes / max(1, len(part)) for parts in rows.values() for part in parts)
    return int(min(CHUNK_IMAGES, max(1, CHUNK_BYTES // max(1, bytes_per_row))))


@contextmanager
def alone(shards: Sequence[Shard]) -> Iterator[bool]:
    """Hold the shards that are not complete, so that no other process writes to them.

    Yields:
        Whether they are held; if not, another process is at work on one of them, and none is held. What another one
        has written until then is taken over, and what does not count is deleted.
    """
    wanted = [shard for shard in shards if not shard.complete]
    held: list[Shard] = []
    try:
        for shard in wanted:
            if not shard.lock.acquire():
                break
            held.append(shard)
        ours = len(held) == len(wanted)
        if ours:
            for shard in wanted:
                shard.refresh()
                if not shard.complete:
                    shard.tidy()
        yield ours
    finally:
        for shard in held:
            shard.lock.release()
