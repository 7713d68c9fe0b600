"""The shape of the project, held by tests: who may import whom, and what `import probekit` may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest

PACKAGE = Path(__file__).parents[1] / "probekit"

ROOMS = [
    "constants", "errors", "checks", "dataset_checks", "owners", "files", "seals", "locks", "stopping", "terminal",
    "plugins", "hdf5_checks", "netcdf", "stamps", "variables", "schema", "cache", "progress", "masking", "measures",
    "latents", "data", "models", "results", "plot", "collect", "probes", "evaluation", "training", "detection",
    "report", "cli",
]  # fmt: skip
"""Top to bottom: a room imports only from rooms above it."""

GROUND = {"constants", "errors", "checks", "owners", "files", "seals", "locks", "stopping", "terminal", "plugins"}
"""What every room may import: these import nothing but the standard library."""

CLOSED = {
    "report": {*GROUND, "schema", "measures", "results", "plot"},  # a report is drawn from results, without torch
    "plot": {*GROUND, "schema", "measures", "results"},  # charts of results, without torch
    "results": {*GROUND, "schema", "measures"},  # labelled numbers in, labelled numbers out, without torch
    "training": {
        *GROUND,
        "schema",
        "cache",
        "progress",
        "masking",
        "measures",
        "latents",
        "data",
        "models",
    },  # meets the rest through files only
    "measures": {"constants", "errors", "checks"},  # arithmetic on arrays
}
"""Rooms that may import less than what stands above them."""

GATES = {
    "report/command.py": {"evaluation", "errors", "models", "data", "progress", "cache"},
    "report/__main__.py": {"cli"},
}
"""The one file of the report that evaluates, inside functions, and the one that starts the command line."""


def imported_names(source: str) -> set[str]:
    """Full dotted names of what a module imports from probekit, anywhere in it, under `TYPE_CHECKING` too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("probekit.") for name in found if name.startswith("probekit.")}


def circles(sources: dict[str, str]) -> list[set[str]]:
    """Groups of files that reach each other by imports; a name imported from a package counts as its `__init__`."""
    modules = {file.removesuffix(".py").removesuffix("/__init__").replace("/", "."): file for file in sources}
    graph: nx.DiGraph[str] = nx.DiGraph()
    for module, file in modules.items():
        for name in imported_names(sources[file]):
            target = name if name in modules else name.rpartition(".")[0]
            if target in modules and target != module:
                graph.add_edge(module, target)
    return [set(group) for group in nx.strongly_connected_components(graph) if len(group) > 1]


def imports(source: str) -> set[str]:
    """Rooms of probekit that a module imports, anywhere in it."""
    return {name.split(".")[0] for name in imported_names(source)} & set(ROOMS)


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


def test_no_files_import_each_other() -> None:
    found = circles({file: (PACKAGE / file).read_text() for file in FILES})
    assert found == []


def test_the_search_for_circles_can_fail() -> None:
    two = {"a.py": "def f():\n    from probekit.b import g", "b.py": "import probekit.c", "c/__init__.py": ""}
    assert circles(two) == []
    assert circles(two | {"c/__init__.py": "from probekit import a"}) == [{"a", "b", "c"}]


def test_every_top_level_module_is_a_known_room() -> None:
    top = {file.split("/")[0].removesuffix(".py") for file in FILES} - {"__init__", "__main__"}
    assert top <= set(ROOMS)


def test_the_check_can_fail() -> None:
    assert violations("data/folder.py", "from probekit.models import load") == {"models"}
    assert violations("report/charts.py", "def f():\n    import probekit.evaluation") == {"evaluation"}
    assert violations("report/command.py", "def f():\n    from probekit.evaluation import compare") == set()


LONGEST_FILE = 350
LONGEST_FUNCTION = 60
"""Lines, without the docstring."""
MOST_PARAMETERS = 8
"""By position, of a public function: what goes beyond is given by name."""


def functions(source: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from `def` to its end, without the docstring."""
    first = function.body[0]
    told = ast.get_docstring(function, clean=False) is not None
    assert function.end_lineno is not None
    assert first.end_lineno is not None
    return function.end_lineno - function.lineno + 1 - (first.end_lineno - first.lineno + 1 if told else 0)


def too_large(source: str) -> list[str]:
    """What of a file is longer, or takes more arguments by position, than the project's bars allow."""
    lines = source.count("\n")
    found = [f"{lines} lines"] if lines > LONGEST_FILE else []
    for function in functions(source):
        if body_lines(function) > LONGEST_FUNCTION:
            found.append(f"{function.name}: {body_lines(function)} lines")
        places = [*function.args.posonlyargs, *function.args.args]
        count = len([place for place in places if place.arg not in ("self", "cls")])
        if not function.name.startswith("_") and count > MOST_PARAMETERS:
            found.append(f"{function.name}: {count} parameters by position")
    return found


def reaches_through(source: str) -> list[str]:
    """Where a probe reads the model or the splits behind its measurements, instead of the measurements themselves."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr in ("prepared", "sets")
    ]


@pytest.mark.parametrize("file", FILES)
def test_files_functions_and_signatures_stay_small(file: str) -> None:
    assert too_large((PACKAGE / file).read_text()) == []


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("probes/")])
def test_probes_read_measurements_by_their_documented_names(file: str) -> None:
    assert reaches_through((PACKAGE / file).read_text()) == []


def test_the_checks_of_size_and_reach_can_fail() -> None:
    doc = '    """' + "told\n" * 70 + '    """\n'
    assert too_large("def f(*, a=1, b=1, c=1, d=1, e=1, f=1, g=1, h=1, i=1):\n" + doc + "    pass\n") == []
    assert too_large("def f():\n" + "    pass\n" * 60) == ["f: 61 lines"]
    assert too_large("def f(a, b, c, d, e, f, g, h, i): ...\n") == ["f: 9 parameters by position"]
    assert too_large("\n" * 351) == ["351 lines"]
    assert reaches_through("def run(measurements):\n    return measurements.prepared.shapes") == [
        "measurements.prepared"
    ]


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_import_is_light() -> None:
    heavy = ["torch", "timm", "transformers", "sklearn", "skimage", "xarray", "pandas", "scipy", "altair", "networkx"]
    heavy += ["rich", "typer"]
    assert run(f"import sys, probekit; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_the_light_import_check_can_fail() -> None:
    assert run("import sys, networkx; print('networkx' in sys.modules)") == "True"


NO_TORCH = ["from probekit import contrast, summary", "from probekit.evaluation import seed_spread"]
NO_TORCH += [
    f"import probekit.{file.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}"
    for file in FILES
    if file.startswith(("results/", "plot/", "report/")) and not file.endswith("__main__.py")
]


def brings_torch(code: str) -> str:
    return run(f"import sys\n{code}\nprint(sorted({{'torch', 'timm', 'transformers'}} & set(sys.modules)))")


def test_results_plots_and_report_need_no_torch() -> None:
    assert brings_torch("\n".join(NO_TORCH)) == "[]"


def test_the_check_for_torch_can_fail() -> None:
    assert brings_torch("import probekit.evaluation.comparing") != "[]"


def test_no_two_test_files_share_a_name() -> None:
    """pytest imports test files by their bare name."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
