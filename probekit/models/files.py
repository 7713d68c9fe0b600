"""Tensors from files: what kind of file it is is decided by its bytes, and nothing in a file is ever run.

Zip archives and safetensors are mapped, not read: weights come in when touched, and an optimiser's state beside them
never does.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from probekit.errors import CheckpointError, a_kind
from probekit.files import opened, regular
from probekit.files import read_json as parse_json
from probekit.models import networks, pickles, records
from probekit.models.pickles import DAMAGED

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Names of weights in a directory, best first."""

CONFIGURATIONS = (("config", "config.json"), ("preprocessor", "preprocessor_config.json"))
"""Attributes of what is found in a directory, and the files that they are read from."""

EXPECTED = "a file written by torch.save or safetensors"
"""What a file of weights is, for messages."""

SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".tar", ".npz", ".json")


@dataclass
class Found:
    """What a source holds, before any format has looked at it.

    Attributes:
        label: how messages call it.
        name: a short name for tables.
        tensors: by name; of the one network that is read (see `networks`).
        entries: everything that could be a network, by its path in the file.
        extras: what stood beside the tensors: `args`, `epoch`, `hyper_parameters`, `meta`, ... (plain containers).
        config: `config.json` of its directory, or None.
        preprocessor: `preprocessor_config.json`, or None.
        paths: the files that were read.
    """

    label: str
    name: str
    tensors: dict[str, Tensor]
    entries: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    preprocessor: dict[str, Any] | None = None
    paths: tuple[Path, ...] = ()

    @property
    def args(self) -> dict[str, Any]:
        """The training script's arguments, if they were stored."""
        stored = self.extras.get("args")
        if isinstance(stored, argparse.Namespace):
            return vars(stored)
        return dict(stored) if isinstance(stored, Mapping) else {}


def read_file(path: Path) -> Found:
    """Read one file of weights; beside a `config.json`, that is read too if the file has a standard name."""
    size = regular(path, what=EXPECTED, error=CheckpointError).st_size
    if not size:
        raise CheckpointError(
            f"{path} is empty (0 bytes): the copy or the run that wrote it did not finish. Fetch it again."
        )
    if path.name in WEIGHTS:
        records.check(path.parent, (path.name, *(name for _, name in CONFIGURATIONS)))
    content = _safetensors(path) if _is_safetensors(path) else pickles.read(path)
    found = networks.entries(content)
    if not found:
        held = a_kind(content)
        if isinstance(content, Mapping):
            held = f"a dict with the keys {', '.join(map(str, list(content)[:8]))}" if content else "an empty dict"
        raise CheckpointError(
            f"{path} holds no named tensors but {held}. Expected a state dict, bare or under 'model' or 'state_dict'."
        )
    for tensors in found.values():
        check_sizes(tensors, size, path)
    plain = dict(content) if isinstance(content, Mapping) else {}
    extras = {str(key): value for key, value in plain.items() if str(key) not in found and not _is_tensor(value)}
    first = next(iter(found.values()))
    result = Found(str(path), path.stem, first, found, extras, paths=(path,))
    if path.name in WEIGHTS:
        _beside(result, path.parent)
    return result


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def check_sizes(tensors: Mapping[str, Tensor], size: int, path: Path) -> None:
    """Refuse tensors that claim more values than the file has bytes for: views that repeat what is stored.

    Args:
        tensors: by name.
        size: of the file in bytes.
        path: for messages.
    """
    total = 0
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided:
            continue
        stored = 0 if tensor.is_meta else tensor.untyped_storage().nbytes()
        claimed = tensor.numel() * tensor.element_size()
        total += claimed
        if claimed > max(stored, 0) or claimed > size or total > 2 * size + 1024:
            raise CheckpointError(
                f"{path}: the tensor {name[:80]!r} claims {tuple(tensor.shape)} values, {claimed:,} bytes, of which "
                f"{min(stored, size):,} are stored. Save its tensors with .contiguous().clone(), or fetch it again."
            )


def read_directory(folder: Path) -> Found:
    """Read a directory as `save_pretrained` or this project write it."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise CheckpointError(
            f"{folder} cannot be opened ({error.strerror}). Expected a directory you may read."
        ) from error
    weights = next((folder / name for name in WEIGHTS if name in names), None)
    if weights is None:
        others = [name for name in names if name.endswith((".pth", ".pt", ".ckpt", ".safetensors", ".bin"))]
        if len(others) == 1:
            found = read_file(folder / others[0])
            _beside(found, folder)
            return found
        way = (
            f"Name one of its files: {', '.join(others[:8])}."
            if others
            else f"It holds: {', '.join(names[:8]) or 'nothing'}."
        )
        raise CheckpointError(
            f"{folder} holds no {WEIGHTS[0]} or {WEIGHTS[2]}, the names a checkpoint directory has. {way}"
        )
    found = _shards(weights) if weights.suffix == ".json" else read_file(weights)
    found.label, found.name = str(folder), folder.resolve().name
    _beside(found, folder)
    return found


def read_json(path: Path) -> dict[str, Any]:
    content = parse_json(path, what="a configuration", error=CheckpointError)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds {a_kind(content)}; expected a JSON object.")
    return content


def _beside(found: Found, folder: Path) -> None:
    """Attach the configuration files of a directory."""
    for attribute, name in CONFIGURATIONS:
        if os.path.lexists(folder / name):
            setattr(found, attribute, read_json(folder / name))


def parts_of(index: Path) -> list[str]:
    """The files that an index of shards lists, all of them in its own directory."""
    table = read_json(index).get("weight_map")
    parts = sorted(set(map(str, table.values()))) if isinstance(table, dict) else []
    if not parts or any(Path(part).name != part for part in parts):
        raise CheckpointError(
            f"{index} is no index of weights: expected 'weight_map', from names of tensors to files beside it. Fetch "
            "it again."
        )
    return parts


def _shards(index: Path) -> Found:
    """Weights split over several files, listed in an index."""
    parts = parts_of(index)
    missing = [part for part in parts if not (index.parent / part).is_file()]
    if missing:
        raise CheckpointError(f"{index} lists {len(parts)} files of which {missing} are missing. Fetch all of them.")
    tensors: dict[str, Tensor] = {}
    for part in parts:
        tensors |= read_file(index.parent / part).tensors
    paths = tuple(index.parent / part for part in parts)
    return Found(str(index), index.parent.name, tensors, {"": tensors}, paths=paths)


def _is_safetensors(path: Path) -> bool:
    """Eight bytes of header length, then JSON."""
    with opened(path, what=EXPECTED, error=CheckpointError) as stream:
        head = stream.read(9)
    return len(head) == 9 and head[8:9] == b"{"


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, *DAMAGED) as error:
        raise CheckpointError(
            f"{path} is a safetensors file that cannot be read whole ({error}): it is truncated or damaged "
            f"({path.stat().st_size:,} bytes). Fetch it again."
        ) from error
