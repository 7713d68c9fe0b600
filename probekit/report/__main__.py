"""`python -m probekit.report ARGS` is `probekit report ARGS`.

A results file alone needs no parser of options, whose import takes a tenth of the time of such a report.
"""

import gc
import sys

from probekit.stopping import end_on_interrupt


def main() -> None:
    """Write the report of a results file, or hand the arguments to the command line."""
    end_on_interrupt()
    arguments = sys.argv[1:]
    if len(arguments) == 1 and arguments[0].endswith(".nc") and not arguments[0].startswith("-"):
        from probekit.terminal import run_command, stoppable

        gc.disable()  # the process ends with its page, and so does what it would collect; saves a tenth of the time
        run_command(stoppable(lambda: _from_file(arguments), ""))
    else:
        from probekit import cli

        sys.argv[:1] = ["probekit", "report"]
        cli.main()


def _from_file(sources: list[str]) -> None:
    from probekit.report import command

    command.run(sources)


if __name__ == "__main__":
    main()
