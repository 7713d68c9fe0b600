"""`torchvision:NAME:DIR`: a data set class of torchvision, already downloaded to DIR.

torchvision's classes name their splits in three ways (`train=`, `split=`, or not at all); whichever it is, the splits
that exist are found by asking, and the rest is made as `probekit.data.splits` says. Nothing is downloaded unless
`?download=true` is added.
"""

from __future__ import annotations

import inspect
from typing import Any

from probekit.data.base import ImageSet
from probekit.data.memory import open_given
from probekit.data.request import Request
from probekit.errors import DataError, did_you_mean

SPLIT_NAMES = {"train": ("train", "trainval", "train-standard"), "val": ("val", "valid"), "test": ("test",)}
"""What the classes call their splits; of several names the first that exists is taken."""


def open_split(argument: str, request: Request, *, download: bool = False) -> ImageSet:
    """Open a torchvision data set.

    Args:
        argument: `NAME:DIR`, e.g. "CIFAR10:/data/cifar".
        request: which images.
        download: let torchvision fetch it into DIR.
    """
    from torchvision import datasets

    spec = request.spec
    name, _, root = argument.partition(":")
    if not root:
        raise DataError(f"{spec}: write torchvision:NAME:DIR, e.g. torchvision:CIFAR10:/data/cifar.")
    known = [each for each in datasets.__all__ if each != "VisionDataset"]  # the base class of the others
    if name not in known:
        raise DataError(f"{spec}: torchvision has no data set {name!r}. {did_you_mean(name, known)}")
    given = _splits(getattr(datasets, name), root, download, spec)
    return open_given(given, request, name=name.lower())


def _splits(dataset: Any, root: str, download: bool, spec: str) -> dict[str, Any]:
    parameters = inspect.signature(dataset).parameters
    if "root" not in parameters:
        raise DataError(f"{spec}: {dataset.__name__} is no data set that lies in a folder.")
    options = {"download": True} if download and "download" in parameters else {}
    if "train" in parameters:
        return {key: _make(dataset, root, spec, train=key == "train", **options) for key in ("train", "test")}
    if "split" not in parameters:
        return {"all": _make(dataset, root, spec, **options)}
    given = {}
    for key, names in SPLIT_NAMES.items():
        for name in names:
            try:
                given[key] = _make(dataset, root, spec, split=name, **options)
            except _NoSuchSplit:
                continue
            break
    if not given:
        known = ", ".join(name for names in SPLIT_NAMES.values() for name in names)
        raise DataError(f"{spec}: {dataset.__name__} has other splits than the usual ones ({known}).")
    return given


class _NoSuchSplit(Exception):
    """The data set has no split of that name."""


def _make(dataset: Any, root: str, spec: str, **options: Any) -> Any:
    try:
        return dataset(root, **options)
    except ValueError as error:
        if "split" in options and "split" in str(error):
            raise _NoSuchSplit from error
        raise DataError(f"{spec}: torchvision cannot open it: {error}") from error
    except ImportError as error:
        raise DataError(f"{spec}: {dataset.__name__} needs a package that is not installed: {error}") from error
    except (RuntimeError, OSError) as error:
        fetch = ", or add ?download=true to the spec" if "download" in inspect.signature(dataset).parameters else ""
        raise DataError(
            f"{spec}: torchvision cannot open {dataset.__name__} in {root}: {str(error).rstrip('. ')}. "
            f"Check the folder{fetch}."
        ) from error
    except TypeError as error:
        raise DataError(f"{spec}: {dataset.__name__} is no data set of labelled images: {error}") from error
