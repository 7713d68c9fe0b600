"""The command line. Each command calls the Python function of the same name; nothing is computed here.

Commands import what they need when they run, so that `probekit --help` is immediate.
"""

from __future__ import annotations

import sys

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which level of representation did this masked autoencoder learn, and how does that follow from its masks?",
)


@app.callback()
def _root() -> None:
    """Holds the commands together."""


def main() -> None:
    """Run the command line; an expected error is one message on standard error and exit code 2."""
    from probekit.errors import ProbekitError

    try:
        app()
    except ProbekitError as error:
        print(f"probekit: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
