"""Results in, one HTML file out. Only `probekit.schema` is imported, so a report is drawn without torch.

The way of the numbers: `results` reads the dataset into plain rows, `statistics` says what they separate, `sentences`
puts that into words, the `figures_*` modules turn rows into Vega-Lite charts, `tables` into tables, `pictures` into
PNG, and `page` lays them out with the template. `exporting` writes the same figures and tables as files. Nothing here
measures anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr


def html(ds: xr.Dataset, *, script: str | None = None) -> str:
    """The report of a results dataset as one self-contained page.

    Args:
        ds: a dataset that `schema.validate` accepts.
        script: the Vega bundle; taken from vl-convert if not given (a few seconds, the first time in a process).

    Raises:
        ResultsError: not a results dataset, or one without a checkpoint or an image set.
    """
    from probekit.report.page import render

    return render(ds, script=script)


def write(ds: xr.Dataset, path: str | Path, *, script: str | None = None) -> Path:
    """Write the report of `ds` to `path`; returns the path."""
    from probekit.files import write_text

    return write_text(path, html(ds, script=script))


def export(ds: xr.Dataset, folder: str | Path) -> list[Path]:
    """Write every figure as SVG, PDF and PNG and every table as CSV and LaTeX into `folder`; returns the files."""
    from probekit.report.exporting import export_all

    return export_all(ds, Path(folder))
