"""What every results dataset must hold, checked: what one from elsewhere may have wrong, one sentence each.

Sentences name the variable, what was found, what was expected, and the way out. Nothing here raises, and only facts of
checkpoints are looked at, not the measured numbers.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from probekit.checks import as_whole
from probekit.errors import shortened

CHECKPOINT_COORDS = ("mask_ratio", "patch_size", "vit_patch_size", "seed", "images_seen")
"""Coordinates along `checkpoint` that every dataset carries: numbers, NaN where unknown. `patch_size` is the mask unit
in pixels, `vit_patch_size` the ViT's patch in pixels, `images_seen` counts training images with repetition."""

NUMBERED = (
    "layer", "head", "k", "level", "frequency", "layer_other", "layer_kept", "eval_mask_ratio", "eval_patch_size",
)  # fmt: skip
"""Dimensions whose labels are numbers."""

SHARED = (
    "example_image", "example_hidden", "example_truth", "example_other", "example_segmentation_true",
    "example_depth_true", "label", "group",
)  # fmt: skip
"""Variables that are facts of the image set, not of the checkpoint."""

_PIXELS = ("data", "example", "row", "column")
BESIDE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "label": (("data", "image"), ()),
    "group": (("data", "image"), ()),
    "example_image": ((*_PIXELS, "channel"), ()),
    "example_hidden": (_PIXELS, ()),
    "example_truth": ((*_PIXELS, "channel"), ()),
    "example_detection": (("checkpoint", *_PIXELS, "channel"), ()),
    "example_reconstruction": (("checkpoint", *_PIXELS, "channel"), ()),
    "example_reconstruction_full": (("checkpoint", *_PIXELS, "channel"), ()),
    "example_attention_cls": (("checkpoint", *_PIXELS), ()),
    "example_attention_object": (("checkpoint", *_PIXELS), ()),
    "example_attention_rollout": (("checkpoint", *_PIXELS), ()),
    "example_segmentation": (("checkpoint", *_PIXELS), ()),
    "example_segmentation_true": (_PIXELS, ()),
    "example_depth": (("checkpoint", *_PIXELS), ()),
    "example_depth_true": (_PIXELS, ()),
    "example_other": ((*_PIXELS, "channel"), ()),
    "example_matches": (("checkpoint", "data", "example", "match", "end"), ()),
    "embedding_xy": (("checkpoint", "data", "image", "axis"), ("layer_kept",)),
}
"""Variables beside the results: the dims that they have, and those that they may have."""

BETTER = ("higher", "lower", "none")
ATTRIBUTES = ("long_name", "units", "better", "protocol", "reference", "version")
"""Attributes that every result variable carries."""

LONGEST = 100_000
"""Most characters of an attribute that describes a variable."""

LONGEST_LABEL = 1000
"""Most characters of a label along a dimension."""


def json_object(text: Any) -> dict[str, Any] | None:
    """What a JSON text says if it is an object, else None (no text, no JSON, another kind, nested too deep)."""
    if not isinstance(text, str):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def by_label(value: Any) -> dict[str, Any] | None:
    """An attribute that was stored for each image set or checkpoint, by its name; None if it holds for all.

    >>> by_label('{"by_data": {"shapes": 3}}'), by_label("a protocol")
    ({'shapes': 3}, None)
    """
    if not isinstance(value, str) or not value.startswith('{"by_'):
        return None
    found = next(iter((json_object(value) or {}).values()), None)
    return found if isinstance(found, dict) else None


def text_problems(owner: str, name: str, value: Any, longest: int = LONGEST) -> list[str]:
    """Whether an attribute is a text of sensible length; one stored for each image set or checkpoint must be JSON."""
    if not isinstance(value, str):
        return [f"{owner}: the attribute {name} is {shortened(value)} ({type(value).__name__}), expected a text"]
    if len(value) > longest:
        return [f"{owner}: the attribute {name} has {len(value):,} characters, at most {longest:,} are read"]
    if value.startswith('{"by_') and by_label(value) is None:
        return [f"{owner}: the attribute {name} is {shortened(value)}, expected JSON: by_data -> name -> value"]
    return []


def version_problems(owner: str, value: Any) -> list[str]:
    """Whether a version is a whole number, or JSON with one for each image set or checkpoint."""
    if by_label(value) is not None or "mixed" in (json_object(value) or {}):
        return []
    known = as_whole(value.item() if isinstance(value, np.generic) else value, floats=True)
    if known is None or known < 0:
        return [f"{owner}: the version is {shortened(value)}, expected a whole number"]
    return []


def marks_problems(owner: str, value: Any) -> list[str]:
    """Whether `mixed_protocols` is JSON: attribute -> its values."""
    marks = json_object(value)
    if marks is None or not all(isinstance(each, list) for each in marks.values()):
        return [f"{owner}: mixed_protocols is {shortened(value)}, expected JSON: attribute -> list of its values"]
    return []


def numeric_problems(owner: str, array: xr.Variable) -> list[str]:
    """Whether an array holds numbers."""
    if array.dtype.kind in "fiub":
        return []
    return [f"{owner}: its values are {array.dtype} (kind {array.dtype.kind!r}), expected numbers"]


def dims_problems(owner: str, array: xr.Variable, expected: Sequence[Hashable]) -> list[str]:
    """Whether an array has exactly these dims, in any order."""
    if set(array.dims) == set(expected):
        return []
    return [f"{owner}: dims ({', '.join(map(str, array.dims))}), expected ({', '.join(map(str, expected))})"]


def label_problems(ds: xr.Dataset, dim: Hashable, kind: str) -> list[str]:
    """Whether the labels of a dim are distinct, known, and of the kind "text" or "number" ("any" for either)."""
    if dim not in ds.coords:
        return [f"no labels along {dim!r}; give them: ds.assign_coords({dim}=[...])"] if kind == "text" else []
    if len(ds.coords[dim].dims) != 1 or not hasattr(ds.indexes.get(dim), "names") or len(ds.indexes[dim].names) > 1:
        return [f"{dim!r} has several index levels; undo it with ds.reset_index({dim!r}) or unstack"]
    labels = ds.coords[dim].values
    values = labels.tolist()
    if kind == "text" and not all(isinstance(value, str) and value for value in values):
        odd = next(value for value in values if not (isinstance(value, str) and value))
        return [f"the labels along {dim!r} are names, but one is {shortened(odd)}; rename it with assign_coords"]
    if kind == "number" and labels.dtype.kind not in "iufb":
        return [f"the labels along {dim!r} are {labels.dtype}, expected numbers"]
    if any(isinstance(value, str) and len(value) > LONGEST_LABEL for value in values):
        return [f"a label along {dim!r} has more than {LONGEST_LABEL:,} characters"]
    if any(value is None or value != value for value in values):
        return [f"a label along {dim!r} is missing (NaN); drop or name it"]
    try:
        twice = [value for i, value in enumerate(values) if value in set(values[:i])]
    except TypeError:
        return [f"the labels along {dim!r} are {labels.dtype} of no use as labels, expected texts or numbers"]
    if twice:
        what = {"checkpoint": "Two checkpoints have", "data": "Two image sets have"}.get(str(dim), f"Two {dim}s have")
        return [f"{what} one name, {shortened(twice[0])}: rename one with assign_coords, or keep one (drop_duplicates)"]
    return []


def range_problems(name: str, array: xr.Variable, low: float, high: float) -> list[str]:
    """Whether known numbers of a coordinate lie within [low, high]."""
    values = np.asarray(array.values, dtype=np.float64)
    odd = values[~np.isnan(values) & ~((values >= low) & (values <= high))]
    return [f"{name} is {odd[0]:g} for a checkpoint, expected {low:g} to {high:g}"] if odd.size else []


def plain(label: Any) -> str:
    """A coordinate label as text, without NumPy's decorations."""
    if isinstance(label, bytes):
        return label.decode(errors="replace")
    return f"{float(label):g}" if isinstance(label, float | np.floating) else str(label)


def result_names(ds: xr.Dataset) -> list[str]:
    """Names of the variables that are results: neither intervals, nor per-image values, nor pictures."""
    coords = set(ds.coords)
    return [
        str(name)
        for name, array in ds.variables.items()  # `ds[name]` would look for the coordinates of each, which takes long
        if name not in coords and all(key in array.attrs for key in ATTRIBUTES)
    ]


def problems(ds: xr.Dataset) -> list[str]:
    """Everything in which a dataset departs from the schema, one sentence each; empty if nothing."""
    found = [f"no dimension {dim!r}" + _selected(ds, dim) for dim in ("checkpoint", "data") if dim not in ds.dims]
    found += [
        f"no attribute {name!r}" for name in ("schema_version", "not_applicable", "provenance") if name not in ds.attrs
    ]
    for dim in ds.dims:
        kind = "text" if dim in ("checkpoint", "data") else "number" if dim in NUMBERED else "any"
        found += label_problems(ds, dim, kind)
    for name in CHECKPOINT_COORDS:
        found += _coordinate_problems(ds, name)
    names = result_names(ds)
    if not names:
        found.append("no result variable (one with the attributes " + ", ".join(ATTRIBUTES) + ")")
    for name in names:
        found += _variable_problems(ds, name)
    coords = set(ds.coords)
    for key in ds.variables:
        if key not in coords:
            found += _other_problems(ds, key, names)
    return found


def _selected(ds: xr.Dataset, dim: str) -> str:
    """The cure where one label of a dim was picked, which drops the dim."""
    return f"; one was picked: use isel({dim}=[0]) or sel({dim}=[name]), which keep it" if dim in ds.coords else ""


RANGES = {"mask_ratio": (0.0, 1.0), "patch_size": (1.0, 1e6), "vit_patch_size": (1.0, 1e6)}
"""What a fact of a checkpoint can be, where it is known."""


def _coordinate_problems(ds: xr.Dataset, name: str) -> list[str]:
    if name not in ds.coords:
        return [f"no coordinate {name!r}"]
    if ds.variables[name].dims != ("checkpoint",):
        return [f"the coordinate {name} has dims {ds.variables[name].dims}, expected ('checkpoint',)"]
    found = numeric_problems(f"the coordinate {name}", ds.variables[name])
    return found or range_problems(name, ds.variables[name], *RANGES.get(name, (-np.inf, np.inf)))


def _variable_problems(ds: xr.Dataset, name: str) -> list[str]:
    """What is wrong with a result, its interval and its values by image."""
    array, twin, images = ds.variables[name], f"{name}_ci", f"{name}_image"
    found = [f"{name}: no dimension {dim!r}" for dim in ("checkpoint", "data") if dim not in array.dims]
    found += numeric_problems(name, array)
    empty = [str(dim) for dim, size in array.sizes.items() if not size and dim not in ("checkpoint", "data")]
    found += [f"{name}: nothing is left along {dim!r}; drop the variable: drop_vars({name!r})" for dim in empty]
    for key in ("long_name", "units", "protocol", "reference"):
        found += text_problems(name, key, array.attrs[key])
    found += version_problems(name, array.attrs["version"])
    if not isinstance(array.attrs["better"], str) or array.attrs["better"] not in BETTER:
        found.append(f"{name}: better is {shortened(array.attrs['better'])}, expected one of {', '.join(BETTER)}")
    if "mixed_protocols" in array.attrs:
        found += marks_problems(name, array.attrs["mixed_protocols"])
    if twin in ds.variables:
        found += numeric_problems(twin, ds.variables[twin])
        found += dims_problems(twin, ds.variables[twin], (*array.dims, "bound"))
        if ds.sizes.get("bound", 2) != 2:
            found.append(f"{twin}: {ds.sizes['bound']} bounds, expected 2 (lower and upper)")
        found += text_problems(twin, "resamples", ds.variables[twin].attrs.get("resamples", ""))
    elif "no_interval" not in array.attrs:
        found.append(f"{name}: neither {twin} nor the attribute no_interval; keep both: ds[[{name!r}, {twin!r}]]")
    if "no_interval" in array.attrs:
        found += text_problems(name, "no_interval", array.attrs["no_interval"])
    if images in ds.variables:
        found += numeric_problems(images, ds.variables[images])
        found += dims_problems(images, ds.variables[images], (*array.dims, "image"))
    return found


def _other_problems(ds: xr.Dataset, key: Hashable, results: Sequence[str]) -> list[str]:
    """What is wrong with a variable that is no result: pictures, labels, and results that lost their attributes."""
    name, array = str(key), ds.variables[key]
    if name in results:
        return []
    if f"{name}_ci" in ds.variables or f"{name}_image" in ds.variables:
        lost = ", ".join(key for key in ATTRIBUTES if key not in array.attrs)
        return [
            f"{name} has lost its attributes ({lost}); xarray's arithmetic drops them: restore them with "
            f"ds[{name!r}].attrs = original[{name!r}].attrs, or compute under xarray.set_options(keep_attrs=True)"
        ]
    if name not in BESIDE:
        return []
    needed, optional = BESIDE[name]
    missing = [dim for dim in needed if dim not in array.dims]
    odd = [str(dim) for dim in array.dims if dim not in (*needed, *optional)]
    found = numeric_problems(name, array)
    if array.sizes.get("axis", 2) != 2:
        found.append(f"{name}: {array.sizes['axis']} axes of the plane, expected 2")
    if missing or odd:
        cure = "`where` and arithmetic with another variable repeat it: apply them to single variables"
        found.append(
            f"{name}: dims {array.dims}, expected {needed}{f' and perhaps {optional}' * bool(optional)}; {cure}"
        )
    return found
