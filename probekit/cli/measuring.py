"""Commands that measure checkpoints: evaluate, compare, report."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from probekit.cli import options as given


def evaluate(
    checkpoint: given.Checkpoint,
    output: given.ResultsFile = "results.nc",
    suite: given.Suite = "high_level",
    data: given.Data = None,
    seed: given.Seed = 0,
    counts: given.Counts = "{}",
    options: given.ProbeOptions = "{}",
    coord: given.Coord = None,
    *,
    inputs: given.Inputs,
    run: given.Run,
) -> None:
    """Measure one checkpoint and write a labelled dataset.

    `--data own` takes those of the suite's image sets that fit what the checkpoint was trained on.
    """
    _measure(
        [checkpoint], output, suite, data, counts, options, coord, seed=seed, **asdict(run), **inputs.settings()
    )  # fmt: skip


def compare(
    checkpoints: given.Checkpoints,
    output: given.ResultsFile = "results.nc",
    suite: given.Suite = "high_level",
    data: given.Data = None,
    seed: given.Seed = 0,
    counts: given.Counts = "{}",
    options: given.ProbeOptions = "{}",
    mixed: given.Mixed = False,
    names: given.Names = "",
    coord: given.Coord = None,
    executor: given.Executor = None,
    keep_going: given.KeepGoing = None,
    *,
    inputs: given.Inputs,
    run: given.Run,
) -> None:
    """Measure several checkpoints on the same images and line them up in one dataset.

    `--data own` takes those of the suite's image sets that fit what each checkpoint was trained on.
    """
    chosen = [name.strip() for name in names.split(",")] if names else None
    _measure(
        checkpoints, output, suite, data, counts, options, coord, seed=seed, mixed=mixed, names=chosen,
        executor=executor, keep_going=keep_going, **asdict(run), **inputs.settings(),
    )  # fmt: skip


def _measure(
    checkpoints: list[str], output: str, suite: str, data: list[str] | None, counts: str, options: str,
    coord: list[str] | None, **settings: Any,
) -> None:  # fmt: skip
    """What `evaluate` and `compare` share: texts to values, the call, the file."""
    from probekit.errors import ProbekitError

    given.check_writable(output)
    settings |= {
        "counts": given.json_object("counts", counts) or None,
        "options": given.json_object("options", options),
        "coords": given.coords_of(coord) or None,
    }
    from probekit import evaluation

    try:
        ds = evaluation.compare(checkpoints, given.suite_of(suite), given.data_of(data), **settings)
    except ProbekitError as error:
        if error.results is not None:
            _write(error.results, output)
        raise
    _write(ds, output)


def _write(ds: Any, output: str) -> None:
    """Write a results file and name it on standard output."""
    from probekit import schema
    from probekit.errors import ProbeError

    try:
        typer.echo(schema.write(ds, output))
    except OSError as error:
        raise ProbeError(
            f"{output} cannot be written ({error.strerror or error}). With the cache on, the same command with another "
            "--output computes nothing again."
        ) from error


def report(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="A results file (.nc), or checkpoints to evaluate; none for those that ship."),
    ] = None,
    data: given.Data = None,
    suite: given.Suite = "paper",
    output: Annotated[str, typer.Option("--output", "-o", help="The page to write.")] = "report.html",
    results: Annotated[str, typer.Option(help="Where the numbers go, if anything is evaluated.")] = "results.nc",
    export: Annotated[str | None, typer.Option(help="A folder for all figures (SVG, PDF, PNG) and tables.")] = None,
    seed: given.Seed = 0,
    *,
    run: given.Run,
) -> None:
    """Evaluate checkpoints, or read a results file, and write one self-contained page."""
    from probekit.report import command

    command.run(
        sources or [], data=data or [], suite=suite, output=output, results=results, figures=export, seed=seed,
        **asdict(run),
    )  # fmt: skip
