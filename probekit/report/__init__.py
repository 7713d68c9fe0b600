"""Results in, one HTML file out, without torch.

The room `results` says what the numbers separate, `sentences` puts that into words, the room `plot` draws, `tables`
makes tables, and `page` lays them out with the template. `exporting` writes the same figures and tables as files.
Nothing here measures anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from probekit.checks import a_path
from probekit.errors import ResultsError

if TYPE_CHECKING:
    import xarray as xr


def html(ds: xr.Dataset, *, by: str | None = None, script: str | None = None) -> str:
    """The report of a results dataset as one self-contained page.

    Args:
        ds: a dataset that `schema.validate` accepts.
        by: a coordinate along `checkpoint` that groups and colours every chart, the user's own included; None for the
            masking.
        script: the Vega bundle; taken from vl-convert if not given (a few seconds, the first time in a process).

    Returns:
        The HTML text. It loads nothing from elsewhere.

    Raises:
        ResultsError: not a results dataset, or one without a checkpoint or an image set.

    Example:
        >>> page = html(ds, by="recipe")  # doctest: +SKIP
    """
    from probekit.report.page import assemble, render

    return render(assemble(ds, by), script=script)


def write(ds: xr.Dataset, path: str | Path, *, by: str | None = None, script: str | None = None) -> Path:
    """Write the report of a results dataset as one self-contained page.

    Args:
        ds, by, script: as in `html`.
        path: the file to write.

    Returns:
        The path.

    Raises:
        ResultsError: as in `html`.
        StorageError: the file cannot be written; what was there before is unchanged.

    Example:
        >>> write(ds, "report.html")  # doctest: +SKIP
    """
    from probekit.files import write_text

    target = a_path("path", path, "the page to write", error=ResultsError)
    return write_text(target, html(ds, by=by, script=script))


def export(ds: xr.Dataset, folder: str | Path, *, by: str | None = None, names: Sequence[str] = ()) -> list[Path]:
    """Write figures as SVG, PDF and PNG and tables as CSV and LaTeX into `folder`; returns the files.

    Args:
        ds, by: as in `html`.
        folder: where to write; made if it does not exist.
        names: keys of figures, e.g. `headline-curve` or `layers-*`; none for everything, with all tables and pictures.

    Returns:
        The files that were written.

    Raises:
        ResultsError: as in `html`, or no figure has such a name.

    Example:
        >>> export(ds, "figures", names=["layers-*"])  # doctest: +SKIP
    """
    from probekit.report.exporting import export_all
    from probekit.report.page import assemble

    target = a_path("folder", folder, "the folder to write into", error=ResultsError)
    return export_all(assemble(ds, by), target, names=names)
