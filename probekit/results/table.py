"""Results as one tidy table: a row for every number, for pandas, spreadsheets and other plotting libraries."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from probekit import schema
from probekit.errors import ResultsError, did_you_mean
from probekit.results.reading import opened

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = ("value", "lower", "upper")


def summary(ds: xr.Dataset | str | os.PathLike[str], *, variables: Sequence[str] | None = None) -> pd.DataFrame:
    """All results of a dataset, one row a cell.

    Args:
        ds: a results dataset, or the path of one.
        variables: which results; None for all.

    Returns:
        Columns `checkpoint`, `data`, `variable`; one for each dim of the variables (`layer`, `pooling`, ...; empty
        where a variable has no such dim); `value`, and the 95 % interval `lower`, `upper` (empty where the variable has
        none); then every coordinate along `checkpoint`, the user's own among them. One that is called like a column
        before it is called `checkpoint_<name>`. Cells without a number have no row.

    Raises:
        ResultsError: no results dataset, or an unknown variable.

    Example:
        >>> table = probekit.summary("results.nc")  # doctest: +SKIP
        >>> table[table.variable == "knn_accuracy"].groupby(["mask_ratio", "k"]).value.mean()  # doctest: +SKIP
    """
    import pandas as pd

    ds = opened(ds, "summary", lazily=True)
    known = schema.result_names(ds)
    if variables is not None and (not isinstance(variables, Sequence) or not variables):
        raise ResultsError(f"variables={variables!r}: expected a list, of some of {', '.join(known)}.")
    names = known if variables is None else [variables] if isinstance(variables, str) else list(variables)
    for name in names:
        if name not in known:
            raise ResultsError(f"No result is called {name!r}. {did_you_mean(str(name), known, limit=30)}")
    frames = [_rows(ds, name) for name in names]
    dims = list(dict.fromkeys(dim for name in names for dim in ds[name].dims if dim not in ("checkpoint", "data")))
    columns = ["checkpoint", "data", "variable", *map(str, dims), *NUMBERS]
    table = pd.concat([pd.DataFrame(frame) for frame in frames], ignore_index=True).reindex(columns=["place", *columns])
    for dim in dims:
        if dim in ds.coords and ds[dim].dtype.kind in "iu":
            table[str(dim)] = table[str(dim)].astype("Int64")  # whole numbers, also where some rows have none
    place = table.pop("place").to_numpy()
    for key, coord in ds.coords.items():
        if coord.dims == ("checkpoint",) and key != "checkpoint":
            table[f"checkpoint_{key}" if key in columns else str(key)] = coord.values[place]
    return table


def _rows(ds: xr.Dataset, name: str) -> dict[str, Any]:
    """Column -> values of the finite cells of one variable, and `place`, the position of the checkpoint."""
    array = ds[name]
    values = np.asarray(array.values, dtype=np.float64)
    where = np.nonzero(np.isfinite(values))
    columns: dict[str, Any] = {"variable": np.full(len(where[0]), name, dtype=object)}
    for dim, at in zip(array.dims, where, strict=True):
        labels = ds[dim].values if dim in ds.coords else np.arange(ds.sizes[dim])
        columns[str(dim)] = labels[at]
        if dim == "checkpoint":
            columns["place"] = at
    columns["value"] = values[where]
    if f"{name}_ci" in ds:
        ends = np.asarray(ds[f"{name}_ci"].values, dtype=np.float64)[where]
        columns |= {"lower": ends[:, 0], "upper": ends[:, 1]}
    return columns
