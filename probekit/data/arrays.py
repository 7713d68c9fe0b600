"""`numpy:PATH`: images and labels in NumPy files.

PATH is an `.npz` file, or a folder of `.npy` files, with the arrays `images` and `labels`, or with the splits as
`train_images`, `train_labels` and so on; `classes` (texts) and the labels are optional. `probekit.data.bands` says
which layouts and types of images are read, `probekit.data.labelling` what labels mean.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from probekit.data import npz
from probekit.data.base import ImageSet
from probekit.data.memory import by_split, open_given
from probekit.data.request import Request
from probekit.data.splits import split_name
from probekit.errors import DataError


def open_split(argument: str, request: Request, *, value_range: str | None = None) -> ImageSet:
    """Open `.npz` or a folder of `.npy` files.

    Args:
        argument: the file or folder.
        request: which images.
        value_range: lowest and highest pixel value, as in "0,10000".
    """
    path, spec = Path(argument), request.spec
    arrays = _stored_arrays(path, spec)
    classes = [str(text) for text in arrays["classes"]] if "classes" in arrays else None
    if "images" in arrays:
        given = {"all": _pair(arrays, "")}
    else:
        pairs = [key.removesuffix("images") for key in arrays if key.endswith("_images")]
        given = {prefix[:-1]: _pair(arrays, prefix) for prefix in pairs if split_name(prefix[:-1])}
    if not given:
        raise DataError(
            f"{spec}: {path} has the arrays {', '.join(sorted(arrays)) or 'none'}; "
            "images and labels are expected, or train_images, train_labels and so on."
        )
    return open_given(by_split(given), request, name=path.stem, names=classes, value_range=value_range)


def _pair(arrays: Mapping[str, np.ndarray], prefix: str) -> tuple[Any, Any]:
    return arrays[f"{prefix}images"], arrays.get(f"{prefix}labels")


def _stored_arrays(path: Path, spec: str) -> dict[str, np.ndarray]:
    if not path.exists():
        raise DataError(f"{spec}: there is no file or folder {path}.")
    if path.suffix == ".npy":
        raise DataError(f"{spec}: {path} is one array; images and labels are expected, in an .npz file or a folder.")
    try:
        if path.is_dir():
            return {file.stem: npz.read_npy(file) for file in sorted(path.glob("*.npy"))}
        return npz.read_npz(path)
    except DataError:
        raise
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, KeyError) as error:
        raise DataError(f"{spec}: cannot read {path} (arrays of numbers, without Python objects): {error}") from error
