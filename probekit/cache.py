"""Where probekit keeps what it can compute again: `$PROBEKIT_CACHE`, else `$XDG_CACHE_HOME/probekit`, else
`~/.cache/probekit`. Nothing is written anywhere else unless a path was given.

What lands here is written whole or not at all: into a temporary name in the same folder, then renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def folder(*parts: str) -> Path:
    """A folder of the cache (not created)."""
    root = os.environ.get("PROBEKIT_CACHE")
    if root:
        return Path(root).expanduser().joinpath(*parts)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().joinpath("probekit", *parts)


def key(**facts: Any) -> str:
    """A name for what `facts` (JSON-able) determine: the same facts give the same 32 hexadecimal digits anywhere."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A path to write a file or folder at; on success it becomes `target`, on any failure it vanishes.

    An existing `target` is replaced; for a folder, by renaming the old one away first.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    part = scratch / target.name
    try:
        yield part
        if part.is_dir() and target.exists():
            os.replace(target, scratch / "replaced")
        os.replace(part, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
