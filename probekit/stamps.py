"""What results say of how they came about: versions, command, time."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from probekit import __version__


def versions(
    packages: Sequence[str] = (
        "torch",
        "torchvision",
        "timm",
        "transformers",
        "scikit-learn",
        "scikit-image",
        "xarray",
        "numpy",
    ),
) -> dict[str, str]:
    """Installed versions, read from package metadata: nothing is imported.

    Args:
        packages: names of distributions; those that are not installed are left out.

    Returns:
        Name -> version, of Python, the platform and probekit, too.

    Example:
        >>> sorted(versions(("numpy",)))
        ['numpy', 'platform', 'probekit', 'python']
    """
    found = {"python": platform.python_version(), "platform": platform.platform(), "probekit": __version__}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def stamp(**facts: Any) -> str:
    """The dataset attribute `provenance`: the given facts, versions, the time, the command.

    Args:
        facts: anything that JSON can hold, by name.

    Returns:
        JSON text; `schema.provenance` reads it.

    Example:
        >>> json.loads(stamp(suite="mine"))["suite"]
        'mine'
    """
    record = {"created": datetime.now(UTC).isoformat(timespec="seconds"), "command": sys.argv, "versions": versions()}
    return json.dumps(record | facts, sort_keys=True)
