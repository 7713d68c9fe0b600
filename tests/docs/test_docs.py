"""The documentation: every block runs, every probe has a page, every plot a place in the gallery, the site builds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import documents
import pytest

from probekit import plot, probes

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "pages"
WRITTEN = ("index", "level", "encoder", "images", "suites", "probe", "train", "finetune", "detect", "scale")
"""Pages that are written by hand; the others are generated."""


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    return documents.module("generate")


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (PAGES / f"{page}.md").read_text(), flags=re.M | re.S)


@pytest.mark.filterwarnings("ignore")  # examples may warn: that is what they show
@pytest.mark.parametrize("page", [page for page in WRITTEN if blocks(page)])
def test_every_block_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROBEKIT_CACHE", str(tmp_path / "cache"))
    names: dict[str, object] = {"__name__": f"docs_{page}"}
    for block in blocks(page):
        exec(compile(block, f"{page}.md", "exec"), names)


NOTEBOOKS = ("first_steps", "own_checkpoints", "theory", "train_a_grid")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are kept as Python with cells, so that they run as a script too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROBEKIT_CACHE", str(tmp_path / "cache"))
    source = (ROOT / "docs" / "notebooks" / f"{name}.py").read_text()
    assert source.count("# %% [markdown]") >= 3
    exec(compile(source, f"{name}.py", "exec"), {"__name__": f"notebook_{name}"})


def test_every_notebook_is_tried_and_in_the_navigation() -> None:
    assert {path.stem for path in (ROOT / "docs" / "notebooks").glob("*.py")} == set(NOTEBOOKS)
    navigation = (ROOT / "docs" / "mkdocs.yml").read_text()
    assert all(f"notebooks/{name}.md" in navigation for name in NOTEBOOKS)


def test_pages_have_blocks() -> None:
    assert sum(len(blocks(page)) for page in WRITTEN) >= 6


@pytest.mark.parametrize("name", probes.names())
def test_every_probe_has_a_page(name: str, generate: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "drawn", lambda *given: None)
    text = generate.probe_page(name)
    probe = probes.find(name)
    assert probe.summary in text
    for variable in probe.variables:
        assert f"`{variable.name}`" in text
        assert variable.protocol in text
    assert "cost: " in text


@pytest.mark.parametrize("name", probes.names())
def test_every_probe_has_a_picture_of_measured_numbers(name: str, generate: ModuleType) -> None:
    file = generate.drawn(*generate.chart_of(name, probes.find(name)))
    assert file is not None, f"no results file under analyses/ has a number of {name}"


@pytest.mark.parametrize("name", plot.CHARTS)
def test_every_plot_has_a_picture_in_the_gallery(name: str, generate: ModuleType) -> None:
    assert generate.drawn(name, generate.GALLERY.get(name, {})) is not None


def test_the_gallery_shows_the_line_that_draws(generate: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "drawn", lambda *given: generate.BOARD / "quadtree.nc")
    text = generate.gallery_page()
    assert all(f"## {name}\n" in text for name in plot.CHARTS)
    assert 'probekit.plot.over_layers("analyses/board/quadtree.nc", "linear_accuracy")' in text


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-f", "docs/mkdocs.yml", "-d", str(site)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert documents.module("links").broken_in_site(site) == []
    for name in probes.names():
        assert f'src="../{name}.svg"' in (site / "probes" / name / "index.html").read_text()
    for name in plot.CHARTS:
        assert f'src="{name}.svg"' in (site / "gallery" / "index.html").read_text()
