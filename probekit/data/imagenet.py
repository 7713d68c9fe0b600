"""ImageNet-1k and the variants that share its classes, by folder.

| spec                  | layout                      | classes                | splits                          |
|-----------------------|-----------------------------|------------------------|---------------------------------|
| `imagenet:DIR`        | train/ and val/ with WordNet ids | all, or a subset  | val is reported (see `splits`)  |
| `imagenet-v2:DIR`     | folders 0 to 999            | all 1000               | test only                       |
| `imagenet-r:DIR`      | WordNet ids                 | its own 200            | test only                       |
| `imagenet-a:DIR`      | WordNet ids                 | its own 200            | test only                       |
| `imagenet-sketch:DIR` | WordNet ids                 | all 1000               | test only                       |

`class_indices` says where each class stands among the 1000, so that a head fitted on ImageNet-1k is scored on a variant
by the largest of the variant's own classes. The numbered folders of ImageNet-v2 are sorted as numbers: as texts, 10
would come before 2 and nearly every label would be wrong. Lists of WordNet ids are timm's.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from probekit.data.base import ImageSet
from probekit.data.folder import Listing, existing_folder, file_set, listing, split_folders, split_listing
from probekit.errors import DataError

SUBSETS = {"imagenet-r": "imagenet_r_synsets.txt", "imagenet-a": "imagenet_a_synsets.txt"}


@lru_cache(maxsize=4)
def synsets(file: str = "imagenet_synsets.txt") -> tuple[str, ...]:
    """WordNet ids of a class list that timm carries; the default is ImageNet-1k's, in the order of its numbers."""
    return tuple(files("timm.data").joinpath("_info", file).read_text().split())


@lru_cache(maxsize=1)
def lemmas() -> dict[str, str]:
    """WordNet id -> its words, e.g. "tench, Tinca tinca"."""
    lines = files("timm.data").joinpath("_info", "imagenet_synset_to_lemma.txt").read_text().splitlines()
    return dict(line.split("\t")[:2] for line in lines)


def open_split(
    argument: str,
    split: str,
    *,
    spec: str,
    count: int | None = None,
    seed: int = 0,
    on_unreadable: str = "stop",
    partial: bool = False,
) -> ImageSet:
    """Open ImageNet-1k or a variant.

    Args:
        count, seed, on_unreadable: as for `imagefolder`.
        partial: accept a variant of which classes are missing.
    """
    variant = spec.partition(":")[0]
    root = existing_folder(argument, spec)
    if variant == "imagenet":
        found, rule = split_listing(root, split, spec, unlabelled=("test",))
    else:
        found, rule = test_listing(root, split, spec), "test set as given"
    numbered = variant == "imagenet-v2"
    found, indices = _by_number(found, spec) if numbered else _by_synset(found, variant, spec)
    expected = len(synsets(SUBSETS[variant])) if variant in SUBSETS else len(synsets())
    if variant != "imagenet" and len(found.classes) != expected and not partial:
        raise DataError(
            f"{spec}: {root} has {len(found.classes)} classes; {variant} has {expected}. Is it complete? "
            f"Add ?partial=true to work with what is there."
        )
    result = file_set(root, found, split, rule, spec, count, seed, on_unreadable, variant)
    result.class_indices, result.implied = indices, ("class_indices",)
    if variant == "imagenet" and rule != "test as given" and (root / "test").is_dir():
        result.description += "; the images in test have no labels and are left out"
    result.licence = "for research, as the data set's terms say"
    return result


def test_listing(root: Path, split: str, spec: str) -> Listing:
    """The images of a set that is a test split as a whole (a single folder named test or val may be in between)."""
    if split != "test":
        raise DataError(
            f"{spec} is a test set and has no {split} split. Fit and select on another set, such as imagenet:DIR."
        )
    below = split_folders(root, spec)
    if len(below) == 1:
        (folder,) = below.values()
        return listing(folder, spec, prefix=f"{folder.name}/")
    return listing(root, spec)


def named(synset: str) -> str:
    """A class name for people that starts with the WordNet id."""
    return f"{synset} {lemmas().get(synset, '').split(',')[0]}".strip()


def _by_synset(found: Listing, variant: str, spec: str) -> tuple[Listing, np.ndarray]:
    known = synsets(SUBSETS[variant]) if variant in SUBSETS else synsets()
    for name in found.classes:
        if name not in known:
            raise DataError(f"{spec}: the folder {name!r} is no class of {variant}. {_hint(name, variant)}")
    place = {synset: index for index, synset in enumerate(synsets())}
    indices = np.array([place[name] for name in found.classes], dtype=np.int64)
    return found._replace(classes=[named(name) for name in found.classes]), indices


def _hint(name: str, variant: str) -> str:
    if name in synsets():
        return (
            f"It is one of ImageNet-1k, but not of the {len(synsets(SUBSETS[variant]))} of {variant}: another variant?"
        )
    return (
        "Folders named by WordNet id, such as n01440764, are expected directly in the folder given, or in its splits."
    )


def _by_number(found: Listing, spec: str) -> tuple[Listing, np.ndarray]:
    """Folders that are named by class number, put in the order of the numbers."""
    wrong = [name for name in found.classes if not name.isdecimal() or int(name) >= len(synsets())]
    if wrong:
        raise DataError(f"{spec}: the folder {wrong[0]!r} is no class number from 0 to {len(synsets()) - 1}.")
    numbers = np.array([int(name) for name in found.classes], dtype=np.int64)
    order = np.argsort(numbers)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    classes = [named(synsets()[number]) for number in numbers[order]]
    labels = rank[found.labels]
    sorted_by_label = np.argsort(labels, kind="stable")
    paths = [found.paths[index] for index in sorted_by_label]
    return found._replace(classes=classes, paths=paths, labels=labels[sorted_by_label]), numbers[order]
