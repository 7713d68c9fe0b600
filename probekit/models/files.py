"""Tensors from files, safely: what kind of file it is is decided by its bytes, and nothing in a file is ever run.

Pickles are read with `weights_only=True` and argparse namespaces allowed (training checkpoints keep their arguments in
one); whatever needs more is refused. Zip archives and safetensors are mapped, not read: weights come in when touched,
and an optimiser's state beside them never does.
"""

from __future__ import annotations

import argparse
import json
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from probekit.errors import CheckpointError

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Names of weights in a directory, best first."""

DAMAGED = (
    RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, OSError, MemoryError, AssertionError,
    ArithmeticError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What torch.load and zipfile raise on files cut short or altered: found by cutting and altering at every place."""

SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".tar", ".npz", ".json")


@dataclass
class Found:
    """What a source holds, before any format has looked at it.

    Attributes:
        label: how messages call it.
        name: a short name for tables.
        tensors: by name.
        extras: what stood beside the tensors: `args`, `epoch`, `hyper_parameters`, `meta`, ... (plain containers).
        config: `config.json` of its directory, or None.
        preprocessor: `preprocessor_config.json`, or None.
        paths: the files that were read.
        wrapped: the key under which the tensors were, or None.
    """

    label: str
    name: str
    tensors: dict[str, Tensor]
    extras: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    preprocessor: dict[str, Any] | None = None
    paths: tuple[Path, ...] = ()
    wrapped: str | None = None

    @property
    def args(self) -> dict[str, Any]:
        """The training script's arguments, if they were stored."""
        stored = self.extras.get("args")
        if isinstance(stored, argparse.Namespace):
            return vars(stored)
        return dict(stored) if isinstance(stored, Mapping) else {}


def read_file(path: Path) -> Found:
    """Read one file of weights; beside a `config.json`, that is read too if the file has a standard name."""
    try:
        empty, safe = path.stat().st_size == 0, _is_safetensors(path)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be opened ({error.strerror}). Expected a file written by torch.save or safetensors that "
            "you may read."
        ) from error
    if empty:
        raise CheckpointError(
            f"{path} is empty (0 bytes): the copy or the run that wrote it did not finish. Fetch it again."
        )
    content = _safetensors(path) if safe else _pickle(path)
    tensors, extras, wrapped = _unwrap(content, path)
    found = Found(str(path), path.stem, tensors, extras, paths=(path,), wrapped=wrapped)
    if path.name in WEIGHTS:
        _beside(found, path.parent)
    return found


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
    try:
        content = json.loads(path.read_text())
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"{path} is no readable JSON ({error}). Fetch it again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; expected a JSON object.")
    return content


def _beside(found: Found, folder: Path) -> None:
    """Attach the configuration files of a directory."""
    for attribute, name in (("config", "config.json"), ("preprocessor", "preprocessor_config.json")):
        if (folder / name).is_file():
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
    return Found(str(index), index.parent.name, tensors, paths=tuple(index.parent / part for part in parts))


def _is_safetensors(path: Path) -> bool:
    """Eight bytes of header length, then JSON."""
    with path.open("rb") as stream:
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


def _pickle(path: Path) -> Any:
    """Anything `torch.save` wrote, tensors and plain containers only."""
    try:
        zipped = _zip_kind(path)
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about storage types of old files; nothing a user could act on
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except CheckpointError:
        raise  # it says more than what follows could
    except pickle.UnpicklingError as error:
        _refuse_pickle(path, str(error))
        raise CheckpointError(f"{path}: {_not_a_checkpoint(path)}") from error
    except DAMAGED as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} cannot be read by torch.load ({first}): it is truncated, damaged or no checkpoint "
            f"({path.stat().st_size:,} bytes). Expected a file written by torch.save or safetensors. Fetch it again."
        ) from error


def _zip_kind(path: Path) -> bool:
    """Whether the file is a zip archive of torch.save; refuses archives of other kinds by name."""
    with path.open("rb") as stream:
        magic = stream.read(4)
    if magic[:2] != b"PK":
        if magic[:1] != b"\x80":  # neither a zip nor a pickle
            raise CheckpointError(f"{path}: {_not_a_checkpoint(path)}")
        return False
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path} begins as a torch.save archive and has no end: it is truncated ({path.stat().st_size:,} bytes). "
            "Fetch it again."
        )
    with zipfile.ZipFile(path) as archive:
        names = [name.split("/", 1)[-1] for name in archive.namelist()]
    if "constants.pkl" in names:
        raise CheckpointError(
            f"{path} is a TorchScript archive, which is code. Expected tensors: load it with torch.jit.load where you "
            "trust it, and save its state_dict() with torch.save."
        )
    if "data.pkl" not in names:
        inside = ", ".join(names[:4])
        raise CheckpointError(
            f"{path} is a zip archive without tensors (it holds {inside}, ...). Expected a file written by torch.save "
            "or safetensors"
            + (
                "; an .npz of JAX weights loads by its timm name instead."
                if any(name.endswith(".npy") for name in names)
                else "."
            )
        )
    return True


def _not_a_checkpoint(path: Path) -> str:
    with path.open("rb") as stream:
        head = stream.read(64)
    expected = "Expected a file written by torch.save or safetensors."
    if head.startswith(b"version https://git-lfs"):
        return f"this is a git-lfs pointer, not the weights. Run `git lfs pull`. {expected}"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"this is a web page, not weights: the download went to a login or error page. {expected}"
    return f"not a checkpoint (it begins with {head[:16]!r}). {expected}"


def _refuse_pickle(path: Path, message: str) -> None:
    """Raise if the pickle wants a class or function that is not allowed."""
    match = re.search(r"(?:Unsupported global: GLOBAL|Unsupported class|GLOBAL) ([\w.]+)", message)
    if match is None:
        return
    raise CheckpointError(
        f"{path} is a pickle that needs {match[1]}, and unpickling that could run code. Allowed are tensors, plain "
        f"containers "
        "and argparse.Namespace. Where you trust the file, load it with torch.load(..., weights_only=False), and save "
        "its "
        "tensors alone: torch.save({'model': state_dict}, 'clean.pth')."
    )


def _unwrap(content: Any, path: Path) -> tuple[dict[str, Tensor], dict[str, Any], str | None]:
    """(tensors, everything else, key they were under) of what was in a file."""
    if isinstance(content, Mapping):
        for key in (
            "model",
            "state_dict",
            "teacher",
            "model_state_dict",
            "model_ema",
            "net",
            "module",
            "student",
            "target_encoder",
            "encoder",
        ):
            inner = content.get(key)
            if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
                extras = {str(name): value for name, value in content.items() if name != key}
                return _tensors(inner), extras, key
        tensors = _tensors(content)
        if tensors:
            return tensors, {str(name): value for name, value in content.items() if name not in tensors}, None
    held = f"a {type(content).__name__}"
    if isinstance(content, Mapping):
        held = f"a dict with the keys {', '.join(map(str, list(content)[:8]))}" if content else "an empty dict"
    raise CheckpointError(
        f"{path} holds no named tensors but {held}. Expected a state dict, bare or under 'model' or 'state_dict'."
    )


def _tensors(mapping: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {str(name): value for name, value in mapping.items() if isinstance(value, Tensor)}
