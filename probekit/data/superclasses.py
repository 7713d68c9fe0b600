"""Groups of classes, for the top rung of the level ladder: what is known by name, and what the user says.

| classes          | superclasses                                                                          |
|------------------|---------------------------------------------------------------------------------------|
| ImageNet-1k      | 34 groups of WordNet (`imagenet_superclasses.txt` holds them and the rule)             |
| CIFAR-100        | its own 20 coarse labels                                                              |
| CIFAR-10         | living, made                                                                          |
| two-level folder | the outer folder (`probekit.data.listing`)                                            |
| anything         | `load(..., superclasses={class: superclass})`                                         |

The two CIFAR sets are recognised by the names of their classes, wherever the images come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files

from probekit.data.base import ImageSet
from probekit.errors import DataError, did_you_mean

CIFAR10 = {
    "living": ("bird", "cat", "deer", "dog", "frog", "horse"),
    "made": ("airplane", "automobile", "ship", "truck"),
}

CIFAR100 = {
    "aquatic mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit and vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household electrical devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large man-made outdoor things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large natural outdoor scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large omnivores and herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium-sized mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles 1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles 2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
"""Krizhevsky (2009), table of coarse and fine labels."""


@lru_cache(maxsize=1)
def imagenet_superclasses() -> tuple[str, ...]:
    """The superclass of each of the 1,000 classes of ImageNet-1k, in the order of their numbers."""
    text = files("probekit.data").joinpath("imagenet_superclasses.txt").read_text()
    names: dict[int, str] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        _, name, ranges = line.split("\t")
        for part in ranges.split(","):
            first, _, last = part.partition("-")
            names |= dict.fromkeys(range(int(first), int(last or first) + 1), name)
    return tuple(names[number] for number in range(1000))


def recognised(classes: Sequence[str]) -> tuple[str, ...] | None:
    """The superclass of each class of CIFAR-10 or CIFAR-100, by the classes' names; None for other classes."""
    for table in (CIFAR10, CIFAR100):
        found = {name: superclass for superclass, members in table.items() for name in members}
        if set(classes) == set(found):
            return tuple(found[name] for name in classes)
    return None


def stated(mapping: Mapping[str, str], classes: Sequence[str], spec: str) -> tuple[str, ...]:
    """The superclass of each class as the user states it.

    Args:
        mapping: class -> superclass, or superclass -> list of classes.
        classes: names of the classes.
        spec: of the image set, for messages.

    Raises:
        DataError: a class is missing, or a name is no class.
    """
    flat: dict[str, str] = {}
    for key, value in mapping.items():
        pairs = {str(key): value} if isinstance(value, str) else {str(name): str(key) for name in value}
        flat |= pairs
    unknown = [name for name in flat if name not in classes]
    if unknown:
        raise DataError(f"{spec}: superclasses name {unknown[0]!r}. {did_you_mean(unknown[0], classes)}")
    missing = [name for name in classes if name not in flat]
    if missing:
        raise DataError(
            f"{spec}: superclasses say nothing of {len(missing)} of {len(classes)} classes: "
            f"{', '.join(missing[:5])}. Every class needs one."
        )
    return tuple(flat[name] for name in classes)


def attach(images: ImageSet, names: Sequence[str] | None, *, implied: bool) -> None:
    """Sets `superclasses` of a set.

    Args:
        images: with class labels.
        names: the superclass of each class; None or a single superclass for all: nothing is set.
        implied: whether classes and facts determine the superclasses (else they enter the fingerprint).
    """
    if names is None or images.labels is None or len(set(names)) < 2:
        return
    images.superclasses = tuple(names)
    if implied:
        images.implied = (*images.implied, "superclasses")
