"""The options of the command line, each declared once; commands that share several take a dataclass of them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Annotated, Any

import typer

CHECKPOINT_HELP = "A file, a directory, a hub id, timm:NAME or shipped:NAME."

Checkpoint = Annotated[str, typer.Argument(help=CHECKPOINT_HELP)]
Checkpoints = Annotated[list[str], typer.Argument(help="Checkpoints; a results file (.nc) is taken as measured.")]
ImageSet = Annotated[str, typer.Argument(help="An image set, e.g. quadtree, shapes:conflict or imagefolder:DIR.")]
Data = Annotated[
    list[str] | None, typer.Option(help="Image sets; none for the suite's own; `own` for those that fit each one.")
]
Suite = Annotated[str, typer.Option(help="A suite, or probes with commas.", autocompletion=lambda: _suites())]
ResultsFile = Annotated[str, typer.Option("--output", "-o", help="The results file to write.")]
Seed = Annotated[int, typer.Option(help="Of masks, partners, views, fits and intervals.")]
Counts = Annotated[
    str,
    typer.Option(
        help='How many images, as JSON: {"train": 500, "test": 200}. Names: train, val, test (of each split), images '
        "(attention, reconstruction), pairs (low level), objects and views (label-free), shifted (each shifted set), "
        "gradients, pictures."
    ),
]
ProbeOptions = Annotated[str, typer.Option(help='Options of probes, as JSON: {"knn": {"ks": [5]}}.')]
Mixed = Annotated[bool, typer.Option(help="Line up different protocols too, and mark them.")]
Names = Annotated[str, typer.Option(help="What to call those that are measured, with commas.")]


@dataclass
class Run:
    """How images are computed: nothing here changes a result, except `precision`."""

    batch_size: Annotated[int, typer.Option(help="Images per forward.")] = 64
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto"
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32"
    workers: Annotated[int, typer.Option(help="Processes that decode images.")] = 0
    cache: Annotated[bool, typer.Option(help="Keep and use measurements and results.")] = True


def _suites() -> list[str]:
    """For the shell's completion."""
    from probekit import probes
    from probekit.evaluation import SUITES

    return [*SUITES, *probes.names()]


def json_object(name: str, text: str) -> dict[str, Any]:
    """The object that the option `--name` gives as JSON.

    Raises:
        ProbeError: no JSON, or no object.
    """
    from probekit.errors import ProbeError

    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ProbeError(f"--{name} {text}: expected JSON, such as '{{\"test\": 200}}' ({error}).") from error
    if not isinstance(value, dict):
        raise ProbeError(f"--{name} {text}: expected an object in braces, such as '{{\"test\": 200}}'.")
    return value


def listed(text: str) -> list[str]:
    """The parts of a text with commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def suite_of(text: str) -> str | list[str]:
    """A suite's name, or the probes of a text with commas."""
    return listed(text) if "," in text else text


def data_of(values: list[str] | None) -> str | list[str] | None:
    """Image sets as `compare` takes them."""
    return "own" if values == ["own"] else values or None


def check_writable(output: str) -> None:
    """A `ProbeError`, before anything is measured, if a file cannot be written there."""
    from probekit.errors import ProbeError

    folder = os.path.dirname(output) or "."
    if os.path.isdir(output):
        raise ProbeError(f"--output {output} is a folder. Name the file to write, such as {output}/results.nc.")
    if not os.path.isdir(folder):
        raise ProbeError(f"--output {output}: there is no folder {folder}. Make it first, or name one that exists.")
