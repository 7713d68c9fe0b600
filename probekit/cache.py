"""Where probekit keeps what it can compute again: `$PROBEKIT_CACHE`, else `$XDG_CACHE_HOME/probekit`, else
`~/.cache/probekit`. Nothing is written anywhere else unless a path was given.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any


def folder(*parts: str) -> Path:
    """A folder of the cache (not created)."""
    root = os.environ.get("PROBEKIT_CACHE")
    if root:
        return Path(root).expanduser().joinpath(*parts)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().joinpath("probekit", *parts)


def holds(*parts: str) -> bool:
    """Whether a folder of the cache has anything in it."""
    with suppress(OSError), os.scandir(folder(*parts)) as entries:
        return next(entries, None) is not None
    return False


def room() -> int:
    """Bytes that are free where the cache lies, or will lie."""
    there = folder().absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def key(**facts: Any) -> str:
    """A name for what `facts` (JSON-able) determine: the same facts give the same 32 hexadecimal digits anywhere."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
