"""Digests of a finished training run's files, against which they are held whenever they are read.

A run's `finished.json` has them under "files", by name; those of its snapshots by their path from there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import xxhash

from probekit.errors import CheckpointError, ProbekitError
from probekit.files import opened, read_json

RECORD = "finished.json"
SNAPSHOTS = "snapshots"


def digest_of(file: Path) -> str:
    """Digest of a file, read in parts; empty if the file cannot be read."""
    digest = xxhash.xxh3_128()
    try:
        with opened(file) as stream:
            while part := stream.read(1 << 20):
                digest.update(part)
    except (ProbekitError, OSError):
        return ""
    return digest.hexdigest()


def digests(run: Path) -> dict[str, str]:
    """Digests of the weights and configurations of a run and of its snapshots, by their path from the run."""
    folders = [run, *run.glob(f"{SNAPSHOTS}/*")]
    files = [file for folder in folders for kind in ("*.safetensors", "*config.json") for file in folder.glob(kind)]
    return {file.relative_to(run).as_posix(): digest_of(file) for file in sorted(files)}


def changed(run: Path, names: Iterable[str] | None = None) -> list[str]:
    """Files of a finished run that changed after they were written; empty without a readable record.

    Args:
        run: its directory.
        names: those to look at, by their path from the run; None for all. A snapshot may have been deleted.
    """
    try:
        found = read_json(run / RECORD)
    except ProbekitError:
        return []
    written = found.get("files") if isinstance(found, dict) else None
    if not isinstance(written, dict):
        return []
    wanted = written if names is None else set(names)
    looked = [name for name in written if name in wanted]
    there = [name for name in looked if not name.startswith(f"{SNAPSHOTS}/") or (run / name).exists()]
    return [name for name in there if digest_of(run / name) != written[name]]


def check(folder: Path, names: Iterable[str]) -> None:
    """Refuse files of a finished run, or of a snapshot of one, that changed since.

    Args:
        folder: what is read: a run, a snapshot, or any other directory, which has no record.
        names: the files that are read there.

    Raises:
        CheckpointError: naming the files.
    """
    folder = folder.resolve()
    run = folder.parents[1] if folder.parent.name == SNAPSHOTS else folder
    inside = [(folder / name).relative_to(run).as_posix() for name in names]
    if found := changed(run, inside):
        raise CheckpointError(
            f"{run}: {', '.join(found)} changed since the run finished, or its record {RECORD} did. Restore them from "
            f"a copy. Where the change is meant, load a copy of the directory without {RECORD}."
        )
