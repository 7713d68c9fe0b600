"""The command line. Each command calls the Python function of the same name; nothing is computed here.

Commands import what they need when they run, so that `probekit --help` is immediate.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
import typer.core

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which level of representation did this masked autoencoder learn, and how does that follow from its masks?",
)


@app.callback()
def _root() -> None:
    """Holds the commands together."""


class Lists(typer.core.TyperCommand):
    """A command whose repeatable options take several values at once: `--mask-ratio 0.5 0.75`."""

    def parse_args(self, ctx, args):  # type: ignore[no-untyped-def]  # typer gives no types for them
        """Write `--option a b` as `--option a --option b`, then parse as usual."""
        repeatable = {name for option in self.params if getattr(option, "multiple", False) for name in option.opts}
        spread, current = [], None
        for arg in args:
            negative_number = arg[:1] == "-" and arg[1:2].isdigit()
            name, joined, value = arg.partition("=")
            if joined and name in repeatable:
                current = name
                spread += [name, value]
            elif arg.startswith("-") and not negative_number:
                current = arg if arg in repeatable else None
                spread.append(arg)
            elif current is not None and spread[-1] != current:
                spread += [current, arg]
            else:
                spread.append(arg)
        return super().parse_args(ctx, spread)


@app.command(cls=Lists)
def train(
    data: Annotated[str, typer.Option(help="An image set, e.g. quadtree or imagefolder:DIR.")],
    output: Annotated[str, typer.Option("--output", "-o", help="The run's directory; of a grid, the folder of runs.")],
    mask_ratio: Annotated[list[float], typer.Option(help="Share of the image that is hidden. Several make a grid.")],
    patch_size: Annotated[list[int], typer.Option(help="Mask unit in pixels. Several make a grid.")],
    seed: Annotated[list[int], typer.Option(help="Of everything random. Several make a grid.")] = [0],  # noqa: B006 - never changed
    order: Annotated[str, typer.Option(help="A grid's axes, slowest first.")] = "seed,mask_ratio,patch_size",
    preset: Annotated[str, typer.Option(help="tiny, small, base or large.")] = "tiny",
    images: Annotated[int | None, typer.Option(help="Training images in all, with repetition.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step, over all processes.")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Micro-batches per process and step.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the images in pixels.")] = None,
    vit_patch_size: Annotated[int | None, typer.Option(help="The ViT's own patch in pixels.")] = None,
    base_lr: Annotated[float | None, typer.Option(help="Learning rate at 256 images per step.")] = None,
    warmup: Annotated[float | None, typer.Option(help="Share of training in which the rate rises.")] = None,
    strategy: Annotated[str | None, typer.Option(help="random, block or structure.")] = None,
    boundary: Annotated[bool, typer.Option(help="Count hidden patches beside visible ones in the loss.")] = True,
    normalise_targets: Annotated[bool, typer.Option(help="Predict pixels normalised per patch.")] = False,
    augment: Annotated[bool | None, typer.Option(help="Random crops and flips.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")] = None,
    compile: Annotated[bool, typer.Option(help="Compile the loss with torch.compile.")] = False,
    snapshots: Annotated[list[float] | None, typer.Option(help="Shares of training to keep too.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any other setting: NAME=JSON.")] = None,
    device: Annotated[str, typer.Option(help="auto or cpu.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads of this process.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that decode images.")] = 0,
    save_every: Annotated[float, typer.Option(help="Seconds between saved states.")] = 60.0,
    log_every: Annotated[int, typer.Option(help="Steps between lines of log.jsonl.")] = 20,
    tracker: Annotated[str | None, typer.Option(help="tensorboard or wandb.")] = None,
) -> None:
    """Pretrain masked autoencoders: one run, or a grid of mask ratios, patch sizes and seeds.

    The same command continues what was interrupted and skips what is finished. Several processes may be given the same
    grid and share it.
    """
    import json

    from probekit import training
    from probekit.errors import TrainingError

    options: dict[str, Any] = {
        "batch_size": batch_size, "accumulate": accumulate, "image_size": image_size, "vit_patch_size": vit_patch_size,
        "base_lr": base_lr, "warmup": warmup, "strategy": strategy, "boundary": boundary,
        "normalise_targets": normalise_targets, "augment": augment, "precision": precision, "compile": compile,
        "snapshots": snapshots or None, "device": device, "threads": threads, "workers": workers,
        "save_every": save_every, "log_every": log_every, "tracker": tracker, "preset": preset, "images": images,
        "output": output,
    }  # fmt: skip
    for assignment in set_ or []:
        name, found, value = assignment.partition("=")
        if not found or name in ("data", "mask_ratio", "patch_size", "seed", *options):
            raise TrainingError(
                f"--set {assignment}: expected NAME=VALUE, e.g. --set width=192, with a name that has no option of its "
                "own and is set once."
            )
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError as error:
            raise TrainingError(f"--set {assignment}: {value!r} is no JSON, such as 192, 0.5 or [1, 2].") from error
    single = len(mask_ratio) == len(patch_size) == len(seed) == 1
    try:
        if single:
            training.train(data, mask_ratio=mask_ratio[0], patch_size=patch_size[0], seed=seed[0], **options)
            finished = [output]
        else:
            grid = training.cells(mask_ratio, patch_size, seed, order=tuple(order.split(",")))
            finished = [str(path) for path in training.train_grid(data, grid, **options).values()]
    except KeyboardInterrupt as stopped:
        typer.echo(f"probekit: {stopped}" if str(stopped) else "probekit: stopped at once", err=True)
        raise typer.Exit(130) from None
    if os.environ.get("RANK", "0") == "0":  # of several processes, one speaks
        typer.echo("\n".join(finished))


data_app = typer.Typer(no_args_is_help=True, help="Look at image sets.")
app.add_typer(data_app, name="data")


@data_app.command("show")
def data_show(
    spec: Annotated[str, typer.Argument(help="An image set, e.g. quadtree, shapes:conflict or imagefolder:DIR.")],
    output: Annotated[str, typer.Option("--output", "-o", help="The picture to write: .png or .jpg.")] = "sheet.png",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    per_class: Annotated[int, typer.Option(help="Images per class.")] = 10,
    tile: Annotated[int, typer.Option(help="Pixels that an image is fitted into.")] = 96,
    masks: Annotated[bool, typer.Option(help="Tint the objects, where their masks are known.")] = False,
) -> None:
    """Write a contact sheet: some images of every class."""
    from probekit.data import contact_sheet, load

    image_set = load(spec, split)
    contact_sheet.write(image_set, output, per_class=per_class, tile=tile, masks=masks)
    typer.echo(f"{output}: {image_set.description or image_set}")


@app.command()
def inspect(
    checkpoint: Annotated[str, typer.Argument(help="A file, a directory, a hub id, timm:NAME or shipped:NAME.")],
    as_json: Annotated[bool, typer.Option("--json", help="The same facts, as JSON.")] = False,
    num_heads: Annotated[int | None, typer.Option(help="Of the encoder, where the file does not tell.")] = None,
    decoder_num_heads: Annotated[int | None, typer.Option(help="Of the decoder, where the file does not tell.")] = None,
    layer_norm_eps: Annotated[float | None, typer.Option(help="Of every layer norm, where the guess is wrong.")] = None,
) -> None:
    """What a checkpoint is: format, architecture, targets, masks, every missing and left-over key, warnings."""
    import json

    from probekit.models import inspection, load

    loaded = load(
        checkpoint,
        device="cpu",
        num_heads=num_heads,
        decoder_num_heads=decoder_num_heads,
        layer_norm_eps=layer_norm_eps,
    )
    facts = inspection.report(loaded)
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        from rich.console import Console

        inspection.show(facts, Console(highlight=False, soft_wrap=False))


@app.command()
def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="A file, a directory, a hub id, timm:NAME or shipped:NAME.")],
    output: Annotated[str, typer.Option("--output", "-o", help="The results file to write.")] = "results.nc",
    suite: Annotated[str, typer.Option(help="A suite, or probes with commas.")] = "high_level",
    data: Annotated[list[str] | None, typer.Option(help="Image sets; none for the suite's own.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images per forward.")] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    workers: Annotated[int, typer.Option(help="Processes that decode images.")] = 0,
    cache: Annotated[bool, typer.Option(help="Keep and use measurements and results.")] = True,
    seed: Annotated[int, typer.Option(help="Of masks, partners, views, fits and intervals.")] = 0,
    counts: Annotated[str, typer.Option(help='How many images, as JSON: {"train": 500, "test": 200}.')] = "{}",
    options: Annotated[str, typer.Option(help='Options of probes, as JSON: {"knn": {"ks": [5]}}.')] = "{}",
) -> None:
    """Measure one checkpoint and write a labelled dataset.

    `--data own` takes those of the suite's image sets that fit what the checkpoint was trained on.
    """
    _measure([checkpoint], output, suite, data, batch_size, device, precision, workers, cache, seed, counts, options)


@app.command()
def compare(
    checkpoints: Annotated[list[str], typer.Argument(help="Checkpoints; a results file (.nc) is taken as measured.")],
    output: Annotated[str, typer.Option("--output", "-o", help="The results file to write.")] = "results.nc",
    suite: Annotated[str, typer.Option(help="A suite, or probes with commas.")] = "high_level",
    data: Annotated[list[str] | None, typer.Option(help="Image sets; none for the suite's own.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images per forward.")] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    workers: Annotated[int, typer.Option(help="Processes that decode images.")] = 0,
    cache: Annotated[bool, typer.Option(help="Keep and use measurements and results.")] = True,
    seed: Annotated[int, typer.Option(help="Of masks, partners, views, fits and intervals.")] = 0,
    counts: Annotated[str, typer.Option(help='How many images, as JSON: {"train": 500, "test": 200}.')] = "{}",
    options: Annotated[str, typer.Option(help='Options of probes, as JSON: {"knn": {"ks": [5]}}.')] = "{}",
    mixed: Annotated[bool, typer.Option(help="Line up different protocols too, and mark them.")] = False,
    names: Annotated[str, typer.Option(help="What to call those that are measured, with commas.")] = "",
) -> None:
    """Measure several checkpoints on the same images and line them up in one dataset.

    `--data own` takes those of the suite's image sets that fit what each checkpoint was trained on.
    """
    _measure(
        checkpoints, output, suite, data, batch_size, device, precision, workers, cache, seed, counts, options, mixed,
        [name.strip() for name in names.split(",")] if names else None,
    )  # fmt: skip


def _measure(
    checkpoints: list[str], output: str, suite: str, data: list[str] | None, batch_size: int, device: str,
    precision: str, workers: int, cache: bool, seed: int, counts: str, options: str, mixed: bool = False,
    names: list[str] | None = None,
) -> None:  # fmt: skip
    """What `evaluate` and `compare` share: texts to values, the call, the file."""
    import json

    from probekit.errors import ProbeError

    folder = os.path.dirname(output) or "."
    if os.path.isdir(output):  # before anything is measured
        raise ProbeError(f"--output {output} is a folder. Name the file to write, such as {output}/results.nc.")
    if not os.path.isdir(folder):
        raise ProbeError(f"--output {output}: there is no folder {folder}. Make it first, or name one that exists.")
    parsed = {}
    for name, text in (("counts", counts), ("options", options)):
        try:
            parsed[name] = json.loads(text)
        except json.JSONDecodeError as error:
            raise ProbeError(f"--{name} {text}: expected JSON, such as '{{\"test\": 200}}' ({error}).") from error
        if not isinstance(parsed[name], dict):
            raise ProbeError(f"--{name} {text}: expected an object in braces, such as '{{\"test\": 200}}'.")
    from probekit import evaluation, schema

    chosen = [name.strip() for name in suite.split(",") if name.strip()] if "," in suite else suite
    own = data[0] if data == ["own"] else data or None
    ds = evaluation.compare(
        checkpoints, chosen, own, names=names, mixed=mixed, batch_size=batch_size, device=device, precision=precision,
        workers=workers, cache=cache, seed=seed, counts=parsed["counts"] or None, options=parsed["options"],
    )  # fmt: skip
    try:
        typer.echo(schema.write(ds, output))
    except OSError as error:
        raise ProbeError(
            f"{output} cannot be written ({error.strerror or error}). With the cache on, the same command with another "
            "--output computes nothing again."
        ) from error


@app.command()
def probes() -> None:
    """The probes, with one line each, and the suites they are in."""
    from probekit import probes as found
    from probekit.evaluation import SUITES

    for name in found.names():
        typer.echo(f"{name:20} {found.describe(name)}")
    typer.echo("\nSuites")
    for name, suite in SUITES.items():
        typer.echo(f"{name:20} {suite.summary} (version {suite.version})")
        for plan in suite.plans:
            typer.echo(f"{'':20}   {plan.data}: {', '.join(plan.probes)}")


@app.command()
def report(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="A results file (.nc), or checkpoints to evaluate; none for those that ship."),
    ] = None,
    data: Annotated[list[str] | None, typer.Option(help="Image sets; none for the suite's own.")] = None,
    suite: Annotated[str, typer.Option(help="A suite, or probes with commas.")] = "paper",
    output: Annotated[str, typer.Option("--output", "-o", help="The page to write.")] = "report.html",
    results: Annotated[str, typer.Option(help="Where the numbers go, if anything is evaluated.")] = "results.nc",
    export: Annotated[str | None, typer.Option(help="A folder for all figures (SVG, PDF, PNG) and tables.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images per forward.")] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    workers: Annotated[int, typer.Option(help="Processes that decode images.")] = 0,
    cache: Annotated[bool, typer.Option(help="Keep and use measurements and results.")] = True,
    seed: Annotated[int, typer.Option(help="Of masks, partners, views, fits and intervals.")] = 0,
) -> None:
    """Evaluate checkpoints, or read a results file, and write one self-contained page."""
    from probekit.report import __main__ as page

    page.run(
        sources or [], data=data or [], suite=suite, output=output, results=results, figures=export,
        batch_size=batch_size, device=device, precision=precision, workers=workers, cache=cache, seed=seed,
    )  # fmt: skip


def main() -> None:
    """Run the command line; an expected error is one message on standard error and exit code 2, a warning a line."""
    import warnings

    from probekit.errors import ProbekitError

    warnings.formatwarning = lambda message, *_, **__: f"probekit: {message}\n"  # a line of source says nothing here
    try:
        app(prog_name="probekit")
    except ProbekitError as error:
        print(f"probekit: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
