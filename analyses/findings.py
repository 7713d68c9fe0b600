"""The page of findings: every hypothesis of every analysis with its evidence and verdict, written into README.md.

python analyses/findings.py
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
sys.path.append(str(HERE))

import writing  # noqa: E402  (they lie beside this file)
from evidence import Judged, deciding, judged  # noqa: E402  (beside it)

SHOWN = 2
"""Lines of a hypothesis whose numbers stand on the page; the analysis has them all."""


def figures_of(folder: Path) -> ModuleType:
    """The `figures.py` of an analysis."""
    spec = importlib.util.spec_from_file_location(f"analysis_{folder.name}", folder / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def analyses() -> list[Path]:
    """The folders that have hypotheses and results."""
    folders = sorted(path.parent for path in HERE.glob("*/figures.py"))
    return [
        one for one in folders if (one / "results.nc").is_file() and "HYPOTHESES" in (one / "figures.py").read_text()
    ]


def evidence_of(one: Judged) -> str:
    """Of the first lines of a hypothesis the comparisons that decide."""
    known = [line for line in one.lines if line.comparisons]
    parts = [f"{line.title}: {deciding(line.expected, line.comparisons).short}" for line in known[:SHOWN]]
    more = len(known) - SHOWN
    return "<br>".join(parts) + (f"<br>and {more} more" if more > 0 else "")


def page() -> str:
    """The table of all hypotheses."""
    rows = []
    for folder in analyses():
        for one in judged(writing.opened(folder), figures_of(folder).HYPOTHESES):
            link = f"[{folder.name}]({folder.name}/README.md) {one.hypothesis.name}"
            cells = [one.hypothesis.words, one.hypothesis.source, evidence_of(one)]
            rows.append([link, *cells, f"**{one.verdict}**", one.hypothesis.otherwise])
    head = ["where", "hypothesis", "whose", "evidence", "verdict", "what would change our mind"]
    return writing.table(head, rows)


if __name__ == "__main__":
    writing.write_numbers(HERE, page())
