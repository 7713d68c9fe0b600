"""The board: one row for every measured checkpoint, from a folder of results files, each with the command that made it.

A row is added by adding a results file. `check` says where a page no longer says what the files say.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from probekit.errors import ResultsError
from probekit.files import read_bytes, write_bytes
from probekit.plot import published
from probekit.plot.rows import Results
from probekit.report.tables import TableCell, cell

COLUMNS = (
    "gain_amount", "gain_height", "representation_level", "ladder_level", "attentive_accuracy", "linear_accuracy",
    "knn_accuracy", "shape_bias", "segmentation_miou", "masked_ssim",
)  # fmt: skip
"""What the board shows of each checkpoint, as far as it was measured."""

LARGEST_PAGE = 2**24
"""Most bytes of a page that the board is put into."""

PLACE = re.compile(r"(<!-- board -->\n).*?(<!-- /board -->)", re.S)


def tables(folder: Path) -> str:
    """The board as Markdown: a table for every results file and image set, then the published numbers.

    Raises:
        ResultsError: no results file in the folder, or one that cannot be read.
    """
    files = sorted(folder.glob("*.nc"))
    if not files:
        raise ResultsError(f"{folder} holds no results file (.nc): add one to add its rows to the board.")
    return "\n".join([*filter(None, map(of_file, files)), of_published()])


def of_file(file: Path) -> str:
    """The rows of one results file, under the command that made it; "" if it has none of what the board shows."""
    results = Results(file)
    command = results.provenance.get("command")
    made = shlex.join(map(str, command)) if isinstance(command, list) else str(command or "unknown")
    versions = results.provenance.get("versions", {})
    which = (
        f"`{made}`, probekit {versions.get('probekit', 'unknown')}, {str(results.provenance.get('created', ''))[:10]}"
    )
    out: list[str] = []
    for data in results.data:
        names = [name for name in COLUMNS if name in results.names and data in results.where(name)]
        if names:
            out += [f"On `{data}`, last layer (95 % intervals in brackets):", "", *rows(results, names, data), ""]
    return "\n".join([f"### {file.stem}", "", f"Made by {which}.", "", *out]) if out else ""


def rows(results: Results, names: Sequence[str], data: str) -> list[str]:
    """Lines of a Markdown table: a row for each checkpoint."""
    titles = []
    for name in names:
        words = results.choose(name).words.removeprefix("last layer").lstrip(", ")
        titles.append(results.axis_title(name) + (f"<br>{words}" if words else ""))
    lines = [line(["checkpoint", *titles]), line(["---"] * (len(names) + 1))]
    columns = [results.values(name, data) for name in names]
    for checkpoint in results.checkpoints:
        cells = [
            cell(values[checkpoint.index], None if bounds is None else bounds[checkpoint.index])
            for values, bounds in columns
        ]
        if any(entry.value != "–" for entry in cells):
            lines.append(line([checkpoint.name, *map(shown, cells)]))
    return lines


def shown(entry: TableCell) -> str:
    return f"{entry.value} [{entry.interval}]" if entry.interval else entry.value


def line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(one.replace("|", "\\|") for one in cells) + " |"


def of_published() -> str:
    """Numbers from the literature, not measured with probekit."""
    out = ["### Published, not measured here", "", f"Accuracy in % on ImageNet-1K: {published.PROBING}.", ""]
    out += [line(["model", "k-NN", "linear", "attentive (ep)"]), line(["---"] * 4)]
    out += [line([model, *(f"{value:.1f}" for value in values)]) for model, values in published.PROBING_TABLE.items()]
    return "\n".join([*out, ""])


def update(folder: Path, pages: Sequence[Path], *, check: bool = False) -> list[Path]:
    """Put the board into pages, between `<!-- board -->` and `<!-- /board -->`.

    Args:
        folder: of the results files.
        pages: Markdown files.
        check: write nothing.

    Returns:
        The pages that were out of date.

    Raises:
        ResultsError: a page without that place, or one that is not there.
        StorageError: a page that cannot be read or written.
    """
    text, changed = tables(folder), []
    for page in pages:
        content = read_bytes(page, what="a page of Markdown", limit=LARGEST_PAGE, error=ResultsError)
        old = content.decode("utf-8", errors="surrogateescape").replace("\r\n", "\n")
        if not PLACE.search(old):
            raise ResultsError(
                f"{page} has no place for the board: put <!-- board --> and <!-- /board --> where it goes."
            )
        new = PLACE.sub(lambda found: found[1] + text + found[2], old)
        if new != old:
            changed.append(page)
            if not check:
                write_bytes(page, new.encode("utf-8", errors="surrogateescape"))
    return changed
