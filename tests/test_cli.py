"""The command line itself: what every command shares. What a command does is tested where it is done."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

import probekit
from probekit.cli import app
from probekit.cli.grouping import Lists, grouped
from probekit.errors import ProbeError

RUN = CliRunner()


@pytest.mark.parametrize("module", ["probekit", "probekit.cli"])
def test_the_module_is_the_command(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"mae-probekit {probekit.__version__}\n"


def test_the_shell_completes_commands_and_suites() -> None:
    def completed(words: str) -> str:
        variables = {"_PROBEKIT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        return RUN.invoke(app, [], prog_name="probekit", env=variables).output

    assert {"evaluate", "compare", "inspect"} <= set(completed("probekit ").split())
    assert "high_level" in completed("probekit evaluate A --suite ").split()


def test_the_checkpoints_that_ship_are_listed_with_what_they_were_trained_with() -> None:
    shown = RUN.invoke(app, ["checkpoints"]).output.splitlines()
    folders = sorted(card.parent.name for card in (Path(__file__).parents[1] / "checkpoints").glob("*/config.json"))
    assert [line.split()[0] for line in shown[:-1]] == folders
    assert shown[-1] == f"{len(folders)} checkpoints"
    assert f"the {len(folders)} checkpoints that ship" in (Path(__file__).parents[1] / "README.md").read_text()
    (one,) = (line for line in shown if line.startswith("quadtree-r0.75-p8-s1"))
    assert "ratio 0.75, patch size 8, seed 1, images seen 499968, data quadtree" in one


def test_help_names_what_counts_bounds() -> None:
    from probekit.collect import Counts

    shown = RUN.invoke(app, ["evaluate", "--help"], env={"COLUMNS": "400"}).output
    assert [name for name in Counts.__dataclass_fields__ if name not in shown] == []


@dataclass
class Loudness:
    volume: Annotated[int, typer.Option()] = 3
    words: Annotated[list[str] | None, typer.Option()] = None


def speak(text: str, *, loud: Loudness, end: Annotated[str, typer.Option()] = ".") -> None:
    typer.echo(f"{text}{end} {loud.volume} {loud.words}")


def test_grouped_options_become_options_of_the_command() -> None:
    small = typer.Typer()
    small.command(cls=Lists)(grouped(speak))
    assert RUN.invoke(small, ["hello"]).output == "hello. 3 None\n"
    called = RUN.invoke(small, ["hello", "--volume", "-1", "--words", "a", "b", "--end", "!"])
    assert called.output == "hello! -1 ['a', 'b']\n"


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_counts_that_are_no_object_are_refused(text: str) -> None:
    outcome = RUN.invoke(app, ["evaluate", "CKPT", "--counts", text])
    assert isinstance(outcome.exception, ProbeError)
    assert str(outcome.exception).startswith(f"--counts {text}: expected")


def test_a_missing_attribute_names_the_other_project(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(AttributeError, match=r"Did you mean 'evaluate'\? .* another project, which also imports as"):
        _ = probekit.evalute
    monkeypatch.setattr(metadata, "distribution", lambda name: object())
    with pytest.raises(AttributeError, match=r"it is installed here too.*pip uninstall probekit"):
        _ = probekit.evalute
    with pytest.raises(AttributeError, match=r"no attribute '__wrapped__'$"):
        _ = probekit.__wrapped__


def test_options_of_checkpoints_go_behind_their_names() -> None:
    from probekit.cli.options import Loading

    loading = Loading(mean="0.5,0.5,0.5", num_heads=4)
    assert loading.sources(["a.pth", "b.pth?num-heads=8", "r.nc"]) == [
        "a.pth?mean=0.5,0.5,0.5&num_heads=4", "b.pth?num-heads=8&mean=0.5,0.5,0.5", "r.nc",
    ]  # fmt: skip
    assert Loading().sources(["a.pth", "b.pth?epochs=3"]) == ["a.pth", "b.pth?epochs=3"]


@pytest.mark.parametrize("command", ["inspect", "evaluate", "compare", "features", "report"])
def test_every_command_that_takes_checkpoints_takes_what_their_files_do_not_say(command: str) -> None:
    shown = RUN.invoke(app, [command, "--help"], env={"COLUMNS": "400"}).output
    names = ("mean", "std", "mask-ratio", "patch-size", "epochs", "name", "num-heads", "key")
    more = () if command == "report" else ("image-size", "interpolation", "crop-fraction")
    assert [name for name in (*names, *more) if f"--{name} " not in shown] == []
