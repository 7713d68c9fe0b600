"""The command line. Each command calls the Python function of the same name; nothing is computed here.

Commands import what they need when they run, so that `probekit --help` is immediate.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from probekit.cli import looking, measuring, pretraining
from probekit.cli.grouping import Lists, grouped

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which level of representation did this masked autoencoder learn, and how does that follow from its masks?",
)
for command in (
    looking.inspect,
    looking.probes,
    measuring.evaluate,
    measuring.compare,
    measuring.features,
    measuring.report,
    pretraining.train,
):
    app.command(cls=Lists)(grouped(command))

data_app = typer.Typer(no_args_is_help=True, help="Look at image sets.")
data_app.command("show")(looking.data_show)
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


def main() -> None:
    """Run the command line; an expected error is one message on standard error and exit code 2, a warning a line."""
    import warnings

    from probekit.errors import ProbekitError

    warnings.formatwarning = lambda message, *_, **__: f"probekit: {message}\n"  # a line of source says nothing here
    try:
        app(prog_name="probekit")
    except ProbekitError as error:
        print(f"probekit: {error}", file=sys.stderr)
        sys.exit(2)
