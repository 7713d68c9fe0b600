"""The board says what the results files say, and notices when a page no longer does."""

from __future__ import annotations

from pathlib import Path

import pytest
import synthetic_results
from typer.testing import CliRunner

from probekit import schema
from probekit.cli import app
from probekit.errors import ResultsError
from probekit.report import board


@pytest.fixture
def folder(tmp_path):
    ds = synthetic_results.readings(ratios=(0.5, 0.9), patches=(4,), photos=(0.5,))
    schema.write(ds, tmp_path / "grid.nc")
    (tmp_path / "README.md").write_text("# Board\n\n<!-- board -->\n<!-- /board -->\n\nAfter.\n")
    return tmp_path


def test_every_measured_checkpoint_has_a_row_with_its_interval(folder) -> None:
    assert board.update(folder, [folder / "README.md"]) == [folder / "README.md"]
    text = (folder / "README.md").read_text()
    ds = schema.read(folder / "grid.nc")
    for name in ds.checkpoint.values:
        assert f"| {name} |" in text
    first = ds.gain_amount.isel(checkpoint=0, layer=-1).sel(data="quadtree").item()
    assert f"{first:.2f}"[:4] in text
    assert "python -m probekit.report" in text
    assert "Published, not measured here" in text
    assert text.endswith("\n\nAfter.\n")


def test_drift_is_noticed_and_nothing_is_written(folder) -> None:
    board.update(folder, [folder / "README.md"])
    assert board.update(folder, [folder / "README.md"], check=True) == []
    page = folder / "README.md"
    page.write_text(page.read_text().replace("| quadtree", "| other", 1))
    before = page.read_text()
    done = CliRunner().invoke(app, ["board", str(folder), "--check"])
    assert done.exit_code == 1
    assert "differs from the results files" in done.output
    assert page.read_text() == before


def test_the_board_that_ships_says_what_its_files_say() -> None:
    shipped = Path(__file__).parents[2] / "analyses" / "board"
    assert board.update(shipped, [shipped / "README.md"], check=True) == []
    files = list(shipped.glob("*.nc"))
    assert sum(file.stat().st_size for file in files) < 2e6
    text = (shipped / "README.md").read_text()
    assert "`python analyses/board/run.py quadtree`" in text
    assert text.count("| quadtree-r") == 26


def test_what_is_missing_is_named(tmp_path) -> None:
    with pytest.raises(ResultsError, match="holds no results file"):
        board.tables(tmp_path)
    schema.write(synthetic_results.grid(), tmp_path / "a.nc")
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(ResultsError, match="no place for the board"):
        board.update(tmp_path, [tmp_path / "README.md"])


def test_a_page_that_is_not_there_is_named(folder) -> None:
    with pytest.raises(ResultsError, match=r"no file .*gone\.md"):
        board.update(folder, [folder / "gone.md"])
    with pytest.raises(ResultsError, match="a folder; expected a page of Markdown"):
        board.update(folder, [folder])
