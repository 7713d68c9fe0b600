"""The commands, for typer.

Commands import what they need when they run, so that `probekit --help` is immediate.
"""

from __future__ import annotations

from typing import Annotated

import typer

from probekit.cli import detecting, looking, measuring, training
from probekit.cli.grouping import Lists, grouped
from probekit.terminal import stoppable

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which level of representation did this masked autoencoder learn, and how does that follow from its masks?",
)
KEPT = "What was measured is kept: the same command goes on from there."
STATE = "The last saved state is kept: the same command goes on from there."

for command, kept in (
    (looking.inspect, ""),
    (looking.probes, ""),
    (looking.checkpoints, ""),
    (looking.board, ""),
    (measuring.evaluate, KEPT),
    (measuring.compare, KEPT),
    (measuring.features, KEPT),
    (measuring.report, KEPT),
    (training.train, STATE),
    (training.finetune, STATE),
    (detecting.detect, STATE),
):
    app.command(cls=Lists)(stoppable(grouped(command), kept))

data_app = typer.Typer(no_args_is_help=True, help="Look at image sets.")
data_app.command("show")(stoppable(looking.data_show, ""))
app.add_typer(data_app, name="data")


def _print_version(wanted: bool) -> None:
    if wanted:
        import probekit

        typer.echo(f"mae-probekit {probekit.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the command itself."""
