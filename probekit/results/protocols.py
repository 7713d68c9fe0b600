"""Whether numbers may stand side by side, decided from their attributes alone.

Two numbers are comparable if they were measured by the same protocol and version, with the same options, on the same
images. So the rule holds for files from another lab too.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from probekit import schema
from probekit.errors import ResultsError
from probekit.schema import by_label

PROTOCOL = (
    "protocol", "version", "options", "mask_grid", "counts", "precision", "features_dtype", "images", "preparation",
    "seed", "baseline", "correction", "contrast_version", "finetuned",
)  # fmt: skip
"""Attributes in which two numbers of one variable must agree to stand side by side."""


def attributes_of_one(name: Hashable, having: Sequence[xr.Dataset], mixed: bool) -> dict[str, Any]:
    """Attributes of a variable of one checkpoint on one image set, from several datasets."""
    attrs = dict(having[0].variables[name].attrs)
    if all(key in attrs for key in schema.ATTRIBUTES):
        different = protocol_marks(name, having, "checkpoint", mixed)
        attrs |= {key: json.dumps({"mixed": each}) for key, each in different.items()}  # equal to no single protocol
        if different:
            attrs["mixed_protocols"] = json.dumps(different)
    return attrs


def merged_attributes(name: Hashable, having: Sequence[xr.Dataset], dim: str, mixed: bool) -> dict[str, Any]:
    """Attributes of a variable over parts; a difference in protocol is refused or marked."""
    attrs = dict(having[0].variables[name].attrs)
    if all(key in attrs for key in schema.ATTRIBUTES):
        different = protocol_marks(name, having, dim, mixed)
        if different:
            attrs["mixed_protocols"] = json.dumps(different)
    for key in list(attrs):
        if key != "mixed_protocols" and len({_text(part.variables[name].attrs.get(key)) for part in having}) > 1:
            each = {
                str(label): _plain(part.variables[name].attrs.get(key)) for part in having for label in part[dim].values
            }
            attrs[key] = json.dumps({f"by_{dim}": each}, default=str)
    return attrs


def marks(variable: xr.DataArray | xr.Variable) -> dict[str, list[str]]:
    """Protocol attribute -> its values, where the checkpoints of a variable are marked to differ in it."""
    found: dict[str, list[str]] = json.loads(variable.attrs.get("mixed_protocols", "{}"))
    return found


def protocol_marks(name: Hashable, having: Sequence[xr.Dataset], dim: str, mixed: bool) -> dict[str, list[str]]:
    """Protocol attribute -> its values, where checkpoints differ in it now or did in a part.

    Raises:
        ResultsError: they differ, and not `mixed`.
    """
    found: dict[str, list[str]] = {}
    for part in having:
        for key, each in marks(part.variables[name]).items():
            found[key] = list(dict.fromkeys([*found.get(key, []), *each]))
    if dim != "checkpoint":  # image sets may differ
        return found
    values = {key: [_text(part.variables[name].attrs.get(key)) for part in having] for key in PROTOCOL}
    different = [key for key in PROTOCOL if len(set(values[key])) > 1]
    if different and not mixed:
        whom = [
            f"{'/'.join(map(str, part[dim].values))}: {_plain(part.variables[name].attrs.get(different[0]))!r}"
            for part in having
        ]
        raise ResultsError(
            f"{name} was measured differently ({', '.join(different)}): {'; '.join(dict.fromkeys(whom))}. Numbers of "
            "different protocols are not lined up; evaluate them again with the same settings, or pass mixed=True to "
            "have them side by side and marked."
        )
    return found | {key: values[key] for key in different}


def chosen(value: Any, here: dict[str, str]) -> Any:
    """The value of an attribute for one checkpoint and image set, where it was stored for each."""
    each = by_label(value)
    if each is not None:
        for dim, label in here.items():
            if value.startswith(f'{{"by_{dim}"'):
                return chosen(each.get(label), here)
    return value


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _text(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True, default=str)
