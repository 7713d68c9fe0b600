"""Pickles of `torch.save`, read with `weights_only=True`: no class or function of a file is ever called.

Training checkpoints keep arguments beside the weights: argparse namespaces, numpy scalars and paths are allowed, each
read by a plain stand-in here. Whatever needs more is refused, with the way out.
"""

from __future__ import annotations

import argparse
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch

from probekit.errors import CheckpointError

DAMAGED = (
    RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, OSError, MemoryError, AssertionError,
    ArithmeticError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What torch.load and zipfile raise on files cut short or altered: found by cutting and altering at every place."""


class _Dtype:
    """Stands in for `numpy.dtype` in a pickle: keeps its code, and the byte order that its state tells."""

    def __init__(self, code: Any = "", *rest: Any) -> None:
        self.code, self.order = str(code), "="

    def __setstate__(self, state: Any) -> None:
        self.order = str(state[1]) if isinstance(state, tuple) and len(state) > 1 else "="


def _scalar(dtype: Any, data: Any = b"") -> Any:
    """Replaces numpy's scalar constructor: returns a Python number, or None for other types."""
    if not isinstance(dtype, _Dtype) or not re.fullmatch(r"[biuf]\d{1,2}", dtype.code) or not isinstance(data, bytes):
        return None
    order = dtype.order if dtype.order in "<>" else "="
    kind = np.dtype(order + dtype.code)
    return np.frombuffer(data, kind)[0].item() if len(data) == kind.itemsize else None


ALLOWED: list[Any] = [
    argparse.Namespace,
    *((_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    (_Dtype, "numpy.dtype"),
    *(
        (kind, f"{module}.{name}")
        for module in ("pathlib", "pathlib._local")
        for kind, names in (
            (PurePosixPath, ("PosixPath", "PurePosixPath", "Path")),
            (PureWindowsPath, ("WindowsPath", "PureWindowsPath")),
        )
        for name in names
    ),
]  # fmt: skip
"""What a pickle may name besides tensors and plain containers, and what reads it."""


def read(path: Path) -> Any:
    """Anything `torch.save` wrote: tensors and plain containers.

    Raises:
        CheckpointError: it is damaged, is no such file, or needs classes whose unpickling could run code.
    """
    try:
        zipped = _zip_kind(path)
        with torch.serialization.safe_globals(ALLOWED), warnings.catch_warnings():
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
        _check_storages(path)
        return False
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path} begins as a torch.save archive and has no end: it is truncated ({path.stat().st_size:,} bytes). "
            "Fetch it again."
        )
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    _check_members(path, members)
    names = [member.filename.split("/", 1)[-1] for member in members]
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
        "containers, numpy scalars, paths and argparse.Namespace. Where you trust the file, load it with "
        "torch.load(..., weights_only=False), and save its tensors alone: "
        "torch.save({'model': state_dict}, 'clean.pth')."
    )


def _check_members(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse archives whose members claim more than the file holds: torch.save never compresses."""
    claimed, size = sum(member.file_size for member in members), path.stat().st_size
    if claimed > size:
        raise CheckpointError(
            f"{path} is a compressed archive: its members claim {claimed:,} bytes, the file has {size:,}. torch.save "
            "does not compress. Unpack it and save it again, or fetch the original."
        )


def _check_storages(path: Path) -> None:
    """Refuse an old pickle whose storages claim more bytes than the file has: they are allocated before they are read.

    Raises:
        CheckpointError: a storage of more values than the file has bytes.
    """
    size, latest = path.stat().st_size, 0
    with path.open("rb") as stream:
        for _ in range(4):  # magic number, protocol, system, content
            for operation, argument, _place in pickletools.genops(stream):
                if isinstance(argument, int) and operation.name.startswith(("BININT", "LONG", "INT")):
                    latest = argument
                elif operation.name == "BINPERSID" and latest > size:
                    raise CheckpointError(
                        f"{path} is damaged: a tensor claims {latest:,} values, the file has {size:,} bytes. Fetch it "
                        "again."
                    )
