"""The options of the command line, each declared once; commands that share several take a dataclass of them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

CHECKPOINT_HELP = (
    "A file, a directory, a hub id, timm:NAME or shipped:NAME; options behind it: PATH?num_heads=4&epochs=800."
)

Checkpoint = Annotated[str, typer.Argument(help=CHECKPOINT_HELP)]
Checkpoints = Annotated[list[str], typer.Argument(help="Checkpoints; a results file (.nc) is taken as measured.")]
ImageSet = Annotated[str, typer.Argument(help="An image set, e.g. quadtree, shapes:conflict or imagefolder:DIR.")]
Data = Annotated[
    list[str] | None, typer.Option(help="Image sets; none for the suite's own; `own` for those that fit each one.")
]
Suite = Annotated[str, typer.Option(help="A suite, or probes with commas.", autocompletion=lambda: _suites())]
SuiteOrOwn = Annotated[
    str | None,
    typer.Option(
        help="A suite, or probes with commas; none for that of the results among the checkpoints, or high_level.",
        autocompletion=lambda: _suites(),
    ),
]
ResultsFile = Annotated[str, typer.Option("--output", "-o", help="The results file to write.")]
Seed = Annotated[int, typer.Option(help="Of masks, partners, views, fits and intervals.")]
SeedOrOwn = Annotated[
    int | None,
    typer.Option(help="Of masks, partners, views, fits and intervals; none for that of the results among them, or 0."),
]
Counts = Annotated[
    str,
    typer.Option(
        help='How many images, as JSON: {"train": 500, "test": 200}. Names: train, val, test (of each split), images '
        "(attention, reconstruction), pairs (low level), objects and views (label-free), shifted (each shifted set), "
        "ladder (level ladder), masked (mask response), gradients, pictures."
    ),
]
ProbeOptions = Annotated[str, typer.Option(help='Options of probes, as JSON: {"knn": {"ks": [5]}}.')]
Mixed = Annotated[bool, typer.Option(help="Line up different protocols too, and mark them.")]
Coord = Annotated[
    list[str] | None,
    typer.Option(help="Own coordinates along checkpoint: loss=0.31, or loss=0.31,0.4 for two. Kept, and grouped by."),
]
Executor = Annotated[
    str | None,
    typer.Option(help="Where to measure, a task per checkpoint: local:N, dask:ADDRESS, slurm[:PARTITION]."),
]
Shards = Annotated[int, typer.Option(help="How many workers of the executor share the images of one checkpoint.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Measure one batch alone, and print what would be done and how long.")
]
KeepGoing = Annotated[
    bool | None, typer.Option(help="Measure the others if a checkpoint fails; on with --executor.", show_default=False)
]
Names = Annotated[str, typer.Option(help="What to call those that are measured, with commas.")]


@dataclass
class Run:
    """How images are computed: nothing here changes a result, except `precision`."""

    batch_size: Annotated[int, typer.Option(help="Images per forward.")] = 64
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto"
    precision: Annotated[str | None, typer.Option(help="float32 (default), bfloat16 or float16.")] = None
    workers: Annotated[int, typer.Option(help="Processes that decode images.")] = 0
    cache: Annotated[bool, typer.Option(help="Keep and use measurements and results.")] = True


@dataclass
class Storing:
    """How pooled features are stored and read, which matters where images are many."""

    features_dtype: Annotated[str | None, typer.Option(help="float32 (default), or float16 in half the bytes.")] = None
    memory: Annotated[float, typer.Option(help="GiB of features that a fit may hold; more are read in chunks.")] = 1.0


@dataclass
class Loading:
    """What a checkpoint's file does not say, for all checkpoints of the command; one's own goes behind its name."""

    mean: Annotated[str | None, typer.Option(help="Of pixels in [0, 1] by channel: 0.5,0.5,0.5.")] = None
    std: Annotated[str | None, typer.Option(help="Of pixels in [0, 1] by channel: 0.5,0.5,0.5.")] = None
    mask_ratio: Annotated[str | None, typer.Option(help="Of its training, or low,high.")] = None
    patch_size: Annotated[str | None, typer.Option(help="The unit hidden in its training, in pixels.")] = None
    epochs: Annotated[float | None, typer.Option(help="Of its training.")] = None
    name: Annotated[str | None, typer.Option(help="For labels.")] = None
    key: Annotated[str | None, typer.Option(help="Which network of a file with several: an entry or prefix.")] = None
    num_heads: Annotated[int | None, typer.Option(help="Of the encoder.")] = None
    decoder_num_heads: Annotated[int | None, typer.Option(help="Of the decoder.")] = None
    layer_norm_eps: Annotated[float | None, typer.Option(help="Of every layer norm.")] = None
    rotary: Annotated[str | None, typer.Option(help="timm's name of a model with the same rotary positions.")] = None
    normalised_targets: Annotated[bool | None, typer.Option(help="Whether it predicts normalised pixels.")] = None

    def sources(self, texts: list[str], **more: object) -> list[str]:
        """The checkpoints with these options behind their names, as `probekit.load` reads them; their own win.

        >>> Loading(num_heads=4).sources(["a.pth", "b.pth?num_heads=8", "r.nc"])
        ['a.pth?num_heads=4', 'b.pth?num_heads=8', 'r.nc']
        """
        options = {key: value for key, value in (asdict(self) | more).items() if value is not None}
        return [_with_options(text, options) for text in texts]


def _with_options(text: str, options: dict[str, object]) -> str:
    """A checkpoint's name with options behind it, those left out that it has; results files have none."""
    path, mark, query = text.partition("?")
    if path.endswith((".nc", ".zarr")) or (os.path.lexists(text) and mark):
        return text
    own = {part.partition("=")[0].replace("-", "_") for part in query.split("&")}
    more = [f"{key}={value}" for key, value in options.items() if key not in own]
    return "?".join([path, "&".join(filter(None, [query, *more]))]) if query or more else text


@dataclass
class Inputs:
    """How images go in, and what of the model is fitted; what is not given is as the checkpoint says."""

    image_size: Annotated[str | None, typer.Option(help="Pixels: a side, or HEIGHT,WIDTH.")] = None
    crop_fraction: Annotated[float | None, typer.Option(help="Share of the shorter side that is kept.")] = None
    interpolation: Annotated[str | None, typer.Option(help="bicubic, bilinear, nearest, lanczos, box, none.")] = None
    layers: Annotated[list[int] | None, typer.Option(help="Layers to fit: 0 embedding, -1 the last; none for all.")] = (
        None
    )
    sampling: Annotated[str, typer.Option(help="Fewer images: drawn proportional to the classes, or balanced.")] = (
        "proportional"
    )
    poolings: Annotated[list[str] | None, typer.Option(help="Poolings to fit: cls, mean, native; none for all.")] = None

    def settings(self) -> dict[str, Any]:
        """As `evaluate` and `compare` take them."""
        return {
            "image_size": sides_of(self.image_size),
            "crop_fraction": self.crop_fraction,
            "interpolation": self.interpolation,
            "layers": self.layers or None,
            "poolings": self.poolings or None,
            "sampling": self.sampling,
        }


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


def suite_of(text: str | None) -> str | list[str] | None:
    """A suite's name, or the probes of a text with commas."""
    return listed(text) if text is not None and "," in text else text


def data_of(values: list[str] | None) -> str | list[str] | None:
    """Image sets as `compare` takes them."""
    return "own" if values == ["own"] else values or None


def sides_of(text: str | None) -> int | tuple[int, ...] | None:
    """Pixels of an image: a side, or height and width with a comma."""
    from probekit.errors import ProbeError

    if text is None:
        return None
    parts = listed(text)
    if not all(part.isdecimal() for part in parts) or len(parts) not in (1, 2):
        raise ProbeError(f"--image-size {text}: expected pixels, such as 224, or a height and a width: 224,448.")
    return int(parts[0]) if len(parts) == 1 else (int(parts[0]), int(parts[1]))


def coords_of(assignments: list[str] | None) -> dict[str, list[float | str]]:
    """Own coordinates from `NAME=VALUE,VALUE`: numbers where all values are numbers, else texts."""
    from probekit.errors import ProbeError

    out: dict[str, list[float | str]] = {}
    for assignment in assignments or []:
        name, found, text = assignment.partition("=")
        if not found or not name or name in out:
            raise ProbeError(f"--coord {assignment}: expected NAME=VALUE, such as loss=0.31, each name once.")
        values = [part.strip() for part in text.split(",")]
        try:
            out[name] = [float(value) for value in values]
        except ValueError:
            out[name] = list(values)
    return out


def check_writable(output: str, *, folder: bool = False) -> None:
    """A `ProbeError`, before anything is measured, if a file (or a folder) cannot be written there."""
    from probekit.errors import ProbeError

    parent = os.path.dirname(output) or "."
    if os.path.isdir(output) and not folder:
        raise ProbeError(f"--output {output} is a folder. Name the file to write, such as {output}/results.nc.")
    if not os.path.isdir(parent):
        raise ProbeError(f"--output {output}: there is no folder {parent}. Make it first, or name one that exists.")
