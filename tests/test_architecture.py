"""The shape of the project, held by tests: who may import whom, and what `import probekit` may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "probekit"

ROOMS = [
    "errors", "schema", "cache", "progress", "masking", "latents", "data", "models", "measures",
    "collect", "probes", "evaluation", "training", "report", "cli",
]  # fmt: skip
"""Top to bottom: a room imports only from rooms above it."""

CLOSED = {
    "report": {"schema"},  # a report is drawn from a file, without torch
    "training": {
        "errors",
        "schema",
        "cache",
        "progress",
        "masking",
        "latents",
        "data",
        "models",
    },  # meets the rest through files only
    "measures": {"errors"},  # arithmetic on arrays
}
"""Rooms that may import less than what stands above them."""

GATES = {"report/__main__.py": {"evaluation", "cli", "errors", "models", "data", "progress", "cache"}}
"""The one file of the report that evaluates: it may import more, inside functions."""


def imports(source: str) -> set[str]:
    """Rooms of probekit that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "probekit" and len(parts) > 1:
                found.add(parts[1])
    return found & set(ROOMS)


def allowed(room: str, file: str) -> set[str]:
    above = CLOSED.get(room, set(ROOMS[: ROOMS.index(room)]))
    return above | {room} | GATES.get(file, set())


def violations(file: str, source: str) -> set[str]:
    room = file.split("/")[0].removesuffix(".py")
    return imports(source) - allowed(room, file)


FILES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if "_checkpoints" not in path.parts)


@pytest.mark.parametrize("file", [f for f in FILES if f not in ("__init__.py", "__main__.py")])
def test_imports_only_from_rooms_above(file: str) -> None:
    assert violations(file, (PACKAGE / file).read_text()) == set()


def test_every_top_level_module_is_a_known_room() -> None:
    top = {file.split("/")[0].removesuffix(".py") for file in FILES} - {"__init__", "__main__"}
    assert top <= set(ROOMS)


def test_the_check_can_fail() -> None:
    assert violations("data/folder.py", "from probekit.models import load") == {"models"}
    assert violations("report/charts.py", "def f():\n    import probekit.evaluation") == {"evaluation"}
    assert violations("report/__main__.py", "def f():\n    from probekit.evaluation import compare") == set()


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_import_is_light() -> None:
    heavy = ["torch", "timm", "transformers", "sklearn", "skimage", "xarray", "pandas", "scipy", "altair", "networkx"]
    heavy += ["rich", "typer"]
    assert run(f"import sys, probekit; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_the_light_import_check_can_fail() -> None:
    assert run("import sys, networkx; print('networkx' in sys.modules)") == "True"
