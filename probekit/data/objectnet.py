"""`objectnet:DIR`: ObjectNet as it is distributed, `images/` beside `mappings/`; a test set.

Of its 313 classes those are kept that stand for one or more of ImageNet-1k's, as its own mapping files say (113 of
them); `class_members` lists the ImageNet numbers of each. Every image has a red border of 2 pixels, which marks it as
test data: it is cut off.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from probekit.data.base import ImageSet
from probekit.data.folder import existing_folder, file_set, kept
from probekit.data.imagenet import test_listing
from probekit.data.listing import listing
from probekit.data.request import Request
from probekit.errors import DataError

BORDER = 2

FILES = {
    "folders": "folder_to_objectnet_label.json",
    "members": "objectnet_to_imagenet_1k.json",
    "lines": "imagenet_to_label_2012_v2",
    "numbers": "pytorch_to_imagenet_2012_id.json",
}


def open_split(argument: str, request: Request) -> ImageSet:
    """Open ObjectNet."""
    spec = request.spec
    root = existing_folder(argument, spec)
    if not (root / "images").is_dir():
        raise DataError(f"{spec}: {root} has no folder images; images and mappings are expected, as in objectnet-1.0.")
    found = (
        test_listing(root / "images", request)
        if request.split != "test" and not request.whole
        else listing(root / "images", spec, prefix="images/", levels=1)
    )
    assert found.labels is not None  # folders of classes are listed
    members = imagenet_members(root / "mappings", spec)
    known = [index for index, name in enumerate(found.classes) if name in members]
    if not known:
        raise DataError(f"{spec}: no folder of {root / 'images'} is a class that the mapping files know.")
    place = {old: new for new, old in enumerate(known)}
    images = [index for index, label in enumerate(found.labels) if int(label) in place]
    labels = np.array([place[int(found.labels[index])] for index in images], dtype=np.int64)
    overlap = kept(found, images, labels, [found.classes[index] for index in known])
    result = file_set(root, {"test": overlap}, request, "objectnet", border=BORDER, rule="test set as given")
    result.class_members = tuple(members[name] for name in result.classes)
    result.implied = (*result.implied, "class_members")
    result.licence = "CC BY 4.0; not for training"
    result.description += (
        f"; {len(found.classes) - len(known)} of {len(found.classes)} classes, "
        f"with {len(found.paths) - len(images)} images, have no ImageNet class and are left out"
    )
    return result


def imagenet_members(mappings: Path, spec: str) -> dict[str, tuple[int, ...]]:
    """Folder name -> numbers of the ImageNet-1k classes that it stands for, from ObjectNet's own files."""
    missing = [name for name in FILES.values() if not (mappings / name).is_file()]
    if missing:
        raise DataError(f"{spec}: {mappings} lacks {', '.join(missing)}, which come with ObjectNet.")
    folders = json.loads((mappings / FILES["folders"]).read_text())
    stands_for = json.loads((mappings / FILES["members"]).read_text())
    lines = [line.strip() for line in (mappings / FILES["lines"]).read_text().splitlines()]
    numbers = {int(line): int(number) for number, line in json.loads((mappings / FILES["numbers"]).read_text()).items()}
    by_name = {name: numbers[line] for line, name in enumerate(lines) if line in numbers}
    out = {}
    for folder, label in folders.items():
        names = [name.strip() for name in stands_for.get(label, "").split(";") if name.strip()]
        unknown = [name for name in names if name not in by_name]
        if unknown:
            raise DataError(f"{spec}: {mappings} maps {label!r} to {unknown[0]!r}, which is no ImageNet class in them.")
        if names:
            out[folder] = tuple(sorted(by_name[name] for name in names))
    return out
