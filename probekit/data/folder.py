"""`imagefolder:DIR`: a folder per class, with or without split folders above them.

A folder is a *split folder* if it is named train, val or test (or valid, validation, dev) and holds folders but no
images itself. Splits that are missing are made as `probekit.data.splits` says; what was done is recorded in
`facts["split_rule"]`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from probekit.data.base import ImageSet
from probekit.data.decode import EXTENSIONS, open_rgb
from probekit.data.files import FileSet
from probekit.data.splits import ALIASES, Part, pick
from probekit.data.unreadable import chosen_images
from probekit.errors import DataError


class Listing(NamedTuple):
    """Images found below a folder: class names, relative paths (sorted by class, then path), labels (n,), and how many
    files were passed over that are no images by their names, or lie in no class folder."""

    classes: list[str]
    paths: list[str]
    labels: np.ndarray
    others: int = 0


def open_split(
    argument: str,
    split: str,
    *,
    spec: str,
    count: int | None = None,
    seed: int = 0,
    on_unreadable: str = "stop",
    name: str | None = None,
) -> ImageSet:
    """Open a folder of images.

    Args:
        argument: the folder.
        count, seed: choose that many images, spread evenly over the classes; None: all.
        on_unreadable: "stop" (an unreadable image raises a DataError when it is reached) or "skip" (every image is
            decoded once when the set is opened, those that cannot be are left out and counted in a warning).
        name: of the set; default: the folder's name.
    """
    root = existing_folder(argument, spec)
    listing, rule = split_listing(root, split, spec)
    return file_set(root, listing, split, rule, spec, count, seed, on_unreadable, name or root.name)


def existing_folder(argument: str, spec: str) -> Path:
    """The folder, or a DataError that names the nearest folder that exists."""
    root = Path(argument).absolute()
    if root.is_dir():
        return root
    if root.exists():
        raise DataError(f"{spec}: {root} is a file; a folder with one folder per class is expected.")
    near = next(parent for parent in root.parents if parent.is_dir())
    raise DataError(f"{spec}: there is no folder {root}. The nearest one that exists is {near}.")


def file_set(
    root: Path,
    listing: Listing,
    split: str,
    rule: str,
    spec: str,
    count: int | None,
    seed: int,
    on_unreadable: str,
    name: str,
    border: int = 0,
) -> FileSet:
    """The images of a listing, less unreadable ones if asked, less what `count` leaves out.

    `border` pixels are cut off at each side of every image.
    """
    classes, paths, labels, others = listing
    chosen, left_out = chosen_images(
        Part(paths, labels),
        np.arange(len(paths)),
        classes,
        count=count,
        seed=seed,
        spec=spec,
        on_unreadable=on_unreadable,
        read=lambda index: open_rgb(root / paths[index]),
        name=lambda index: str(root / paths[index]),
    )
    result = FileSet(
        root,
        [paths[index] for index in chosen],
        border=border,
        name=name,
        spec=spec,
        split=split,
        classes=classes,
        labels=labels[chosen],
        origin="decoded",
        facts={"source": "imagefolder", "split_rule": rule},
        licence="as the folder's",
        description=f"{len(chosen)} images in {len(classes)} classes; splits: {rule}"
        + (f"; {others} other files (no images by their names, or in no class folder) are left out" if others else ""),
    )
    result.unreadable = left_out
    return result


def split_listing(root: Path, split: str, spec: str, *, unlabelled: tuple[str, ...] = ()) -> tuple[Listing, str]:
    """The images of one split, and how they came to be that split. Folders named in `unlabelled` may hold bare images:
    they are left out."""
    given = split_folders(root, spec, unlabelled=unlabelled)
    if given:
        listings = {key: listing(folder, spec, prefix=f"{folder.name}/") for key, folder in given.items()}
        _check_classes(listings, given, spec)
    else:
        listings = {"all": listing(root, spec)}
    classes = next(iter(listings.values())).classes
    parts = {key: Part(each.paths, each.labels) for key, each in listings.items()}
    choice = pick(split, parts, classes, spec)
    part = parts[choice.part]
    paths = [part.names[index] for index in choice.indices]
    chosen = Listing(classes, paths, part.labels[choice.indices], listings[choice.part].others)
    return chosen, choice.rule


def split_folders(root: Path, spec: str, *, unlabelled: tuple[str, ...] = ()) -> dict[str, Path]:
    """Split name -> folder, for those that `root` has; empty if it has none."""
    found: dict[str, Path] = {}
    folders = [entry for entry in sorted(root.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    for entry in folders:
        split = ALIASES.get(entry.name.lower())
        if split and _holds_folders_only(entry):
            if split in found:
                raise DataError(f"{spec}: both {found[split].name} and {entry.name} in {root} are the {split} split.")
            found[split] = entry
    splits_only = all(entry.name.lower() in ALIASES for entry in folders)  # else a class may be called train
    if found or splits_only:
        strays = [
            entry.name
            for entry in folders
            if entry not in found.values() and entry.name not in unlabelled and _image_below(entry)
        ]
        flat = [name for name in strays if name.lower() in ALIASES]
        if flat:
            raise DataError(
                f"{spec}: images in {root / flat[0]} lie in no folder of their class, so they have no label. "
                "Sort them into one folder per class, or move them away."
            )
        if strays:
            raise DataError(
                f"{spec}: {root} has split folders ({', '.join(path.name for path in found.values())}) and beside them "
                f"folders with images ({', '.join(strays[:5])}), which would be ignored. Move or remove them."
            )
    return found


def listing(root: Path, spec: str, *, prefix: str = "") -> Listing:
    """Classes are the folders of `root`, sorted by name; images are found at any depth below each."""
    classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        loose = sum(1 for entry in root.iterdir() if _is_image(entry.name))
        found = f"{loose} images directly in it" if loose else "no images at all"
        raise DataError(f"{spec}: {root} has no folders, and {found}. One folder per class is expected.")
    paths: list[str] = []
    labels: list[int] = []
    empty = []
    others = sum(1 for entry in root.iterdir() if entry.is_file() and not entry.name.startswith("."))
    for label, name in enumerate(classes):
        inside, passed_over = images_below(root / name)
        others += passed_over
        paths += [f"{prefix}{name}/{path}" for path in inside]
        labels += [label] * len(inside)
        if not inside:
            empty.append(name)
    if not paths:
        raise DataError(f"{spec}: there is no image in {root}. Names ending in {', '.join(sorted(EXTENSIONS))} count.")
    if empty:
        raise DataError(
            f"{spec}: {len(empty)} of {len(classes)} classes in {root} have no image: {', '.join(empty[:5])}. "
            "Remove those folders or fill them."
        )
    return Listing(classes, paths, np.array(labels, dtype=np.int64), others)


def images_below(folder: Path) -> tuple[list[str], int]:
    """Relative POSIX paths of the images at any depth, sorted, and the number of other files; nothing that is hidden.

    Links to folders are followed, but no folder is entered twice: a link to a folder above would show its images again
    and again, under new names.
    """
    found, others, entered = [], 0, set()
    for directory, folders, files in os.walk(folder, followlinks=True):
        here = os.stat(directory)
        if (here.st_dev, here.st_ino) in entered:
            folders.clear()
            continue
        entered.add((here.st_dev, here.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = Path(directory).relative_to(folder)
        images = [name for name in files if _is_image(name)]
        found += [(inside / name).as_posix() for name in images]
        others += sum(1 for name in files if not name.startswith(".")) - len(images)
    return sorted(found), others


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS


def _image_below(folder: Path) -> bool:
    return any(_is_image(name) for _, _, files in os.walk(folder) for name in files)


def _holds_folders_only(folder: Path) -> bool:
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    return any(entry.is_dir() for entry in entries) and not any(_is_image(entry.name) for entry in entries)


def _check_classes(listings: dict[str, Listing], given: dict[str, Path], spec: str) -> None:
    first, *rest = listings
    for other in rest:
        differing = sorted(set(listings[first].classes) ^ set(listings[other].classes))
        if differing:
            raise DataError(
                f"{spec}: the folders {given[first].name} and {given[other].name} have different classes: "
                f"{', '.join(differing[:5])} ({len(differing)} in all) are in only one of them."
            )
