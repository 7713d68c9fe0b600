"""The command line. Each command calls the Python function of the same name; nothing is computed here."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from probekit.stopping import end_on_interrupt

if TYPE_CHECKING:
    from probekit.cli.commands import app as app

ANSWERS = ("inspect", "probes", "checkpoints")
"""Commands whose answer is standard output alone, so that losing it is a failure."""


def __getattr__(name: str) -> Any:
    """`app`, the commands for typer, which is imported on first use: `main` must be ready for Ctrl-C before that."""
    if name == "app":
        from probekit.cli.commands import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main() -> None:
    """Run the command line; see `terminal.run_command` for errors and exit codes."""
    end_on_interrupt()
    from probekit.cli.commands import app
    from probekit.terminal import run_command

    run_command(lambda: app(prog_name="probekit"), answers=" ".join(sys.argv[1:2]) in ANSWERS)
