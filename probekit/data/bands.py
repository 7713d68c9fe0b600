"""Images of any number of channels and any type of number -> uint8 (height, width, channels), by a stated scaling.

| values                    | become                                                                     |
|---------------------------|----------------------------------------------------------------------------|
| uint8                     | as they are                                                                |
| bool                      | 0 and 255                                                                  |
| uint16                    | v / 257, so that 65535 becomes 255                                         |
| fractions in [0, 1]       | 255 v, rounded                                                             |
| anything, `value_range=(low, high)` | 255 (v - low) / (high - low), rounded, clipped to 0 and 255      |

Other values have no known range and are refused: nothing is scaled by what happens to be in one split.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from probekit import files
from probekit.data.decode import BROKEN, MAX_PIXELS, check_regular, eight_bits, unreadable
from probekit.errors import DataError

ValueRange = tuple[float, float]


def as_range(value: Any, spec: str) -> ValueRange | None:
    """`"0,10000"` or `(0, 10000)` -> (0.0, 10000.0); None stays None."""
    if value is None:
        return None
    try:
        low, high = (float(part) for part in (value.split(",") if isinstance(value, str) else value))
    except (TypeError, ValueError) as error:
        raise DataError(f"{spec}: value_range={value!r}; two numbers are expected, such as 0,10000.") from error
    if not np.isfinite([low, high]).all() or low >= high:
        raise DataError(f"{spec}: value_range={value!r}; the first number must be below the second.")
    return low, high


def scaling(dtype: np.dtype[Any], value_range: ValueRange | None) -> str:
    """How values of a type are converted to 8 bits, in words; empty for 8-bit values."""
    if value_range is not None:
        return f"255 (v - {value_range[0]:g}) / ({value_range[1]:g} - {value_range[0]:g}), clipped"
    return {"u1": "", "b1": "255 v", "u2": "v / 257"}.get(dtype.kind + str(dtype.itemsize), "255 v")


def to_uint8(values: np.ndarray, name: str, value_range: ValueRange | None = None) -> np.ndarray:
    """Values of any type as 8 bits, by the table above; of the same shape.

    Raises:
        DataError: the range of the values is not known, or some are not finite.
    """
    if value_range is not None:
        low, high = value_range
        scaled = (values.astype(np.float64) - low) * (255 / (high - low))
        if not np.isfinite(scaled).all():
            raise DataError(f"{name} holds values that are not finite.")
        return np.asarray(np.floor(np.clip(scaled, 0, 255) + 0.5).astype(np.uint8))
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint16:
        return eight_bits(values)
    if values.dtype.kind == "f" and (not values.size or (values.min() >= 0 and values.max() <= 1)):
        return np.asarray(np.floor(values.astype(np.float64) * 255 + 0.5).astype(np.uint8))
    raise DataError(
        f"{name} holds {values.dtype} numbers from {values.min():.6g} to {values.max():.6g}; 8-bit pixels, uint16 or "
        "fractions in [0, 1] are expected. For other numbers state their range, as in value_range=(0, 10000); leave "
        "Normalize out of a data set's transforms, since normalising is the model card's."
    )


def channels_last(images: np.ndarray, name: str, *, first: bool = False) -> np.ndarray:
    """Images of any usual layout -> (n, height, width, channels).

    Args:
        images: (n, height, width), (n, height, width, channels) or (n, channels, height, width).
        name: for messages.
        first: whether the channels are known to come first (torch tensors), unless they can only come last.
    """
    if images.ndim == 3:
        return images[..., None]
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise DataError(
            f"{name}: images have shape {images.shape}; expected (n, height, width, channels), "
            "(n, channels, height, width) or (n, height, width) for grey."
        )
    front, back, least = images.shape[1], images.shape[3], min(images.shape[1:3])
    if back in (1, 3) and not (first and front < back):
        return images
    if front in (1, 3) or first or front < min(images.shape[2:]):
        return np.moveaxis(images, 1, 3)
    if back < least:
        return images
    raise DataError(
        f"{name}: images have shape {images.shape}, in which no axis can be told to be the channels. Give them as "
        "(n, height, width, channels) with fewer channels than rows and columns."
    )


def open_bands(path: Path) -> np.ndarray:
    """The raw values of a `.npy` file or TIFF: (height, width, channels), of the type that the file has."""
    name = str(path)
    check_regular(path, name)
    try:
        if path.suffix.lower() == ".npy":
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
            _check_bytes(mapped.nbytes, name)
            values = np.array(mapped)
        else:
            import tifffile

            with (
                files.opened(path, what="an image", error=DataError) as stream,
                tifffile.TiffFile(stream, name=path.name) as tiff,
            ):
                series = tiff.series[0]
                _check_bytes(int(np.prod(series.shape, dtype=np.float64)) * series.dtype.itemsize, name)
                values = series.asarray()
    except DataError:
        raise
    except (*BROKEN, KeyError, IndexError, MemoryError) as error:
        raise unreadable(name, error) from error
    return np.asarray(channels_last(values[None], name)[0])


def _check_bytes(size: int, name: str) -> None:
    if size > 3 * MAX_PIXELS:
        raise unreadable(name, f"it holds {size:,} bytes; more than {3 * MAX_PIXELS:,} are not read; cut it in tiles")


def is_multiband(path: Path) -> bool:
    """Whether a file holds bands that are no picture for Pillow: `.npy`, or a TIFF of other than grey, RGB or RGBA."""
    if path.suffix.lower() == ".npy":
        return True
    if path.suffix.lower() not in (".tif", ".tiff"):
        return False
    import tifffile

    check_regular(path, str(path))
    try:
        with (
            files.opened(path, what="an image", error=DataError) as stream,
            tifffile.TiffFile(stream, name=path.name) as tiff,
        ):
            page = tiff.pages.first
            samples, alpha = page.samplesperpixel, any(int(extra) in (1, 2) for extra in page.extrasamples)
            deep = page.dtype is not None and page.dtype.itemsize > 1
    except DataError:
        raise
    except (*BROKEN, KeyError, IndexError):  # Pillow may still read it, and says what is wrong if not
        return False
    return (
        samples == 2 or samples > 4 or (samples == 4 and not alpha and page.photometric == 2) or (deep and samples > 1)
    )
