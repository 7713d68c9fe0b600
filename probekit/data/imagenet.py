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
from probekit.data.folder import existing_folder, file_set, split_listings
from probekit.data.listing import Listing, listing, split_folders
from probekit.data.request import Request
from probekit.data.superclasses import imagenet_superclasses
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


def open_split(argument: str, request: Request, *, partial: bool = False) -> ImageSet:
    """Open ImageNet-1k or a variant.

    Args:
        argument: the folder.
        request: which images.
        partial: accept a variant of which classes are missing.
    """
    spec = request.spec
    variant = spec.partition(":")[0]
    root = existing_folder(argument, spec)
    if variant == "imagenet":
        listings, rule = split_listings(root, spec, unlabelled=("test",), levels=1), ""
    else:
        listings, rule = {"test": test_listing(root, request)}, "test set as given"
    place = {name: index for index, name in enumerate(synsets())}
    for key, found in listings.items():
        listings[key] = _by_number(found, spec) if variant == "imagenet-v2" else _by_synset(found, variant, spec)
    found = next(iter(listings.values()))
    expected = len(synsets(SUBSETS[variant])) if variant in SUBSETS else len(synsets())
    if variant != "imagenet" and len(found.classes) != expected and not partial:
        raise DataError(
            f"{spec}: {root} has {len(found.classes)} classes; {variant} has {expected}. Is it complete? "
            f"Add ?partial=true to work with what is there."
        )
    above = [imagenet_superclasses()[place[name.split()[0]]] for name in found.classes]
    listings = {key: each._replace(superclasses=tuple(above)) for key, each in listings.items()}
    result = file_set(root, listings, request, variant, rule=rule)
    result.class_indices = np.array([place[name.split()[0]] for name in result.classes], dtype=np.int64)
    result.implied = (*result.implied, "class_indices")
    if variant == "imagenet" and "test" not in listings and (root / "test").is_dir():
        result.description += "; the images in test have no labels and are left out"
    result.licence = "for research, as the data set's terms say"
    return result


def test_listing(root: Path, request: Request) -> Listing:
    """The images of a set that is a test split as a whole (a single folder named test or val may be in between)."""
    spec = request.spec
    if request.split != "test" and not request.whole:
        raise DataError(
            f"{spec} is a test set and has no {request.split} split. Fit and select on another set, such as "
            "imagenet:DIR."
        )
    below = split_folders(root, spec)
    if len(below) == 1:
        (folder,) = below.values()
        return listing(folder, spec, prefix=f"{folder.name}/", levels=1)
    return listing(root, spec, levels=1)


def named(synset: str) -> str:
    """A class name for people that starts with the WordNet id."""
    return f"{synset} {lemmas().get(synset, '').split(',')[0]}".strip()


def _by_synset(found: Listing, variant: str, spec: str) -> Listing:
    known = synsets(SUBSETS[variant]) if variant in SUBSETS else synsets()
    for name in found.classes:
        if name not in known:
            raise DataError(f"{spec}: the folder {name!r} is no class of {variant}. {_hint(name, variant)}")
    return found._replace(classes=[named(name) for name in found.classes])


def _hint(name: str, variant: str) -> str:
    if name in synsets():
        return (
            f"It is one of ImageNet-1k, but not of the {len(synsets(SUBSETS[variant]))} of {variant}: another variant?"
        )
    return (
        "Folders named by WordNet id, such as n01440764, are expected directly in the folder given, or in its splits."
    )


def _by_number(found: Listing, spec: str) -> Listing:
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
    return found._replace(classes=classes, paths=paths, labels=labels[sorted_by_label])
