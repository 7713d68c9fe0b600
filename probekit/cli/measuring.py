"""Commands that measure checkpoints: evaluate, compare, report."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from probekit.cli import options as given


def evaluate(
    checkpoint: given.Checkpoint,
    *,
    output: given.ResultsFile = "results.nc",
    suite: given.Suite = "high_level",
    data: given.Data = None,
    seed: given.Seed = 0,
    counts: given.Counts = "{}",
    options: given.ProbeOptions = "{}",
    coord: given.Coord = None,
    dry_run: given.DryRun = False,
    loading: given.Loading,
    inputs: given.Inputs,
    run: given.Run,
    storing: given.Storing,
) -> None:
    """Measure one checkpoint and write a labelled dataset.

    `--data own` takes those of the suite's image sets that fit what the checkpoint was trained on.
    """
    _measure(
        loading.sources([checkpoint]), output, suite, data, counts, options, coord, seed=seed, dry_run=dry_run,
        **asdict(run), **asdict(storing), **inputs.settings(),
    )  # fmt: skip


def compare(
    checkpoints: given.Checkpoints,
    *,
    output: given.ResultsFile = "results.nc",
    suite: given.SuiteOrOwn = None,
    data: given.Data = None,
    seed: given.SeedOrOwn = None,
    counts: given.Counts = "{}",
    options: given.ProbeOptions = "{}",
    mixed: given.Mixed = False,
    names: given.Names = "",
    coord: given.Coord = None,
    dry_run: given.DryRun = False,
    executor: given.Executor = None,
    keep_going: given.KeepGoing = None,
    shards: given.Shards = 1,
    loading: given.Loading,
    inputs: given.Inputs,
    run: given.Run,
    storing: given.Storing,
) -> None:
    """Measure several checkpoints on the same images and line them up in one dataset.

    `--data own` takes those of the suite's image sets that fit what each checkpoint was trained on. Beside a results
    file, checkpoints are measured with its suite, data, counts and seed, unless others are given.
    """
    chosen = [name.strip() for name in names.split(",")] if names else None
    _measure(
        loading.sources(checkpoints), output, suite, data, counts, options, coord, seed=seed, dry_run=dry_run,
        mixed=mixed, names=chosen,
        executor=executor, keep_going=keep_going, shards=shards,
        **asdict(run), **asdict(storing), **inputs.settings(),
    )  # fmt: skip


def _measure(
    checkpoints: list[str], output: str, suite: str | None, data: list[str] | None, counts: str, options: str,
    coord: list[str] | None, **settings: Any,
) -> None:  # fmt: skip
    """What `evaluate` and `compare` share: texts to values, the call, the file."""
    from probekit.errors import ProbekitError

    dry_run = settings["dry_run"]
    if not dry_run:
        given.check_writable(output)
    settings |= {
        "counts": given.json_object("counts", counts) or None,
        "options": given.json_object("options", options) or None,
        "coords": given.coords_of(coord) or None,
    }
    from probekit import evaluation

    try:
        ds = evaluation.compare(checkpoints, given.suite_of(suite), given.data_of(data), **settings)
    except ProbekitError as error:
        if error.results is not None:
            _write(error.results, output)
        raise
    if dry_run:
        _show_costs(ds)
    else:
        _write(ds, output)


def _show_costs(ds: Any) -> None:
    """The table of a dry run, and its sums."""
    from rich.console import Console
    from rich.table import Table

    from probekit import cache
    from probekit.progress import duration

    table = Table(box=None, pad_edge=False)
    for title in ("checkpoint", "data", "pass", "images", "forwards", "to do", "MB", "about"):
        table.add_column(title, justify="left" if title in ("checkpoint", "data", "pass") else "right")
    rows = ds.to_dataframe().itertuples()
    for row in rows:
        numbers = (f"{number:,}" for number in (row.images, row.forwards, row.missing_forwards))
        size = f"{row.bytes / 1e6:,.1f}" if row.bytes else ""
        table.add_row(row.checkpoint, row.data, row.stage, *numbers, size, duration(row.seconds))
    console = Console(highlight=False)
    console.print(table)
    left, seconds = int(ds.missing_forwards.sum()), float(ds.seconds.sum())
    console.print(f"{left:,} forwards to do, about {duration(seconds)}, besides the fits; nothing was written.")
    stored = float(ds.bytes.where(ds.missing_forwards > 0, 0).sum()) / 1e6
    if stored:
        free = f"{cache.room() / 1e6:,.0f} MB are free"
        console.print(f"They store {stored:,.1f} MB of features and tokens in {cache.folder()}, where {free}.")


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


def features(
    checkpoint: given.Checkpoint,
    data: Annotated[str, typer.Option(help="An image set, e.g. shapes or imagefolder:DIR.")],
    output: Annotated[str, typer.Option("--output", "-o", help="The file to write: .nc, or .zarr (a folder).")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    count: Annotated[int | None, typer.Option(help="How many images; none for all.")] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float16.")] = "float32",
    *,
    loading: given.Loading,
    inputs: given.Inputs,
    run: given.Run,
) -> None:
    """Write the pooled features of an image set: (image, layer, pooling, width), with labels and paths."""
    from probekit import evaluation
    from probekit.errors import ProbeError

    if not output.rstrip("/").endswith((".nc", ".zarr")):
        raise ProbeError(f"--output {output}: expected a name that ends in .nc or .zarr.")
    given.check_writable(output.rstrip("/"), folder=output.rstrip("/").endswith(".zarr"))
    ds = evaluation.features(
        loading.sources([checkpoint])[0],
        data,
        split,
        count=count,
        dtype=dtype,
        **inputs.settings(),
        **asdict(run) | {"precision": run.precision or "float32"},
    )
    typer.echo(_write_array(ds, output.rstrip("/")))


def _write_array(ds: Any, output: str) -> str:
    """A dataset as netCDF or zarr, by the ending of its name, whole or not at all."""
    from probekit.files import written_whole

    with written_whole(output) as part:
        if output.endswith(".zarr"):
            ds.to_zarr(part, zarr_format=2, consolidated=True)  # version 3 has no standard for texts yet
        else:
            ds.to_netcdf(part, engine="h5netcdf")
    return output


def report(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="A results file (.nc), or checkpoints to evaluate; none for those that ship."),
    ] = None,
    *,
    data: given.Data = None,
    suite: given.Suite = "paper",
    output: Annotated[str, typer.Option("--output", "-o", help="The page to write.")] = "report.html",
    results: Annotated[str, typer.Option(help="Where the numbers go, if anything is evaluated.")] = "results.nc",
    export: Annotated[str | None, typer.Option(help="A folder for all figures (SVG, PDF, PNG) and tables.")] = None,
    figure: Annotated[
        list[str] | None,
        typer.Option(help="With --export: only figures of this name, e.g. 'layers-*'; may be repeated."),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Group and colour by a coordinate of the checkpoints, your own included.")
    ] = None,
    seed: given.Seed = 0,
    executor: given.Executor = None,
    keep_going: given.KeepGoing = None,
    loading: given.Loading,
    run: given.Run,
) -> None:
    """Evaluate checkpoints, or read a results file, and write one self-contained page."""
    from probekit.report import command

    command.run(
        loading.sources(sources or []), data=data or [], suite=suite, output=output, results=results, figures=export,
        names=figure or [], by=by, seed=seed, executor=executor, keep_going=keep_going, **asdict(run),
    )  # fmt: skip
