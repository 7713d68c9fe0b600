"""What an HDF5 file declares, checked before anything of it is read.

HDF5 can point out of the file and declare terabytes in a few bytes. Links to other files, external storage and virtual
datasets are refused by name. Sizes are checked of arrays, of chunks, and of what a packed chunk unpacks to: HDF5 itself
unpacks a chunk to its end, however much that is.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from probekit.errors import ResultsError

LIMIT = 2**30
"""Most bytes that are read of a file at once, and most bytes of the file."""

DENSE = 64
"""Bytes of arrays for each byte in the file, up to which they may together be larger than `LIMIT`, and are then read
one by one: results of 20 checkpoints on 50,000 images take 14, and 41 beside two smaller image sets, on which all that
is beyond their images is NaN."""

LARGEST = 2**29
"""Most bytes of one array that is read at once, and of one chunk. Larger arrays of numbers are read in parts: k-NN's
outcomes of 20 checkpoints on 50,000 images have 624 MB."""

FREE = 64 * 2**20
"""Bytes that arrays may have however few bytes they take in the file."""

RATIO = 2000
"""Most bytes of arrays for each byte in the file, beyond `FREE`: deflate reaches about 1,000."""

ATTRIBUTES = 64 * 2**20
"""Most bytes of attributes, and of texts, in a file."""

TEXTS = 2**17
"""Most texts in a file: they are looked at one by one."""

NAMES = 4096
"""Most arrays in a file: results of every probe have some 300."""

LATER = 2**18
"""Bytes from which on an array of numbers may stay in the file until it is asked for."""

UNUSED = {b"REFERENCE_LIST", b"CLASS", b"_Netcdf4Dimid", b"_Netcdf4Coordinates"}
"""netCDF's own attributes, which are not used here."""

DEFLATE, LZF = 1, 32000
FLETCHER = 3
FILTERS = {DEFLATE, 2, FLETCHER, LZF}
"""HDF5's numbers of deflate, shuffle, fletcher32 and lzf. Szip, nbit and scaleoffset are left out: HDF5 believes the
sizes in their parameters, which a damaged file can make larger than its arrays."""

EXPANDS = {DEFLATE: 1032, LZF: 264}
"""Most bytes that a filter makes of one; shuffle and fletcher32 keep the size, but for four bytes."""

LARGEST_LZF = 3 * 2**20
"""Most bytes of a chunk packed by lzf, which cannot be looked at without unpacking it whole."""


class Checked(NamedTuple):
    """What was read of a file to check it."""

    at_once: bool
    """Whether all arrays may be read at once; else the large ones (`may_wait`) are read one by one."""
    attributes: dict[str, dict[str, Any]]
    """Those of each array, and of the file under an empty name."""


def check(file: Any, path: str | os.PathLike[str]) -> Checked:
    """Refuse what reads other files, and what would take more memory than the file can fill.

    Args:
        file: an open `h5py.File`.
        path: for messages.

    Raises:
        ResultsError: naming the array, and what is wrong with it.
    """
    import h5py

    if len(file) > NAMES:
        raise ResultsError(f"{path} has {len(file):,} arrays; a results file has at most {NAMES:,}.")
    total = at_once = largest = characters = texts = 0
    own = {name: _own(path, name, file) for name in file}
    items = {name: item for name, item in own.items() if isinstance(item, h5py.Dataset)}  # groups are not read
    stored = sum(item.id.get_storage_size() for item in items.values())
    rest = max(0, file.id.get_filesize() - stored)
    described, attributes = attributes_of(file, rest)
    found = {"": described}
    for name, item in items.items():
        size = _declared(path, name, item)
        total += size
        found[name], more = attributes_of(item, rest)
        waits = may_wait(item, found[name])
        at_once += 0 if waits else size
        largest = max(largest, size)
        attributes += more
        most = min(max(LIMIT, DENSE * stored), FREE + RATIO * stored)
        if (size > LARGEST and not waits) or at_once > LIMIT or total > most:
            raise ResultsError(
                f"{path}: {name!r} has {size:,} bytes, and the arrays up to it {total:,}, of which the file holds "
                f"{stored:,}. It is damaged, or too large: open it with xarray and keep a part."
            )
        if attributes > ATTRIBUTES:
            raise ResultsError(f"{path}: the attributes up to {name!r} have {attributes:,} bytes. It is damaged.")
        _check_chunks(path, name, item)
        if item.dtype.kind == "O":
            texts += math.prod(item.shape or ())
            if texts > TEXTS:
                raise ResultsError(f"{path}: there are {texts:,} texts up to {name!r}; at most {TEXTS:,} are read.")
            characters += _texts(item, path, ATTRIBUTES - characters)
    return Checked(total <= LIMIT and largest <= LARGEST, found)


def may_wait(item: Any, attributes: Mapping[str, Any]) -> bool:
    """Whether an array is large, and of numbers: one that may stay in the file until it is asked for."""
    large = item.dtype.kind in "iuf" and math.prod(item.shape or ()) * item.dtype.itemsize > LATER
    return large and attributes.get("dtype") not in ("bool", b"bool")


def _own(path: str | os.PathLike[str], name: str, file: Any) -> Any:
    """What a file has under a name, if the file has it itself."""
    import h5py

    link = file.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        target = getattr(link, "filename", "") or getattr(link, "path", "")
        raise ResultsError(
            f"{path}: {name!r} is a link to {target!r}. A results file holds its numbers itself; links are not "
            "followed. Write the dataset again with xarray."
        )
    return file[name]


def _declared(path: str | os.PathLike[str], name: str, item: Any) -> int:
    """Bytes that an array takes in memory; refuses arrays whose data lie elsewhere, or that are no numbers or texts."""
    import h5py

    if item.is_virtual or item.external:
        kind = "a virtual dataset" if item.is_virtual else "external storage"
        raise ResultsError(
            f"{path}: {name!r} is {kind}: its numbers lie in other files, which are not read. Write the dataset again "
            "with xarray."
        )
    texts = h5py.check_string_dtype(item.dtype) is not None
    if item.dtype.kind not in "iufbSU" and not texts and h5py.check_enum_dtype(item.dtype) is None:
        raise ResultsError(f"{path}: {name!r} has the type {item.dtype}; expected numbers or texts.")
    return math.prod(item.shape or ()) * (64 if item.dtype.kind == "O" else item.dtype.itemsize)


def attributes_of(item: Any, rest: int = 0) -> tuple[dict[str, Any], int]:
    """Attributes of a dataset or file, except `UNUSED`, and the bytes that all take.

    Each is opened once and read as it is, in half the time of `item.attrs`.

    Args:
        item: a dataset or file of h5py.
        rest: bytes of the file that are no arrays: no text in it is longer. 0 for a file that is trusted.

    Raises:
        ResultsError: they take more than `ATTRIBUTES`; many of them, or many elements of one, may point to one text.
    """
    from h5py import h5a

    names: list[bytes] = []
    h5a.iterate(item.id, lambda name, *_: names.append(name))
    found, size = {}, 0
    for name in names:
        attribute = h5a.open(item.id, name)
        size += int(attribute.get_storage_size())
        kind, shape = attribute.dtype, attribute.shape  # each is made anew by the file's library whenever it is asked
        many = kind.kind == "O" and shape and math.prod(shape) * rest > 4 * ATTRIBUTES
        if size <= ATTRIBUTES and not many and name not in UNUSED:
            value = found[name.decode("utf-8", "surrogateescape")] = _value(item, attribute, kind, shape)
            size += len(value) if isinstance(value, str) else 0
        if size > ATTRIBUTES or (many and name not in UNUSED):
            raise ResultsError(
                f"{item.file.filename}: the attributes of {item.name!r} up to {name.decode(errors='replace')!r} may "
                f"have more than {ATTRIBUTES:,} bytes. It is damaged."
            )
    return found, size


def _value(item: Any, attribute: Any, kind: Any, shape: Any) -> Any:
    """An attribute of this type and shape as `item.attrs` gives it."""
    import numpy as np

    if shape is None or kind.subdtype is not None or kind.kind not in "iufO":
        return item.attrs[attribute.name]
    values = np.empty(shape, kind)
    attribute.read(values)
    if kind.kind == "O":
        for place, each in np.ndenumerate(values):
            values[place] = each.decode("utf-8", "surrogateescape") if isinstance(each, bytes) else each
    return values[()]


def _texts(item: Any, path: str | os.PathLike[str], budget: int) -> int:
    """Bytes of the texts of an array, read one by one: many elements may point to one long text."""
    import numpy as np

    total = 0
    for place in np.ndindex(item.shape or ()):
        total += len(item[place])
        if total > budget:
            raise ResultsError(
                f"{path}: the texts of {item.name!r} have more than {ATTRIBUTES:,} bytes. It is damaged."
            )
    return total


# --- chunks -----------------------------------------------------------------------------------------------------------


def _check_chunks(path: str | os.PathLike[str], name: str, item: Any) -> None:
    """Refuse chunks that are large, packed in an unknown way, or unpack to more than they hold."""
    if item.chunks is None:
        return
    properties = item.id.get_create_plist()
    filters = [properties.get_filter(place)[0] for place in range(properties.get_nfilters())]
    packed = [one for one in filters if one in EXPANDS]
    size = math.prod(item.chunks) * item.dtype.itemsize
    largest = LARGEST_LZF if LZF in filters else LARGEST
    if size > largest or len(packed) > 1 or not FILTERS.issuperset(filters):
        raise ResultsError(
            f"{path}: {name!r} is stored in chunks of {size:,} bytes, through HDF5's filters "
            f"{', '.join(map(str, filters)) or 'none'}. Chunks of at most {LARGEST:,} bytes ({LARGEST_LZF:,} packed by "
            "lzf), packed once by deflate or lzf, are read. Write the dataset again with xarray."
        )
    size += 4 if FLETCHER in filters else 0  # its sum may be packed with the numbers
    if not packed:
        return

    def bomb(chunk: Any) -> bool | None:
        """True, which ends the search, for a chunk that does not unpack to its size; else None."""
        grows = chunk.size > size + size // 100 + 1024
        return grows or (chunk.size * EXPANDS[packed[0]] > LIMIT and _too_much(item, chunk, size)) or None

    if item.id.chunk_iter(bomb):
        raise ResultsError(f"{path}: a chunk of {name!r} does not unpack to {size:,} bytes. The file is damaged.")


def _too_much(item: Any, chunk: Any, size: int) -> bool:
    """Whether a chunk unpacks to more than `size` bytes, found without unpacking it all at once."""
    content = item.id.read_direct_chunk(chunk.chunk_offset)[1]
    unpacking, left = zlib.decompressobj(), size
    while left >= 0:
        try:
            part = unpacking.decompress(content, 2**20)
        except zlib.error:
            return True
        content = unpacking.unconsumed_tail
        left -= len(part)
        if unpacking.eof or not (content or part):
            return left < 0
    return True
