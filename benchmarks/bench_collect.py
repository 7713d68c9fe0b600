"""The pass against a bare loop of the same model calls, and a second call against the first.

Prints ratios measured in one run, alternately, medians of several:

1. the pass (unmasked and once masked, features, attention statistics, SSIM, PSNR, MSE) over a loop that makes the same
   encoder and decoder calls on the same images and keeps nothing; FSIM apart;
2. attention statistics of all layers and heads: CPU time added to the bare forward of 32 images, and peak memory added,
   against transformers with eager attention and `output_attentions=True`, each in a process of its own;
3. a second `evaluate` over the first;
4. peak memory of the pass at 1,000 and at N images.

    python benchmarks/bench_collect.py [--parts pass attention second memory] [--images 256] [--runs 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from probekit import evaluation, models
from probekit.collect import Counts, Measurements, PassSettings, PreparedModel, Splits, passes, pictures, recorders
from probekit.collect.prepared import Batch, Source

SIZES = {
    "base": {"image_size": (224, 224), "vit_patch_size": 16, "width": 768, "depth": 12, "num_heads": 12},
    "tiny": {"image_size": (32, 32), "vit_patch_size": 4, "width": 96, "depth": 4, "num_heads": 3},
}
DECODERS = {
    "base": {"decoder_width": 512, "decoder_depth": 8, "decoder_num_heads": 16},
    "tiny": {"decoder_width": 48, "decoder_depth": 1, "decoder_num_heads": 3},
}


def model(name: str) -> models.Checkpoint:
    return models.load(models.MaskedAutoencoder.create(**SIZES[name], **DECODERS[name], seed=0), device="cpu")


def clock(function) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def the_pass(checkpoint, sets: Splits, batch: int, *, fsim: bool) -> None:
    wanted = pictures.Reconstruction.metrics
    pictures.Reconstruction.metrics = wanted if fsim else ("ssim",)
    pictures.references = pictures.References()
    with tempfile.TemporaryDirectory() as folder:
        measurements = Measurements(PreparedModel(checkpoint, PassSettings(batch_size=batch)), sets, Path(folder))
        measurements.gather(["features:test", "attention", "reconstruction"])
    pictures.Reconstruction.metrics = wanted


def bare(checkpoint, sets: Splits, batch: int) -> None:
    """The same calls: encode, decode; encode what is visible, decode. Nothing is kept."""
    net, prepared = checkpoint.model, PreparedModel(checkpoint, PassSettings(batch_size=batch))
    rows = sets.size("test")
    hidden = prepared.hidden_units(sets["test"], rows)
    with torch.inference_mode():
        for data in sets["test"].batches(batch, prepared.preprocess, indices=range(rows)):
            images = data["image"]
            net.decoder(net.encode(images), None, prepared.grid)
            net.predict(images, hidden[data["index"]])


def compare_pass(arguments) -> None:
    count = arguments.images
    sets = Splits("photos", Counts(test=count, images=count))
    checkpoint, batch = model(arguments.model), arguments.batch
    sizes = {"bare loop": lambda: bare(checkpoint, sets, batch)}
    sizes["pass"] = lambda: the_pass(checkpoint, sets, batch, fsim=False)
    sizes["pass with FSIM"] = lambda: the_pass(checkpoint, sets, batch, fsim=True)
    times = {name: [] for name in sizes}
    for function in sizes.values():
        function() if arguments.warm else None
    for _ in range(arguments.runs):
        for name, function in sizes.items():
            times[name].append(clock(function))
    middle = {name: statistics.median(values) for name, values in times.items()}
    print(f"{arguments.model}, {count} photographs, CPU time, median of {arguments.runs}")
    for name, seconds in middle.items():
        print(f"  {name:15} {seconds:8.2f} s   {seconds / middle['bare loop']:.2f}x of the bare loop")


ATTENTION_BATCH = 32


class Rows:
    """Takes what a recorder gives and keeps nothing."""

    def append(self, rows, summary) -> None:
        assert rows


def attention_forward(kind: str, name: str):
    """One forward of 32 images, as a function: ours `bare` or with `statistics`; transformers' `eager` or `outputs`."""
    import numpy as np

    size = SIZES[name]
    images = torch.randn(ATTENTION_BATCH, 3, *size["image_size"], generator=torch.Generator().manual_seed(0))
    if kind in ("bare", "statistics"):
        prepared = PreparedModel(model(name), PassSettings())
        source = Source(Splits("shapes", Counts(test=ATTENTION_BATCH))["test"], ATTENTION_BATCH)
        takes = [passes.Recording(recorders.AttentionStatistics(prepared, source), Rows())]
        batch = Batch(np.arange(ATTENTION_BATCH), images)
        call = (
            (lambda: prepared.model.encode(images))
            if kind == "bare"
            else lambda: passes.forward(prepared, batch, takes)
        )
    else:
        from transformers import ViTConfig, ViTModel

        config = ViTConfig(
            image_size=size["image_size"][0], patch_size=size["vit_patch_size"], hidden_size=size["width"],
            num_hidden_layers=size["depth"], num_attention_heads=size["num_heads"],
            intermediate_size=4 * size["width"], attn_implementation="eager",
        )  # fmt: skip
        peer = ViTModel(config, add_pooling_layer=False).eval()
        call = lambda: peer(images, output_attentions=kind == "outputs")  # noqa: E731 - one of three

    def forward() -> None:
        with torch.inference_mode():
            call()

    return forward


def peak_of(code: str) -> float:
    """Peak memory in MB of a process that runs this code (Linux: ru_maxrss would begin at the parent's peak)."""
    code += "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    return float(run.stdout.split()[-1]) / 1024


def attention_peak(kind: str, name: str, threads: int) -> float:
    """Peak memory in MB of a process that does one such forward."""
    code = f"import bench_collect as b; b.torch.set_num_threads({threads}); b.attention_forward({kind!r}, {name!r})()\n"
    return peak_of(code)


def attention(arguments) -> None:
    forwards = {kind: attention_forward(kind, arguments.model) for kind in ("bare", "statistics")}
    times: dict[str, list[float]] = {kind: [] for kind in forwards}
    for _ in range(arguments.runs):
        for kind, forward in forwards.items():
            times[kind].append(clock(forward))
    middle = {kind: statistics.median(values) for kind, values in times.items()}
    added = middle["statistics"] / middle["bare"] - 1
    print(f"attention statistics: bare forward {middle['bare']:.2f} s, with them {added:+.1%}, batch {ATTENTION_BATCH}")
    kinds = ("bare", "statistics", "eager", "outputs")
    peaks = {kind: attention_peak(kind, arguments.model, arguments.threads) for kind in kinds}
    ours, theirs = peaks["statistics"] - peaks["bare"], peaks["outputs"] - peaks["eager"]
    print(f"  extra peak memory {ours:.0f} MB; transformers' output_attentions {theirs:.0f} MB: {ours / theirs:.2f}x")


def second_call(arguments) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PROBEKIT_CACHE"] = folder
        checkpoint = model(arguments.model)
        probes, counts = (
            ["reconstruction", "attention_distance"],
            {"test": arguments.images, "images": arguments.images},
        )
        clock(lambda: evaluation.evaluate(checkpoint, probes, "photos", counts={**counts, "test": 2, "images": 2}))
        first = clock(lambda: evaluation.evaluate(checkpoint, probes, "photos", counts=counts))
        again = [clock(lambda: evaluation.evaluate(checkpoint, probes, "photos", counts=counts)) for _ in range(3)]
    print(f"second call: {first:.2f} s, then {statistics.median(again):.3f} s: {first / statistics.median(again):.0f}x")


def peak(images: int) -> float:
    """Peak memory in MB of a process that passes over so many images of 32 x 32."""
    code = f"import bench_collect as b, sys, tempfile; from pathlib import Path\nb.pass_features({images})\n"
    return peak_of(code)


def pass_features(images: int) -> None:
    """Features and attention of `images` pictures that are drawn as they are needed."""
    sets = Splits("shapes", Counts(test=images, images=images))
    with tempfile.TemporaryDirectory() as folder:
        Measurements(PreparedModel(model("tiny"), PassSettings()), sets, Path(folder)).gather(
            ["features:test", "attention"]
        )


def memory(arguments) -> None:
    for images in arguments.memory:
        print(f"peak memory over {images} images: {peak(images):.0f} MB")


PARTS = ("pass", "attention", "second", "memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SIZES, default="base")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warm", action="store_true", help="one untimed round first")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--memory", type=int, nargs="*", default=[1000, 20000], help="numbers of images")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for part in arguments.parts:
        {"pass": compare_pass, "attention": attention, "second": second_call, "memory": memory}[part](arguments)
    print(f"threads {arguments.threads}, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")


__all__ = ["pass_features"]

if __name__ == "__main__":
    main()
