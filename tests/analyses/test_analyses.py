"""Analyses: the numbers of a README are those of its results, results files open, and every run can be tried out."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
ANALYSES = ROOT / "analyses"
sys.path.append(str(ANALYSES))

import writing  # noqa: E402  (it lies in the analyses' own folder)

WITH_NUMBERS = sorted(
    path.parent.name for path in ANALYSES.glob("*/README.md") if "<!-- numbers -->" in path.read_text()
)


def loaded(name: str, file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"analysis_{name}", ANALYSES / name / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_analyses_with_numbers() -> None:
    assert len(WITH_NUMBERS) >= 3


@pytest.mark.parametrize("name", WITH_NUMBERS)
def test_numbers_of_a_readme_are_those_of_its_results(name: str) -> None:
    figures = loaded(name, "figures.py")
    assert writing.numbers_in(ANALYSES / name) == figures.numbers(writing.opened(ANALYSES / name))


@pytest.mark.parametrize("name", WITH_NUMBERS)
def test_every_readme_says_question_command_and_verdict(name: str) -> None:
    text = (ANALYSES / name / "README.md").read_text()
    assert text.startswith("# ")
    assert "?" in text.splitlines()[0]
    assert f"python analyses/{name}/run.py" in text
    assert "**Verdict.**" in text
    assert len((ANALYSES / name / "run.py").read_text().splitlines()) <= 100


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_NUMBERS)
def test_every_run_can_be_tried_out(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ANALYSES / name / "run.py"), "--tiny", "--output", str(tmp_path / "results.nc")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results.nc").is_file()
