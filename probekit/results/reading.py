"""Results opened, from memory or a file: settled into the schema's layout and checked. Every function begins here."""

from __future__ import annotations

import os

import xarray as xr

from probekit import schema
from probekit.errors import ResultsError, a_kind
from probekit.results.settling import settled


def opened(source: xr.Dataset | str | os.PathLike[str], who: str, *, lazily: bool = False) -> xr.Dataset:
    """A checked dataset from one, or from the path of one.

    Args:
        source: the dataset or path.
        who: the function that was called, for the error.
        lazily: leave large arrays in the file until they are asked for.

    Raises:
        ResultsError: neither, or no results.
    """
    if isinstance(source, xr.Dataset):
        return schema.validate(settled(schema.shown(source)))
    if isinstance(source, str | os.PathLike):
        return schema.upgrade(settled(schema.unchecked(source, lazily=lazily)), str(source))
    raise ResultsError(f"{who} was given {a_kind(source)}; expected a results dataset or the path of one.")
