"""`cue-conflict:DIR`: the stimuli of Geirhos et al. (2019), a folder per shape class; a test set.

A file such as `cat/cat7-elephant2.png` shows the shape of a cat with the texture of an elephant. The label is the
shape, `texture_labels` the texture. Images whose two classes are the same hold no conflict and are left out, as in the
paper. `class_members` lists the ImageNet-1k numbers of each of the 16 classes, whose probability is the mean over them.

Reference: Geirhos et al., "ImageNet-trained CNNs are biased towards texture", ICLR 2019 (arXiv 1811.12231).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from probekit.data.base import ImageSet
from probekit.data.folder import existing_folder, file_set, kept
from probekit.data.imagenet import test_listing
from probekit.data.request import Request
from probekit.errors import DataError, did_you_mean


def _numbers(*spans: int | tuple[int, int], but: Iterable[int] = ()) -> tuple[int, ...]:
    found = [n for span in spans for n in (range(span[0], span[1] + 1) if isinstance(span, tuple) else [span])]
    return tuple(n for n in found if n not in set(but))


MEMBERS = {
    "airplane": _numbers(404),
    "bear": _numbers((294, 297)),
    "bicycle": _numbers(444, 671),
    "bird": _numbers(8, (10, 16), (18, 20), (22, 24), (80, 83), (87, 100), (127, 145), but=(97, 134)),
    "boat": _numbers(472, 554, 625, 814, 914),
    "bottle": _numbers(440, 720, 737, 898, 899, 901, 907),
    "car": _numbers(436, 511, 817),
    "cat": _numbers((281, 286)),
    "chair": _numbers(423, 559, 765, 857),
    "clock": _numbers(409, 530, 892),
    "dog": _numbers((152, 268), but=(192, 204, 227, 242, 251, 258, 260, 264)),
    "elephant": _numbers(385, 386),
    "keyboard": _numbers(508, 878),
    "knife": _numbers(499),
    "oven": _numbers(766),
    "truck": _numbers(555, 569, 656, 675, 717, 734, 864, 867),
}
"""The 16 classes, and the numbers of the ImageNet-1k classes that each of them joins (the authors' mapping)."""

CLASSES = tuple(MEMBERS)
PATTERN = re.compile(r"([a-z]+)\d+-([a-z]+)\d+")


def open_split(argument: str, request: Request) -> ImageSet:
    """Open the stimuli."""
    spec = request.spec
    if request.classes is not None:
        raise DataError(f"{spec}: the 16 classes belong together; leave out classes={list(request.classes)}.")
    root = existing_folder(argument, spec)
    found = test_listing(root, request)
    assert found.labels is not None  # folders of classes are listed
    unknown = [name for name in found.classes if name not in CLASSES]
    if unknown:
        raise DataError(
            f"{spec}: the folder {unknown[0]!r} is none of the 16 classes. {did_you_mean(unknown[0], CLASSES)}"
        )
    if len(found.classes) != len(CLASSES):
        lacking = ", ".join(name for name in CLASSES if name not in found.classes)
        raise DataError(f"{spec}: {root} lacks folders for {lacking}; all 16 classes are expected.")
    textures = np.array([_texture(path, spec) for path in found.paths])
    shapes = np.array([CLASSES.index(found.classes[label]) for label in found.labels])
    conflict = np.flatnonzero(textures != shapes)
    conflicts = kept(found, conflict, shapes[conflict], list(CLASSES))
    result = file_set(root, {"test": conflicts}, request, "cue-conflict", rule="test set as given")
    result.shape_labels = result.labels
    result.texture_labels = np.array([_texture(path, spec) for path in result.paths], dtype=np.int64)
    result.class_members = tuple(MEMBERS.values())
    result.implied = (*result.implied, "shape_labels", "texture_labels", "class_members")
    result.licence = "CC BY 4.0 (stimuli of Geirhos et al.)"
    result.description += f"; {len(found.paths) - len(conflict)} images without a conflict are left out"
    return result


def _texture(path: str, spec: str) -> int:
    """The texture's class, from a path such as `cat/cat7-elephant2.png`; its shape must be the folder's."""
    folder, name = path.split("/")[-2:]
    match = PATTERN.match(name)
    if not match or match[1] != folder or match[2] not in CLASSES:
        raise DataError(f"{spec}: {path} does not tell its shape and texture; {folder}/{folder}7-elephant2.png would.")
    return CLASSES.index(match[2])
