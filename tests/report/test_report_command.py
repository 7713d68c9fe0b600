"""`python -m probekit.report` on files good and bad: a page, or one sentence and exit code 2."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import synthetic_results
import xarray as xr
from PIL import Image

from probekit import cli, netcdf, report, schema
from probekit.report import __main__ as alone
from probekit.report import command
from probekit.report.exporting import as_latex, escaped
from probekit.report.tables import Table, TableCell, cell


@pytest.fixture(scope="module")
def small() -> xr.Dataset:
    return synthetic_results.grid(ratios=(0.25, 0.75), patches=(4, 8), seeds=(0,), photos=())


@pytest.fixture
def file(small: xr.Dataset, tmp_path: Path) -> Path:
    return schema.write(small, tmp_path / "results.nc")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROBEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("probekit.report.page.vega_bundle", lambda: "// vega")


def told(arguments: list[str], monkeypatch, capsys) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command."""
    monkeypatch.setattr(sys, "argv", ["probekit", "report", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    out = capsys.readouterr()
    return int(left.value.code or 0), out.out, out.err


def test_a_file_gives_a_page_a_table_and_the_answer(file, tmp_path, monkeypatch, capsys) -> None:
    page = tmp_path / "page.html"
    code, out, err = told([str(file), "-o", str(page)], monkeypatch, capsys)
    assert (code, err) == (0, "")
    assert "<title>Representation level" in page.read_text()
    assert "quadtree-r0.25-p4-s0" in out
    assert str(page) in out.replace("\n", "")


def test_a_file_alone_gives_the_same_page_without_the_command_line(file, tmp_path, monkeypatch, capsys) -> None:
    told([str(file), "-o", str(tmp_path / "page.html")], monkeypatch, capsys)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gc.disable", lambda: None)
    monkeypatch.setattr(cli, "main", lambda: pytest.fail("the command line was asked"))
    monkeypatch.setattr(sys, "argv", ["report", str(file)])
    alone.main()
    assert (tmp_path / "report.html").read_text() == (tmp_path / "page.html").read_text()
    monkeypatch.setattr(sys, "argv", ["report", str(tmp_path / "missing.nc")])
    with pytest.raises(SystemExit, match="2"):
        alone.main()
    assert "No results file" in capsys.readouterr().err


def test_the_script_is_kept_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command.bundle() == "// vega"
    monkeypatch.setattr("probekit.report.page.vega_bundle", lambda: pytest.fail("made again"))
    assert command.bundle() == "// vega"


@pytest.mark.parametrize("kept", [False, True])
def test_processes_start_at_once_only_where_all_is_to_be_measured(kept, small, tmp_path, monkeypatch) -> None:
    told = []

    class Workers:
        def __init__(self, count: int) -> None:
            told.append("made")

        def begin(self) -> None:
            told.append("begun")

        def close(self) -> None:
            told.append("closed")

    monkeypatch.setattr("probekit.evaluation.executors.LocalWorkers", Workers)
    monkeypatch.setattr(command, "cores", lambda: 2)
    monkeypatch.setattr("probekit.evaluation.compare", lambda *_, **settings: told.append("measured") or small)
    if kept:
        (tmp_path / "cache/results").mkdir(parents=True)
        (tmp_path / "cache/results/a.npz").write_bytes(b"")
    command.run(output=str(tmp_path / "page.html"), results=str(tmp_path / "results.nc"))
    assert told == ["made", *([] if kept else ["begun"]), "measured", "closed"]


def newer(file: Path) -> None:
    ds = schema.read(file).assign_attrs(schema_version=99)
    file.unlink()
    netcdf.write(ds, file)


SPOILT = {
    "truncated": (lambda file: file.write_bytes(file.read_bytes()[:5000]), "cannot be read as netCDF"),
    "empty": (lambda file: file.write_bytes(b""), "is empty"),
    "text": (lambda file: file.write_text("not netCDF at all"), "cannot be read as netCDF"),
    "newer": (newer, "schema version 99"),
    "missing": (Path.unlink, "No results file"),
    "other": (lambda file: netcdf.write(xr.Dataset({"a": 1}), file), "no probekit results file"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_bad_file_is_one_sentence_and_exit_code_2(how, file, tmp_path, monkeypatch, capsys) -> None:
    spoil, expected = SPOILT[how]
    spoil(file)
    page = tmp_path / "page.html"
    code, _, err = told([str(file), "-o", str(page)], monkeypatch, capsys)
    assert code == 2
    assert expected in err
    assert "Traceback" not in err
    assert not page.exists()


def test_a_folder_that_is_not_there_is_named(file, monkeypatch, capsys) -> None:
    code, _, err = told([str(file), "-o", "/nowhere/at/all/page.html"], monkeypatch, capsys)
    assert code == 2
    assert "there is no folder /nowhere/at/all" in err


def test_a_folder_in_place_of_the_page_is_named(file, tmp_path, monkeypatch, capsys) -> None:
    code, _, err = told([str(file), "-o", str(tmp_path)], monkeypatch, capsys)
    assert code == 2
    assert "it is a folder" in err


@pytest.mark.parametrize("attribute", ["not_applicable", "provenance"])
@pytest.mark.parametrize("text", ["{broken", "null", "[]"])
def test_an_attribute_that_is_no_json_object_is_named(attribute, text, small, tmp_path, monkeypatch, capsys) -> None:
    netcdf.write(small.assign_attrs({attribute: text}), tmp_path / "changed.nc")
    code, _, err = told([str(tmp_path / "changed.nc"), "-o", str(tmp_path / "page.html")], monkeypatch, capsys)
    assert code == 2
    assert f"The attribute {attribute} is" in err


def test_the_command_line_has_the_command() -> None:
    assert "report" in {entry.name or entry.callback.__name__ for entry in cli.app.registered_commands}


def test_export_writes_every_figure_and_table(small: xr.Dataset, tmp_path: Path) -> None:
    few = ["representation_level", "representation_level_ci", "representation_level_image"]
    pictures = ["example_image", "example_hidden", "example_reconstruction"]
    ds = small[few + pictures].isel(layer=[0, 6])
    written = report.export(ds, tmp_path / "figures")
    names = {path.name for path in written}
    for stem in ("headline-heat-map", "headline-curve", "layers-representation_level-1", "differences"):
        assert {f"{stem}.{suffix}" for suffix in ("svg", "pdf", "png")} <= names
    assert {"summary-quadtree.csv", "summary-quadtree.tex", "numbers-representation_level.csv"} <= names
    for path in written:
        head = path.read_bytes()[:400]
        if path.suffix == ".svg":
            assert head.startswith(b"<svg")
            assert b"var(--" not in path.read_bytes()
        elif path.suffix == ".pdf":
            assert head.startswith(b"%PDF")
        elif path.suffix == ".png":
            with Image.open(path) as image:
                assert min(image.size) > 10
    with open(tmp_path / "figures" / "numbers-representation_level.csv", newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == int(np.isfinite(ds.representation_level).sum())
    place = {dim: rows[0][dim] for dim in ("checkpoint", "data", "pooling", "scaling")}
    assert float(rows[0]["value"]) == pytest.approx(float(ds.representation_level.sel(place).isel(layer=0)))


def test_latex_prints_text_as_it_is() -> None:
    assert escaped("50 % of a_b & {x}\\") == r"50 \% of a\_b \& \{x\}\textbackslash{}"
    text = as_latex(Table("t", "A_title", ["x"], [[TableCell("1.0", "0.9, 1.1")]]))
    assert r"1.0 {\scriptsize [0.9, 1.1]} \\" in text
    assert r"A\_title" in text


def test_digits_follow_the_interval() -> None:
    assert cell(0.73149, np.array([0.70182, 0.76012])) == TableCell("0.731", "0.702, 0.760")
    assert cell(-3.14159, np.array([-4.0, -2.0])) == TableCell("−3.1", "−4.0, −2.0")
    assert cell(12.3456, None) == TableCell("12.3")
    assert cell(float("nan"), None) == TableCell("–")
