"""`python -m probekit.report ARGS` is `probekit report ARGS`."""

import sys

from probekit.cli import main

if __name__ == "__main__":
    sys.argv[:1] = ["probekit", "report"]
    main()
