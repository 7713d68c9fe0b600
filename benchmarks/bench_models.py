"""Forward passes against transformers' ViTMAE, attention against the bare forward, and loading against reading bytes.

    python benchmarks/bench_models.py [--runs 5] [--batch 8] [--threads N] [--cpu-time]

Ratios are ours / theirs (below 1: ours is faster), each the median over runs of the two measured alternately.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from probekit.models import MaskedAutoencoder, load
from probekit.models.architecture import Architecture
from probekit.models.decoder import Decoder
from probekit.models.positions import sin_cos

BASE = {"image_size": (224, 224), "vit_patch_size": 16, "width": 768, "depth": 12, "num_heads": 12}
DECODER = {"decoder_width": 512, "decoder_depth": 8, "decoder_num_heads": 16}


CLOCK = [time.perf_counter]
"""What measures: wall time, or with `--cpu-time` the processor's, which other programs on the machine disturb less."""


def alternately(ours: Callable[[], object], theirs: Callable[[], object], runs: int) -> tuple[float, float, float]:
    """(our seconds, their seconds, ratio): medians of runs that take turns, after one of each to warm up."""
    ours(), theirs()
    times: list[tuple[float, float]] = []
    for turn in range(runs):
        pair = [0.0, 0.0]
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            start = CLOCK[0]()
            (ours, theirs)[which]()
            pair[which] = CLOCK[0]() - start
        times.append((pair[0], pair[1]))
    return (
        statistics.median(t[0] for t in times),
        statistics.median(t[1] for t in times),
        statistics.median(t[0] / t[1] for t in times),
    )


def line(what: str, peer: str, result: tuple[float, float, float], bar: float) -> None:
    print(
        f"{what:<52} {result[0]:8.3f} s  {peer:<34} {result[1]:8.3f} s  ratio {result[2]:5.2f}  (bar {bar:.2f})",
        flush=True,
    )


def peer() -> ViTMAEForPreTraining:
    """transformers' ViT-B with sdpa, its zero positions filled in."""
    model = ViTMAEForPreTraining._from_config(ViTMAEConfig(layer_norm_eps=1e-6), attn_implementation="sdpa").eval()
    with torch.no_grad():
        model.vit.embeddings.position_embeddings.copy_(sin_cos((14, 14), 768))
        model.decoder.decoder_pos_embed.copy_(sin_cos((14, 14), 512))
    return model


@torch.inference_mode()
def forwards(batch: int, runs: int) -> None:
    theirs = peer()
    ours = load(theirs).model
    images = torch.randn(batch, 3, 224, 224)
    noise = torch.rand(batch, 196)
    for ratio in (0.0, 0.75):
        theirs.config.mask_ratio = theirs.vit.embeddings.config.mask_ratio = ratio
        hidden = noise.argsort(1).argsort(1) >= int(196 * (1 - ratio))
        encoded = alternately(lambda h=hidden: ours.encode(images, h), lambda: theirs.vit(images, noise=noise), runs)
        line(f"encoder, mask ratio {ratio}", "transformers ViTMAEModel (sdpa)", encoded, 1.0)
        predicted = alternately(lambda h=hidden: ours.predict(images, h), lambda: theirs(images, noise=noise), runs)
        line(f"encoder and decoder, mask ratio {ratio}", "transformers ViTMAEForPreTraining", predicted, 1.0)
    wanted = alternately(
        lambda: ours.predict(images, hidden, hidden_only=True), lambda: ours.predict(images, hidden), runs
    )
    line("predict(hidden_only=True), mask ratio 0.75", "predict", wanted, 1.0)

    def traced() -> None:
        for layer in ours.trace(images):
            if layer.attention is not None:
                layer.attention.mean()

    line("trace with attention, unmasked", "encode", alternately(traced, lambda: ours.encode(images), runs), 1.15)


def loading(runs: int) -> None:
    model = MaskedAutoencoder.create(**BASE, **DECODER, seed=0)
    names = {"encoder.": "", "decoder.mask_token": "mask_token", "decoder.": "decoder_"}
    state = {}
    for name, tensor in model.state_dict().items():
        old = next((old for old in ("decoder.mask_token", "encoder.", "decoder.") if name.startswith(old)), None)
        if old is not None:
            state[name.replace(old, names[old], 1)] = tensor
    with tempfile.TemporaryDirectory() as folder:
        pickled = Path(folder) / "mae_pretrain_vit_base_full.pth"
        torch.save({"model": state}, pickled)
        directory = load(model).save(Path(folder) / "transformers")
        own = load(model).save(Path(folder) / "probekit", format="probekit")
        for what, source, file in (
            ("load mae .pth", pickled, pickled),
            ("load transformers directory", directory, directory / "model.safetensors"),
            ("load probekit directory", own, own / "model.safetensors"),
        ):
            result = alternately(lambda s=source: load(s, device="cpu"), lambda f=file: read_and_build(f), runs)
            line(what, "its bytes + the module on meta", result, 1.3)
        checkpoint = load(pickled, device="cpu")
        for what, ask in (
            ("sha256", lambda: checkpoint.card.sha256),
            ("scan for NaN and zeros", lambda: checkpoint.verdict.warnings),
        ):
            start = time.perf_counter()
            ask()
            print(f"{what:<52} {time.perf_counter() - start:8.3f} s  (when asked for, once)", flush=True)


def read_and_build(file: Path) -> None:
    """The least that loading must do: read every byte, and build the module without weights."""
    file.read_bytes()
    record = Architecture((224, 224), vit_patch_size=16, width=768, depth=12, num_heads=12, mlp_hidden=3072)
    record.build("meta")
    Decoder(encoder_width=768, width=512, depth=8, num_heads=16, vit_patch_size=16, grid=(14, 14), device="meta")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cpu-time", action="store_true", help="for machines that are busy with other things")
    arguments = parser.parse_args()
    CLOCK[0] = time.process_time if arguments.cpu_time else time.perf_counter
    torch.set_num_threads(arguments.threads)
    load_average = os.getloadavg()[0]
    print(f"torch {torch.__version__}, {arguments.threads} threads, {os.cpu_count()} cores, load {load_average:.1f}")
    loading(arguments.runs)
    forwards(arguments.batch, arguments.runs)


if __name__ == "__main__":
    main()
