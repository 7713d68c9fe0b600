"""No link leads nowhere: Markdown files here, pages of the built site in test_docs."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import ModuleType

import documents
import pytest

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "pages"
GENERATED = ("formats", "protocols", "board", "gallery", "api", "probes/index", "probes/mask_response")


@pytest.fixture(scope="module")
def links() -> ModuleType:
    return documents.module("links")


def test_no_markdown_file_has_a_dead_link(links: ModuleType) -> None:
    files = links.markdown_files()
    assert {"README.md", "CONTRIBUTING.md", "analyses/README.md"} <= {str(file.relative_to(ROOT)) for file in files}
    assert links.broken_in_markdown(files) == []


def test_no_page_of_the_documentation_has_a_dead_link(links: ModuleType) -> None:
    pages = [file for file in PAGES.glob("*.md") if file.stem not in GENERATED]
    assert links.broken_in_markdown(pages, [PAGES / f"{name}.md" for name in GENERATED]) == []


def test_the_navigation_names_pages_that_exist(links: ModuleType) -> None:
    named = [line.split(": ")[1] for line in (ROOT / "docs" / "mkdocs.yml").read_text().splitlines() if ".md" in line]
    written = {f"{name}.md" for name in GENERATED}
    notebooks = {f"notebooks/{file.stem}.md" for file in (ROOT / "docs" / "notebooks").glob("*.py")}
    assert [name for name in named if name not in written | notebooks and not (PAGES / name).is_file()] == []
    assert {file.name for file in PAGES.glob("*.md")} <= set(named)


def test_a_source_distribution_holds_what_the_readme_links_to(links: ModuleType) -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    linked = {link.split("/")[0] for link in links.links_of((ROOT / "README.md").read_text()) if "://" not in link}
    assert {"docs", "analyses", "CITATION.cff"} <= linked
    assert linked | {"README.md", "probekit", "checkpoints", "tests"} <= set(build["sdist"]["include"])
    assert build["wheel"]["force-include"] == {"checkpoints": "probekit/_checkpoints"}


def test_a_dead_link_in_markdown_is_found(links: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# A title: `code`\n\n## Twice\n\n## Twice\n")
    (tmp_path / "here.md").write_text(
        "[a](other.md) [b](missing.md) [c](other.md#a-title-code) [d](other.md#nowhere) [e](#here) [f](https://x.org)\n"
        "[g](other.md#twice-1)\n\n# Here\n\n```\n[h](in-code.md)\n```\n[![i](gone.png)](other.md)\n"
    )
    found = links.broken_in_markdown([tmp_path / "here.md"])
    said = ["missing.md, no such file", "other.md#nowhere, no such anchor", "gone.png, no such file"]
    assert [line.partition(": ")[2] for line in found] == said


def test_a_dead_link_in_a_page_is_found(links: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "index.html").write_text('<h1 id="top">x</h1><a href="../#no">y</a><img src="a.svg">')
    (tmp_path / "index.html").write_text(
        '<p id="yes"></p><a href="sub/#top">a</a><a href="sub/#gone">b</a><a href="/sub/">c</a>'
        '<a href="none/">d</a><a href="mailto:a@b.c">e</a><a href="#yes">f</a>'
    )
    assert links.broken_in_site(tmp_path) == [
        "index.html: sub/#gone, no such anchor",
        "index.html: none/, no such file",
        "sub/index.html: ../#no, no such anchor",
        "sub/index.html: a.svg, no such file",
    ]
