"""The README's table of formats, made from the formats themselves.

python -m probekit.models.formats._table README.md      # rewrites what stands between the markers
"""

from __future__ import annotations

import sys
from pathlib import Path

from probekit.models.formats import formats

BEGIN, END = "<!-- formats -->", "<!-- /formats -->"


def markdown() -> str:
    """One row for each format: what is read, and what the caller must say because the file does not."""
    rows = ["| format | what is read | what you must say |", "|---|---|---|"]
    rows += [f"| {module.NAME} | {module.READS} | {module.SAY} |" for module in formats()]
    return "\n".join(rows)


def replaced(text: str) -> str:
    """A text with the present table between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{markdown()}\n{END}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(replaced(path.read_text()))
