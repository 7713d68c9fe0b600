"""Image sets whose images are files, and the digest of their contents.

The fingerprint of such a set has to change if any image changes, and must not if a folder moves. So it is made of
relative paths and contents. Contents are read once: their digests are kept in the cache by path, size and time of
modification, and the digest is computed only when the fingerprint is asked for.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from probekit import cache, progress
from probekit.data.bands import ValueRange, is_multiband, open_bands, scaling, to_uint8
from probekit.data.base import ImageSet, pixel_digest
from probekit.data.decode import decoder_versions, open_rgb
from probekit.errors import DataError, StorageError
from probekit.files import write_text


class FileSet(ImageSet):
    """Images in files below `root`.

    Args:
        root: folder that the relative paths start from.
        paths: relative paths (POSIX), one per label.
        border: pixels cut off at each side of every image after decoding.
        exif, draft: as in `probekit.data.decode.open_rgb`.
        value_range: lowest and highest value of multi-band files (`probekit.data.bands`).
    """

    def __init__(
        self,
        root: Path,
        paths: Sequence[str],
        *,
        border: int = 0,
        exif: bool = True,
        draft: int = 0,
        value_range: ValueRange | None = None,
        **description: Any,
    ) -> None:
        super().__init__(**description)
        self.root = root
        self.paths = list(paths)
        self.border = border
        self.exif, self.draft, self.value_range = exif, draft, value_range
        self.bands = is_multiband(self.root / self.paths[0])
        if self.bands:
            first = open_bands(self.root / self.paths[0])
            self.channels = first.shape[2]
            self.facts |= {"channels": self.channels, "scaling": scaling(first.dtype, value_range)}
        if border:
            self.facts["border"] = border

    def picture(self, index: int) -> Any:
        if self.bands or self.border:
            return self.read(index)
        path = self.root / self.paths[index]
        return open_rgb(path, str(path), exif=self.exif, draft=self.draft)

    def read(self, index: int) -> np.ndarray:
        path = self.root / self.paths[index]
        if self.bands:
            pixels = to_uint8(open_bands(path), str(path), self.value_range)
            if pixels.shape[2] != self.channels:
                raise DataError(
                    f"{path} has {pixels.shape[2]} channels, the first image {self.channels}; one number is expected."
                )
        else:
            pixels = np.asarray(open_rgb(path, str(path), exif=self.exif, draft=self.draft))
        if not self.border:
            return pixels
        if min(pixels.shape[:2]) <= 2 * self.border:
            raise DataError(
                f"{path} is {pixels.shape[0]} x {pixels.shape[1]} pixels, "
                f"no larger than the border of {self.border} on each side."
            )
        return pixels[self.border : -self.border, self.border : -self.border]

    def image_name(self, index: int) -> str:
        return str(self.root / self.paths[index])

    def rank_keys(self) -> Sequence[str]:
        return self.paths

    def file_digests(self) -> list[str]:
        return digests(self.root, self.paths)

    def pixel_digests(self) -> list[str]:
        """Decoded only where the cache has none for the file's size and time, as it is decoded here."""
        index = {path: place for place, path in enumerate(self.paths)}
        how = {
            "exif": self.exif, "draft": self.draft, "border": self.border, "range": self.value_range,
            "libraries": decoder_versions(),
        }  # fmt: skip
        return digests(self.root, self.paths, lambda path: pixel_digest(self.read(index[path])), how)

    def content(self) -> str:
        return cache.key(files=list(zip(self.paths, self.file_digests(), strict=True)))


def digests(
    root: Path,
    paths: Sequence[str],
    digest: Callable[[str], str] | None = None,
    how: Mapping[str, Any] | None = None,
) -> list[str]:
    """A digest of each file, computed only where the cache has none for its size and time.

    Args:
        root, paths: the files.
        digest: path -> digest; None for SHA-256 of the contents.
        how: what a digest depends on besides the contents (JSON-able).
    """
    store = cache.folder("digests", f"{cache.key(root=str(root.resolve()), **(how or {}))}.json")
    known = _kept(store)
    marks = [_mark(root / path) for path in paths]
    missing = [path for path, mark in zip(paths, marks, strict=True) if path not in known or known[path][:2] != mark]
    if missing:
        read = dict(zip(missing, _read_digests(root, missing, digest or _of_contents(root)), strict=True))
        for path, mark in zip(paths, marks, strict=True):
            if path in read:
                known[path] = [*mark, read[path]]
        _keep(known, store)
    return [known[path][2] for path in paths]


def _kept(store: Path) -> dict[str, list[Any]]:
    """path -> size, time and digest, as an earlier call wrote them; empty if there is nothing that can be read."""
    try:
        found = json.loads(store.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _keep(known: dict[str, list[Any]], store: Path) -> None:
    """Write digests for the next call. A read-only cache is not an error: the next call takes longer."""
    try:
        write_text(store, json.dumps(known), kept="The fingerprint is right.")
    except StorageError as error:
        warnings.warn(
            f"{error} The next call reads every image again for it. Point PROBEKIT_CACHE at a writable folder.",
            RuntimeWarning,
            stacklevel=2,
        )


def _mark(path: Path) -> list[int]:
    """What tells that a file was changed: its size and its time."""
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"The image {path} was there when the set was opened, but is not any more: {error}.") from error
    return [found.st_size, found.st_mtime_ns]


def _of_contents(root: Path) -> Callable[[str], str]:
    def digest(path: str) -> str:
        with (root / path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return digest


def _read_digests(root: Path, paths: Sequence[str], digest: Callable[[str], str]) -> list[str]:
    with progress.bar(f"{root.name}: reading contents", len(paths)) as advance, ThreadPoolExecutor(4) as pool:
        found = []
        for value in pool.map(digest, paths, chunksize=64):
            found.append(value)
            advance()
    return found
