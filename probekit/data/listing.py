"""What lies in a folder of images: splits, classes, superclasses, or bare images.

| layout                        | read as                                                                      |
|-------------------------------|------------------------------------------------------------------------------|
| `cat/*.jpg dog/*.jpg`         | classes; images are found at any depth below a class                         |
| `train/cat/*.jpg ...`         | splits, then classes; `training`, `Val`, `images_train`, `val2017` are known |
| `animals/cat/*.jpg ...`       | superclasses, then classes: no outer folder has images, no inner name occurs twice |
| `a/images/*.jpg b/images/*`   | classes a and b: one inner name under all                                    |
| `fold1/cat fold2/cat ...`     | a question: are the outer folders splits, or classes?                        |
| `*.jpg`                       | images without labels                                                        |
| `train/*.jpg test/*.jpg`      | splits of images without labels                                              |

Hidden files, `__MACOSX` and empty class folders are passed over and counted in the notes. Unreadable folders and image
files that are no regular files are errors.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from probekit.data.decode import EXTENSIONS
from probekit.data.splits import split_name
from probekit.errors import DataError

JUNK = ("__macosx", "@eadir", "$recycle.bin", "system volume information")
"""Folders that archives and file systems leave behind, in lower case."""


class Listing(NamedTuple):
    """Images found below a folder.

    `classes` (names), `paths` (relative, POSIX, sorted by class, then path), `labels` (int64 (n,), or None for bare
    images), `notes` (what was passed over), `superclasses` (one per class, or None).
    """

    classes: list[str]
    paths: list[str]
    labels: np.ndarray | None
    notes: tuple[str, ...] = ()
    superclasses: tuple[str, ...] | None = None


def folders_in(root: Path, spec: str) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones and junk."""
    return [
        entry
        for entry in entries(root, spec)
        if entry.is_dir() and not entry.name.startswith(".") and entry.name.lower() not in JUNK
    ]


def entries(root: Path, spec: str) -> list[Path]:
    """Everything in a folder, sorted; a DataError names a folder that cannot be read."""
    try:
        return sorted(root.iterdir())
    except OSError as error:
        raise DataError(
            f"{spec}: the folder {root} cannot be read ({error.strerror or error}): its images would be missing. "
            "Change its permissions or move it away."
        ) from error


def split_folders(root: Path, spec: str, *, unlabelled: tuple[str, ...] = ()) -> dict[str, Path]:
    """Split name -> folder, for those that `root` has; empty if it has none.

    Args:
        unlabelled: names of folders that may hold bare images; they are left out.
    """
    folders = [entry for entry in folders_in(root, spec) if _image_below(entry, spec)]
    named = {entry: split_name(entry.name) for entry in folders}
    holding = [entry for entry in folders if named[entry] and _holds_folders_only(entry, spec)]
    bare = [entry for entry in folders if named[entry] and entry not in holding and entry.name not in unlabelled]
    if not holding and bare and len(bare) == len(folders):  # nothing but splits of bare images
        holding, bare = bare, []
    found: dict[str, Path] = {}
    for entry in holding:
        split = named[entry] or ""
        if split in found:
            raise DataError(f"{spec}: both {found[split].name} and {entry.name} in {root} are the {split} split.")
        found[split] = entry
    if not found:
        return {}
    if bare:
        raise DataError(
            f"{spec}: images in {bare[0]} lie in no folder of their class, so they have no label. "
            "Sort them into one folder per class, or move them away."
        )
    strays = [entry.name for entry in folders if entry not in holding and entry.name not in unlabelled]
    if strays:
        raise DataError(
            f"{spec}: {root} has split folders ({', '.join(path.name for path in found.values())}) and beside them "
            f"folders with images ({', '.join(strays[:5])}), which would be ignored. Move or remove them."
        )
    return found


def listing(root: Path, spec: str, *, prefix: str = "", levels: int | None = None) -> Listing:
    """The images below a folder that is not the folder of a split.

    Args:
        root: the folder.
        spec: for messages.
        prefix: put before every path.
        levels: 1: the folders in `root` are the classes; 2: the folders in those are; None: see the table above.
    """
    folders = folders_in(root, spec)
    loose = [entry.name for entry in entries(root, spec) if is_image(entry)]
    passed = [entry.name for entry in entries(root, spec) if entry.is_file() and entry.name not in loose]
    junk = [entry.name for entry in entries(root, spec) if entry.is_dir() and entry.name.lower() in JUNK]
    inside = {folder: images_below(folder, spec) for folder in folders}
    filled = [folder for folder in folders if inside[folder][0]]
    others = len([name for name in passed if not name.startswith(".")]) + sum(inside[f][1] for f in folders)
    if not filled and not loose:
        kind = f"{len(folders)} folders" if folders else "no folders"
        raise DataError(
            f"{spec}: there is no image in {root} ({kind}, {len(passed)} other files). Names ending in "
            f"{', '.join(sorted(EXTENSIONS))} count."
        )
    notes = _notes(junk, [folder.name for folder in folders if not inside[folder][0]], others)
    if not filled:
        return Listing([], [f"{prefix}{name}" for name in loose], None, notes)
    if loose:
        notes += (f"{len(loose)} images directly in {root.name}, in no class folder, are left out",)
    if _two_levels(filled, inside, root, spec, levels):
        return _by_inner(filled, inside, prefix, notes, told=levels is None)
    paths = [f"{prefix}{folder.name}/{path}" for folder in filled for path in inside[folder][0]]
    labels = np.repeat(np.arange(len(filled)), [len(inside[folder][0]) for folder in filled])
    return Listing([folder.name for folder in filled], paths, labels, notes)


def _notes(junk: list[str], empty: list[str], others: int) -> tuple[str, ...]:
    notes = []
    if junk:
        notes.append(f"passed over {', '.join(junk)}")
    if empty:
        shown = ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else "")
        notes.append(f"passed over {len(empty)} folders without an image: {shown}")
    if others:
        notes.append(f"{others} other files (no images by their names, or in no class folder) are left out")
    return tuple(notes)


def _two_levels(
    filled: list[Path], inside: dict[Path, tuple[list[str], int]], root: Path, spec: str, levels: int | None
) -> bool:
    """Whether the folders in the folders of `root` are the classes; a DataError where that is a question."""
    if levels is not None:
        return levels == 2
    if len(filled) < 2 or any("/" not in path for folder in filled for path in inside[folder][0]):
        return False
    inner = {folder: {path.split("/")[0] for path in inside[folder][0]} for folder in filled}
    owners = Counter(name for names in inner.values() for name in names)
    shared = sorted(name for name, count in owners.items() if count > 1)
    one_in_each = all(len(names) == 1 for names in inner.values())
    if len(owners) == 1 or (one_in_each and not shared):
        return False
    if shared:
        holding = [folder.name for folder in filled if shared[0] in inner[folder]]
        raise DataError(
            f"{spec}: the folders {', '.join(holding[:5])} in {root} hold subfolders of the same names "
            f"({', '.join(shared[:5])}). Are they splits or parts, and the subfolders the classes? Then give them as "
            f'{{"train": "imagefolder:{root / holding[0]}", "test": "imagefolder:{root / holding[-1]}"}}, or merge '
            "them. Or are they the classes? Then add ?levels=1."
        )
    return True


def _by_inner(
    filled: list[Path], inside: dict[Path, tuple[list[str], int]], prefix: str, notes: tuple[str, ...], *, told: bool
) -> Listing:
    """Superclasses are the folders, classes the folders in them; images directly in a superclass are left out."""
    members: dict[str, tuple[str, list[str]]] = {}
    for folder in filled:
        for path in inside[folder][0]:
            name, slash, _ = path.partition("/")
            if slash:
                key = f"{folder.name}/{name}"
                members.setdefault(key, (folder.name, []))[1].append(f"{prefix}{folder.name}/{path}")
    short = Counter(key.split("/")[1] for key in members)
    keys = sorted(members, key=lambda key: (key.split("/")[1], key))
    classes = [key.split("/")[1] if short[key.split("/")[1]] == 1 else key for key in keys]
    labels = np.repeat(np.arange(len(keys)), [len(members[key][1]) for key in keys])
    above = tuple(members[key][0] for key in keys)
    if told:
        notes += (
            f"the {len(filled)} folders are read as superclasses and the {len(classes)} folders in them as classes "
            "(?levels=1 takes the outer folders as classes)",
        )
    return Listing(classes, [path for key in keys for path in members[key][1]], labels, notes, above)


def images_below(folder: Path, spec: str) -> tuple[list[str], int]:
    """Relative POSIX paths of the images at any depth, sorted, and the number of other files; nothing that is hidden.

    Links to folders are followed, but no folder is entered twice: a link to a folder above would show its images again
    and again, under new names.
    """
    found, others, entered = [], 0, set()

    def cannot(error: OSError) -> None:
        raise DataError(
            f"{spec}: the folder {error.filename} cannot be read ({error.strerror or error}): its images would be "
            "missing. Change its permissions or move it away."
        ) from error

    for directory, folders, names in os.walk(folder, followlinks=True, onerror=cannot):
        here = os.stat(directory)
        if (here.st_dev, here.st_ino) in entered:
            folders.clear()
            continue
        entered.add((here.st_dev, here.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name.lower() not in JUNK)
        inside = Path(directory).relative_to(folder)
        images = [name for name in names if is_image(Path(directory, name))]
        pictures = [name for name in images if not name.lower().endswith(".npy")]
        images = pictures or images  # arrays beside pictures hold something else
        found += [(inside / name).as_posix() for name in images]
        others += sum(1 for name in names if not name.startswith(".")) - len(images)
    return sorted(found), others


def is_image(path: Path) -> bool:
    """Whether a path is an image file by its name; a DataError if it then is a pipe, socket or device."""
    if path.name.startswith(".") or path.suffix.lower() not in EXTENSIONS | {".npy"}:
        return False
    try:
        mode = path.stat().st_mode
    except OSError:
        return True  # a broken link: named when it is read
    if stat.S_ISDIR(mode):
        return False
    if not stat.S_ISREG(mode):
        raise DataError(f"{path} is named like an image but is no regular file (a pipe, socket or device). Remove it.")
    return True


def _image_below(folder: Path, spec: str) -> bool:
    return bool(images_below(folder, spec)[0])


def _holds_folders_only(folder: Path, spec: str) -> bool:
    inside = entries(folder, spec)
    return any(_image_below(entry, spec) for entry in folders_in(folder, spec)) and not any(map(is_image, inside))
