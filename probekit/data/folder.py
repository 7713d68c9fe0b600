"""`imagefolder:DIR`: a folder of images, with classes, splits and superclasses as its folders say.

`probekit.data.listing` has the layouts that are understood, `probekit.data.splits` how missing splits are made; what
was done is recorded in `facts["split_rule"]` and in the notes of the set.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from probekit.data.bands import ValueRange, as_range, is_multiband, open_bands
from probekit.data.base import ImageSet
from probekit.data.decode import open_rgb
from probekit.data.files import FileSet
from probekit.data.listing import Listing, listing, split_folders
from probekit.data.request import Request
from probekit.data.selecting import Found, select
from probekit.data.splits import Part
from probekit.errors import DataError


def open_split(
    argument: str,
    request: Request,
    *,
    levels: int | None = None,
    name: str | None = None,
    value_range: str | None = None,
) -> ImageSet:
    """Open a folder of images.

    Args:
        argument: the folder.
        request: which images.
        levels: 1: the folders in it are the classes; 2: the folders in those are; default: see `listing`.
        name: of the set; default: the folder's name.
        value_range: lowest and highest value of multi-band files, as in "0,10000".
    """
    if levels not in (None, 1, 2):
        raise DataError(f"{request.spec}: levels={levels}; 1 (a folder per class) or 2 (superclasses, then classes).")
    root = existing_folder(argument, request.spec)
    limits = as_range(value_range, request.spec)
    listings = split_listings(root, request.spec, levels=levels)
    return file_set(root, listings, request, name or root.name, value_range=limits)


def existing_folder(argument: str, spec: str) -> Path:
    """The folder, or a DataError that names the nearest folder that exists."""
    root = Path(argument).absolute()
    if root.is_dir():
        return root
    if root.exists():
        raise DataError(f"{spec}: {root} is a file; a folder with one folder per class is expected.")
    near = next(parent for parent in root.parents if parent.is_dir())
    raise DataError(f"{spec}: there is no folder {root}. The nearest one that exists is {near}.")


def split_listings(
    root: Path, spec: str, *, unlabelled: tuple[str, ...] = (), levels: int | None = None
) -> dict[str, Listing]:
    """What lies in each split folder, with the same classes in all; or in the whole folder, as "all".

    Args:
        root: the folder.
        spec: for messages.
        unlabelled: names of split folders that may hold bare images: they are left out.
        levels: as in `listing`.
    """
    given = split_folders(root, spec, unlabelled=unlabelled)
    if not given:
        return {"all": listing(root, spec, levels=levels)}
    found = {key: listing(folder, spec, prefix=f"{folder.name}/", levels=levels) for key, folder in given.items()}
    first, *rest = found
    for other in rest:
        differing = sorted(set(found[first].classes) ^ set(found[other].classes))
        if differing:
            raise DataError(
                f"{spec}: the folders {given[first].name} and {given[other].name} have different classes: "
                f"{', '.join(differing[:5])} ({len(differing)} in all) are in only one of them."
            )
    return found


def file_set(
    root: Path,
    listings: dict[str, Listing],
    request: Request,
    name: str,
    *,
    border: int = 0,
    rule: str = "",
    value_range: ValueRange | None = None,
) -> FileSet:
    """The images of a split out of listings by split.

    Args:
        root: what the listings' paths start from.
        listings: by split, or "all".
        request: which images.
        name: of the set.
        border: pixels that are cut off at each side of every image.
        rule: how the split came about, where it is not by `splits.pick`.
        value_range: of multi-band files.
    """
    first = next(iter(listings.values()))

    def path(part: str, index: int) -> Path:
        return root / listings[part].paths[index]

    quiet = {note for each in listings.values() for note in each.notes if "other files" in note}
    chosen = select(
        Found(
            {key: Part.of(each.paths, each.labels) for key, each in listings.items()},
            first.classes,
            lambda part, index: _readable(path(part, index)),
            lambda part, index: str(path(part, index)),
            first.superclasses,
            tuple(dict.fromkeys(note for each in listings.values() for note in each.notes if note not in quiet)),
            tuple(quiet),
        ),
        request,
    )
    paths = listings[chosen.part].paths
    options = chosen.options(request)
    result = FileSet(
        root,
        [paths[index] for index in chosen.indices],
        border=border,
        exif=request.exif,
        draft=request.draft,
        value_range=value_range,
        name=name,
        origin="decoded",
        facts={"source": "imagefolder", **chosen.facts, **request.decoding} | ({"split_rule": rule} if rule else {}),
        licence="as the folder's",
        **options,
    )
    chosen.finish(result)
    return result


def _readable(path: Path) -> None:
    """Reads an image, or raises a DataError."""
    _ = open_bands(path) if is_multiband(path) else open_rgb(path)


def kept(listing: Listing, images: np.ndarray | list[int], labels: np.ndarray, classes: list[str]) -> Listing:
    """A listing with some of its images, under new labels and classes."""
    return listing._replace(classes=classes, paths=[listing.paths[index] for index in images], labels=labels)
