"""NumPy's files, with their sizes checked before an array is built: a few bytes can declare terabytes."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from probekit import files
from probekit.errors import DataError

FREE = 2**30
"""Bytes that the arrays of a compressed file may have, however small it is."""

RATIO = 8
"""Most bytes of arrays for each byte in the file, beyond `FREE`."""


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file.

    Raises:
        DataError: no regular file, or arrays that declare more than the file can hold.
        ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error: a damaged file.
    """
    size = files.regular(path, what="an .npz file", error=DataError).st_size
    with files.opened(path, what="an .npz file", error=DataError) as opened:
        total = 0
        with zipfile.ZipFile(opened) as archive:
            for member in archive.infolist():
                with archive.open(member) as inside:
                    total += _declared(inside, member.file_size, f"{path}: {member.filename}")
                if total > max(FREE, RATIO * size):
                    raise DataError(
                        f"{path} has {size:,} bytes and declares arrays of {total:,} bytes; expected at most "
                        f"{max(FREE, RATIO * size):,}. Save larger sets without compression (numpy.savez)."
                    )
        opened.seek(0)
        with np.load(opened, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}


def read_npy(path: Path) -> np.ndarray:
    """The array of an .npy file; errors as those of `read_npz`."""
    size = files.regular(path, what="an .npy file", error=DataError).st_size
    with files.opened(path, what="an .npy file", error=DataError) as opened:
        _declared(opened, size, str(path))
        opened.seek(0)
        return np.asarray(np.load(opened, allow_pickle=False))


def _declared(stream: IO[bytes], size: int, name: str) -> int:
    """Bytes of the array that the header at the beginning of a stream declares, which the `size` bytes must hold."""
    head = io.BytesIO(stream.read(min(size, 1 << 16)))
    read: dict[tuple[int, int], Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(head)
    if version not in read:
        raise DataError(f"{name} has the version {version} of NumPy's format; expected 1.0 or 2.0. Save it again.")
    shape, _, dtype = read[version](head)
    if dtype.hasobject:
        raise DataError(f"{name} holds Python objects, and reading them could run code; expected numbers.")
    total = int(dtype.itemsize * math.prod(shape))
    if total > size - head.tell():
        raise DataError(f"{name} declares {total:,} bytes of numbers and holds {size - head.tell():,}: it is damaged.")
    return total
