"""Progress in a notebook: one bar in the cell's output, which ends as one line."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from probekit import progress


class Cell:
    """What IPython's `display` shows, and what it becomes."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []

    def display(self, content: dict[str, str], *, raw: bool, display_id: bool) -> Cell:
        assert (raw, display_id) == (True, True)
        self.shown.append(content)
        return self

    def update(self, content: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.shown.append(content)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    found = Cell()
    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=found.display))
    monkeypatch.delenv("PROBEKIT_PROGRESS", raising=False)
    return found


def test_a_run_is_one_bar_that_ends_as_a_line(
    cell: Cell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with progress.run("<model> on set", 1000, "1,000 forwards"):
        for stage in ("features", "partners"):
            with progress.bar(stage, 500, "forwards") as advance:
                for _ in range(50):
                    clock[0] += 0.1
                    advance(10)
    first, last = cell.shown[0], cell.shown[-1]
    assert '<progress value="10" max="1000" aria-label="&lt;model&gt; on set"></progress>' in first["text/html"]
    assert first["text/plain"] == "<model> on set: 10 of 1,000 forwards, 100 forwards/s, about 10 s left"
    assert last["text/plain"] == "<model> on set: 1,000 forwards in 10 s"
    assert "progress" not in last["text/html"]
    assert len(cell.shown) <= 2 + 10 / progress.REFRESH
    assert capsys.readouterr().err == "probekit: <model> on set: 1,000 forwards\n"


def test_other_units_have_a_bar_of_their_own(cell: Cell) -> None:
    with progress.run("model on set", 10, "10 forwards"), progress.bar("reading", 4) as advance:
        advance(4)
    assert cell.shown[0]["text/plain"].startswith("reading: 4 of 4 images")
    assert cell.shown[-1]["text/plain"].startswith("reading: 4 images in")


def test_silence_holds_in_a_notebook_too(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBEKIT_PROGRESS", "0")
    with progress.run("a", 10, "10 forwards"), progress.bar("b", 10, "forwards") as advance:
        advance(10)
    with progress.bar("alone", 10) as advance:
        advance(10)
    assert cell.shown == []


def test_a_real_kernel_shows_one_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROBEKIT_PROGRESS", raising=False)
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    code = (
        "from probekit import progress\n"
        "with progress.run('model on set', 20, '20 forwards'), progress.bar('x', 20, 'forwards') as advance:\n"
        "    for _ in range(20):\n"
        "        advance(1)"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = [one for one in notebook.cells[0].outputs if one.output_type == "display_data"]
    assert len(shown) == 1
    assert shown[0]["data"]["text/plain"].startswith("model on set: 20 forwards in")
    assert not [one for one in notebook.cells[0].outputs if one.output_type == "error"]
