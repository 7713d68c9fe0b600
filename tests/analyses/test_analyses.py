"""Analyses: numbers of a README are those of its results, results files open, every run can be tried out."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from probekit import models, netcdf, schema

ROOT = Path(__file__).parents[2]
ANALYSES = ROOT / "analyses"
sys.path.append(str(ANALYSES))

import evidence  # noqa: E402  (they lie in the analyses' own folder)
import findings  # noqa: E402  (beside it)
import writing  # noqa: E402  (beside it)

NAMES = sorted(path.parent.name for path in ANALYSES.glob("*/run.py"))
MEASURED = [name for name in NAMES if (ANALYSES / name / "results.nc").is_file()]


def test_there_are_analyses() -> None:
    assert {"level_vs_masking", "reconstruction_vs_masking", "attention_vs_masking", "ordinary_images"} <= set(NAMES)
    assert len(MEASURED) >= 3


SIMULATED = {"coverage", "measure_sensitivity"}
"""Not of checkpoints one by one, so not in the schema."""


@pytest.mark.parametrize("name", sorted(SIMULATED))
def test_simulations_open_and_say_where_they_come_from(name: str) -> None:
    assert netcdf.read(ANALYSES / name / "results.nc", "").attrs["provenance"]


@pytest.mark.parametrize("name", sorted({*MEASURED} - SIMULATED))
def test_results_open_with_the_current_version(name: str) -> None:
    ds = schema.read(ANALYSES / name / "results.nc")
    assert ds.attrs["schema_version"] == schema.SCHEMA_VERSION


FILES = sorted(str(path.relative_to(ANALYSES)) for path in ANALYSES.glob("*/*.nc"))
DIGEST = re.compile(r"[0-9a-f]{64}")


@pytest.mark.parametrize("file", [file for file in FILES if Path(file).parts[0] not in SIMULATED])
def test_results_are_of_the_weights_that_ship(file: str) -> None:
    """A checkpoint by a shipped name was measured with the weights that now have it."""
    ds = schema.read(ANALYSES / file)
    measured = set(DIGEST.findall(ds.attrs.get("provenance", "")))
    named = {name for name in map(str, ds["checkpoint"].values) if not name.startswith("untrained")}
    for name in named & set(models.shipped()):
        assert models.load(f"shipped:{name}", device="cpu").card.sha256 in measured, name


@pytest.mark.parametrize("name", MEASURED)
def test_numbers_of_a_readme_are_those_of_its_results(name: str) -> None:
    figures = findings.figures_of(ANALYSES / name)
    assert writing.numbers_in(ANALYSES / name) == figures.numbers(writing.opened(ANALYSES / name))


def test_the_page_of_findings_says_what_the_results_say() -> None:
    assert writing.numbers_in(ANALYSES) == findings.page()


@pytest.mark.parametrize("name", MEASURED)
def test_every_readme_says_question_command_and_verdict(name: str) -> None:
    text = (ANALYSES / name / "README.md").read_text()
    assert text.startswith("# ")
    assert "?" in text.splitlines()[0]
    assert f"python analyses/{name}/run.py" in text
    assert "**Verdict.**" in text


@pytest.mark.parametrize("name", MEASURED)
def test_figures_are_there_as_svg_pdf_and_png(name: str) -> None:
    found = {path.suffix: path.stem for path in (ANALYSES / name).iterdir() if path.suffix in (".svg", ".pdf", ".png")}
    assert set(found) == {".svg", ".pdf", ".png"}
    for picture in (ANALYSES / name).glob("*.png"):
        assert picture.with_suffix(".svg").is_file(), picture
        assert picture.with_suffix(".pdf").is_file(), picture


@pytest.mark.parametrize("name", NAMES)
def test_runs_are_short(name: str) -> None:
    assert len((ANALYSES / name / "run.py").read_text().splitlines()) <= 100


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_run_can_be_tried_out(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ANALYSES / name / "run.py"), "--tiny", "--output", str(tmp_path / "results.nc")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    if name in SIMULATED:
        assert netcdf.read(tmp_path / "results.nc", "").attrs["provenance"]
    else:
        schema.read(tmp_path / "results.nc")


def line(expected: str, values: Mapping[str, list[float]], **more: float | str) -> evidence.Line:
    settings = {name: {float(seed): value for seed, value in enumerate(one)} for name, one in values.items()}
    return evidence.Line("a quantity", expected, settings, **more)  # type: ignore[arg-type]


def verdict(*lines: evidence.Line) -> list[str]:
    return [evidence.verdict_of(one, each) for one, each in zip(lines, evidence.compared(lines), strict=True)]


RISING = {"a": [1.0, 1.1, 1.05, 1.02], "b": [2.0, 2.05, 2.1, 2.0], "c": [3.0, 3.1, 2.95, 3.05]}
PEAKING = {"a": [1.0, 1.1, 1.05, 1.02], "b": [2.0, 2.05, 2.1, 2.0], "c": [1.5, 1.6, 1.55, 1.5]}
UNSURE = {"a": [1.0, 3.0, 2.0, 1.5], "b": [2.5, 1.0, 2.0, 2.2], "c": [1.8, 2.6, 1.2, 2.4]}


def test_verdicts_on_trends() -> None:
    assert verdict(line("rises", RISING), line("falls", RISING), line("rises", UNSURE)) == [
        "supported",
        "contradicted",
        "open",
    ]
    assert verdict(line("rises", PEAKING)) == ["in part"]  # the trend is there, but the means do not run one way


def test_verdicts_on_peaks() -> None:
    assert verdict(line("peaks", PEAKING, best="b")) == ["supported"]
    assert verdict(line("peaks", RISING, best="b")) == ["contradicted"]
    assert verdict(line("peaks", UNSURE, best="b")) == ["open"]


def test_verdicts_on_settings_that_should_be_alike() -> None:
    near = {"a": [1.0, 1.1, 1.05, 1.02], "b": [1.01, 1.1, 1.06, 1.0]}
    assert verdict(line("alike", near, margin=0.1)) == ["supported"]
    assert verdict(line("alike", near, margin=0.001)) == ["open"]
    assert verdict(line("alike", RISING, margin=0.1)) == ["contradicted"]


def test_one_seed_supports_nothing() -> None:
    assert verdict(line("rises", {"a": [1.0], "b": [2.0]})) == ["not measured"]
    assert evidence.together(["not measured", "supported"]) == "supported"
    assert evidence.together(["supported", "open"]) == "in part"
    assert evidence.together(["supported", "contradicted"]) == "mixed"
    assert evidence.together(["open", "contradicted"]) == "contradicted"


def test_more_comparisons_make_every_one_stricter() -> None:
    modest = {"a": [1.0, 1.4, 1.2, 1.3], "b": [1.5, 1.6, 1.7, 1.6]}
    alone = evidence.compared([line("rises", modest)])[0][0]
    among = evidence.compared([line("rises", modest), *[line("rises", UNSURE)] * 20])[0][0]
    assert alone.estimate == among.estimate == pytest.approx(0.375)
    assert alone.p < 0.05 < among.p
    assert np.isclose(alone.half, among.half)  # intervals are not corrected
