"""Every figure as SVG, PDF and PNG, every table as CSV and LaTeX, for papers and slides.

Panels of a figure become one file each (`<figure>-<n>`), so that a paper can lay them out itself; pictures are PNG
strips.
"""

from __future__ import annotations

import base64
import csv
import fnmatch
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from probekit.errors import ResultsError, did_you_mean
from probekit.files import write_bytes, write_text
from probekit.plot.figure import Figure
from probekit.plot.pictures import Strip
from probekit.plot.rows import Results, plain, rounded
from probekit.report.page import Report
from probekit.report.tables import Table, TableCell

SCALE = 2.0
"""Pixels of a PNG per CSS pixel."""


def export_all(report: Report, folder: Path, *, names: Sequence[str] = ()) -> list[Path]:
    """Write everything, or the figures of some names, into `folder` (made if missing); returns the files.

    Raises:
        ResultsError: a name that no figure has.
    """
    figures = chosen(report.figures, names)
    written = [path for figure in figures for path in export_figure(figure, folder)]
    if names:
        return written
    for section in report.sections:
        for table in section.tables:
            written += export_table(table, folder)
        for strip in section.strips:
            written += export_strip(strip, folder)
    return written + [export_numbers(report.results, name, folder) for name in report.results.names]


def chosen(figures: Sequence[Figure], names: Sequence[str]) -> list[Figure]:
    """The figures whose key is one of `names` (`*` stands for anything); all if there are none."""
    if not names:
        return list(figures)
    keys = [figure.key for figure in figures]
    for name in names:
        if not fnmatch.filter(keys, name):
            raise ResultsError(f"No figure is called {name!r}. {did_you_mean(name, keys, limit=60)}")
    return [figure for figure in figures if any(fnmatch.fnmatchcase(figure.key, name) for name in names)]


def export_strip(strip: Strip, folder: Path) -> list[Path]:
    """The pictures of a strip, a file each."""
    written = []
    for row in strip.rows:
        for i, picture in enumerate(row.pictures):
            if picture is not None:
                encoded = picture.source.partition(",")[2]
                suffix = picture.source.partition(";")[0].partition("/")[2]
                target = folder / f"{file_name(strip.key)}-{file_name(row.label)}-{i}.{suffix}"
                write_bytes(target, base64.b64decode(encoded))
                written.append(target)
    return written


def export_figure(figure: Figure, folder: Path) -> list[Path]:
    """Each panel as .svg, .pdf and .png; the panel's number is in the name where there are several."""
    import vl_convert

    written = []
    for i, panel in enumerate(figure.panels):
        spec = panel.file_spec()
        base = folder / (figure.key if len(figure.panels) == 1 else f"{figure.key}-{i + 1}")
        svg = vl_convert.vegalite_to_svg(spec)
        outcomes: dict[str, bytes] = {
            "svg": svg.encode(),
            "pdf": vl_convert.svg_to_pdf(svg),
            "png": vl_convert.svg_to_png(svg, scale=SCALE),
        }
        for suffix, content in outcomes.items():
            target = base.with_name(f"{base.name}.{suffix}")
            write_bytes(target, content)
            written.append(target)
    return written


def export_table(table: Table, folder: Path) -> list[Path]:
    """A small table as .csv and .tex."""
    comma, latex = folder / f"{file_name(table.key)}.csv", folder / f"{file_name(table.key)}.tex"
    rows = [[str(entry) for entry in row] for row in table.rows]
    write_text(comma, as_csv([table.columns, *rows]))
    write_text(latex, as_latex(table))
    return [comma, latex]


def export_numbers(results: Results, name: str, folder: Path) -> Path:
    """All numbers of one variable as a long table."""
    target = folder / f"numbers-{file_name(name)}.csv"
    header = ["checkpoint", "data", *results.dims(name), "value", "lower", "upper"]
    return write_text(target, as_csv([header, *long_rows(results, name)]))


def long_rows(results: Results, name: str) -> Iterator[list[Any]]:
    values, bounds = results.array(name), results.interval(name)
    labels = [[plain(label) for label in results.labels(dim)] for dim in ("checkpoint", "data", *results.dims(name))]
    for place in zip(*np.nonzero(np.isfinite(values)), strict=True):
        ends = ["", ""] if bounds is None else [rounded(end, 9) for end in bounds[place]]
        yield [*(names[at] for names, at in zip(labels, place, strict=True)), rounded(values[place], 9), *ends]


def as_csv(rows: Sequence[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "–": "--", "²": "$^2$",
}  # fmt: skip


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(LATEX.get(character, character) for character in text)


def as_latex(table: Table) -> str:
    """A booktabs table; intervals in small type beside their number."""

    def shown(entry: str | TableCell) -> str:
        if isinstance(entry, TableCell):
            small = f" {{\\scriptsize [{escaped(entry.interval)}]}}" if entry.interval else ""
            return escaped(entry.value) + small
        return escaped(entry)

    lines = [" & ".join(shown(entry) for entry in row) + r" \\" for row in table.rows]
    head = " & ".join(escaped(column) for column in table.columns) + r" \\"
    caption = f"\\caption{{{escaped(table.title)}.{' ' + escaped(table.note) if table.note else ''}}}"
    columns = "l" * len(table.columns)
    parts = [
        r"\begin{table}",
        r"\centering",
        caption,
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        head,
        r"\midrule",
    ]
    return "\n".join([*parts, *lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def file_name(text: str) -> str:
    """Text as the name of a file: letters, digits, dots, dashes, underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "unnamed"
