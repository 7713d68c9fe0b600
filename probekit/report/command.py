"""What `probekit report` does: the only file of this room that evaluates, inside a function and only if it must."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np

from probekit import schema
from probekit.errors import ResultsError, StorageError
from probekit.files import write_text
from probekit.plot.headline import Headline
from probekit.report import page
from probekit.report.exporting import export_all

FILES = (".nc", ".cdf", ".h5", ".hdf5")
"""Endings of a results file; anything else names a checkpoint."""


def run(
    sources: Sequence[str] = (),
    *,
    data: Sequence[str] = (),
    suite: str = "paper",
    output: str = "report.html",
    results: str = "results.nc",
    figures: str | None = None,
    names: Sequence[str] = (),
    by: str | None = None,
    **settings: Any,
) -> list[Path]:
    """Evaluate if needed, render, export; returns the files written.

    Args:
        sources: one results file (`.nc`), or checkpoints; none for the checkpoints that ship.
        data: image sets; none for those of the suite that fit what each checkpoint was trained on.
        suite: a suite's name, or probes joined by commas.
        output: the page.
        results: where the numbers go if anything was evaluated.
        figures: a folder for every figure and table, or None.
        names: keys of the figures to write there; none for all.
        by: a coordinate along checkpoint that groups and colours.
        settings: passed on to `evaluation.compare` (batch_size, device, ...).
    """
    for target in (output, results):
        folder = Path(target).parent
        if not folder.is_dir():
            raise ResultsError(f"{target} cannot be written: there is no folder {folder}. Create it first.")
        if Path(target).is_dir():
            raise ResultsError(
                f"{target} cannot be written: it is a folder. Name a file in it, e.g. {target}/report.html."
            )
    with ThreadPoolExecutor(1) as pool:  # the script comes from elsewhere than the numbers: fetch both at once
        script = pool.submit(bundle)
        if len(sources) == 1 and Path(sources[0]).suffix in FILES:
            made, written = page.assemble(sources[0], by), []
        else:
            ds = measure(sources, data, suite, settings)
            written = [schema.write(ds, results)]
            made = page.assemble(ds, by)
        written.append(write_text(output, page.render(made, script=script.result())))
    if figures is not None:
        written += export_all(made, Path(figures), names=names)
    show(made.headline, written, Path(figures) if figures is not None else None)
    return written


def measure(sources: Sequence[str], data: Sequence[str], suite: str, settings: dict[str, Any]) -> Any:
    """A results dataset of checkpoints, by way of `probekit.evaluation`."""
    processes = min(cores(), MOST_PROCESSES)
    if sources or processes < 2 or settings.get("executor"):
        return _measured(sources, data, suite, settings)
    from probekit import cache
    from probekit.evaluation.executors import LocalWorkers

    with closing(LocalWorkers(processes)) as workers:
        if not cache.holds("results"):  # all is to be measured: they import while this process does
            workers.begin()
        return _measured(sources, data, suite, settings | {"executor": workers})


def _measured(sources: Sequence[str], data: Sequence[str], suite: str, settings: dict[str, Any]) -> Any:
    """Of the checkpoints named, or of all that ship."""
    from probekit import models

    chosen = list(sources) or [f"shipped:{name}" for name in models.shipped()]
    if not chosen:
        raise ResultsError(
            "No checkpoints ship with this installation, and none were named. Name some: `python -m probekit.report "
            "CKPT...`, or a results file: `python -m probekit.report results.nc`."
        )
    probes: str | list[str] = [name.strip() for name in suite.split(",") if name.strip()] if "," in suite else suite
    where: str | list[str] = list(data) or "own"
    from probekit import evaluation

    return evaluation.compare(chosen, probes, where, **settings)


MOST_PROCESSES = 4
"""Each takes about a gigabyte of memory."""


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def bundle() -> str:
    """Vega's script, kept in the cache: taking it from vl-convert costs seconds, reading it back milliseconds."""
    from importlib.metadata import version

    from probekit import cache

    file = cache.folder("report", f"vega-{version('vl-convert-python')}.js")
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        script = page.vega_bundle()
    with suppress(StorageError):  # a cache that cannot be written costs time at the next call, nothing else
        write_text(file, script)
    return script


def show(headline: Headline | None, written: Sequence[Path], figures: Path | None) -> None:
    """The answer in a few lines on the terminal, and where the files are."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from probekit.report.sentences import answer
    from probekit.report.tables import cell

    console = Console(highlight=False)
    words = answer(headline)
    console.print(Text(words.claim, style="bold"))
    if headline is not None:
        table = Table(box=None, pad_edge=False)
        for column in (
            "checkpoint",
            "ratio",
            "patch",
            "seed",
            headline.results.axis_title(headline.name),
            "95 % interval",
        ):
            table.add_column(Text(column), overflow="fold")
        for row in headline.rows:
            known = ["" if row[key] is None else f"{row[key]:g}" for key in ("ratio", "patch", "seed")]
            bounds = None if row["lower"] is None else np.array([row["lower"], row["upper"]])
            shown = cell(row["value"], bounds)
            table.add_row(Text(row["checkpoint"]), *known, shown.value, shown.interval)
        console.print(table)
    console.print(Text(words.caution, style="dim"))
    pages = [path for path in written if figures is None or figures not in path.parents]
    for path in pages:
        console.print(Text(str(path)))
    if figures is not None:
        console.print(Text(f"{figures}: {len(written) - len(pages)} figures and tables"))
