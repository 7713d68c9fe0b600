"""How fast the measures are beside named peers, measured alternately in one run: `python benchmarks/bench_measures.py`.

- SSIM against scikit-image, FSIM against piq: per image of 224 x 224, the original's part known, one core.
- Attention statistics of a layer against that layer's share of a bare ViT-B/16 forward, and their peak extra memory
  against that of all layers' attention (what `output_attentions=True` keeps).
- The linear probe of several layers x 10 penalties against a loop over scikit-learn's `LogisticRegression` on the same
  standardised features at equal validation accuracy.
  Features are drawn with the spectrum of trained encoders (classes that overlap, classes that separate), and those of
  a shipped checkpoint.
- Peak memory of a linear probe on 200,000 x 768 features in a file (`--memory`, minutes).

Everything is held to one thread, the peers' BLAS too. Times are the median of several repeats of processor time, so
that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

LAYERS = 2
Cell = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]
"""Training features and labels, validation features and labels, number of classes."""


def seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def alternate(ours: Callable[[], object], peer: Callable[[], object], repeats: int = 5) -> tuple[float, float]:
    """Median seconds of both, taken in turn after one warm-up each."""
    ours(), peer()
    pairs = [(seconds(ours), seconds(peer)) for _ in range(repeats)]
    return float(np.median([a for a, _ in pairs])), float(np.median([b for _, b in pairs]))


def image_metrics() -> None:
    import piq
    from skimage.metrics import structural_similarity

    from probekit.measures.fsim import FsimReference
    from probekit.measures.images import SsimReference

    rng = np.random.default_rng(0)
    originals = rng.random((8, 3, 224, 224), dtype=np.float32)
    others = np.clip(originals + 0.1 * rng.standard_normal(originals.shape, dtype=np.float32), 0, 1)
    a, b = (torch.from_numpy(x) for x in (originals, others))
    kept = FsimReference(originals)
    ours, peer = alternate(lambda: kept.score(others), lambda: piq.fsim(b, a, reduction="none"))
    print(
        f"FSIM   {ours / 8 * 1e3:6.1f} ms an image, piq          {peer / 8 * 1e3:6.1f} ms: {peer / ours:.1f} x faster"
    )

    def reference() -> None:
        for x, y in zip(originals, others, strict=True):
            structural_similarity(
                x.transpose(1, 2, 0), y.transpose(1, 2, 0), data_range=1, channel_axis=-1, gaussian_weights=True,
                sigma=1.5, use_sample_covariance=False,
            )  # fmt: skip

    similar = SsimReference(originals)
    ours, peer = alternate(lambda: similar.score(others), reference)
    print(
        f"SSIM   {ours / 8 * 1e3:6.1f} ms an image, scikit-image {peer / 8 * 1e3:6.1f} ms: {peer / ours:.1f} x faster"
    )


def attention() -> None:
    import timm

    from probekit.measures.attention import patch_distances, statistics

    model = timm.create_model("vit_base_patch16_224").eval()
    images = torch.randn(4, 3, 224, 224)
    maps = torch.randn(4, 12, 197, 197).softmax(dim=-1)
    distances = patch_distances((14, 14), 16)
    with torch.inference_mode():
        ours, peer = alternate(
            lambda: [statistics(maps, distances, num_prefix=1) for _ in range(12)], lambda: model(images), 3
        )
    print(f"attention statistics of 12 layers add {ours / peer:.1%} to a bare ViT-B/16 forward of the same images")
    kept = 12 * 32 * 12 * 197 * 197 * 4
    print(
        f"their extra memory beside a layer's own attention: {extra_memory(distances) / 2**20:.0f} MB at batch 32; "
        f"all layers' attention kept: {kept / 2**20:.0f} MB"
    )


def extra_memory(distances: torch.Tensor) -> int:
    """Peak bytes that the statistics of one layer allocate, batch 32, by the allocator's own account."""
    from torch.profiler import ProfilerActivity, profile

    from probekit.measures.attention import statistics

    maps = torch.rand(32, 12, 197, 197)
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        statistics(maps, distances, num_prefix=1)
    held = peak = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def features(
    n: int, layer: int, seed: int, apart: float, dims: int = 192, classes: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """Features as trained encoders have them: a covariance that decays as 1 / rank, far means; classes `apart`."""
    world, rng = np.random.default_rng(layer), np.random.default_rng((layer, seed))
    centres, mixing = world.standard_normal((classes, dims)), world.standard_normal((dims, dims))
    scales, means = np.exp(world.standard_normal(dims)), 5 * world.standard_normal(dims)
    labels = rng.integers(classes, size=n)
    sources = (apart * centres[labels] + rng.standard_normal((n, dims))) * np.arange(1, dims + 1) ** -0.5
    return ((sources @ mixing) * scales + means).astype(np.float32), labels


def shipped(name: str = "shipped:quadtree-r0.75-p4-s0", data: str = "quadtree") -> Iterator[Cell]:
    """Features of a checkpoint that ships: the mean of patches, at all layers."""
    from probekit import models
    from probekit.collect import Counts, Measurements, PassSettings, PreparedModel, Splits

    prepared = PreparedModel(models.load(name, device="cpu"), PassSettings())
    with tempfile.TemporaryDirectory() as folder:
        m = Measurements(prepared, Splits(data, Counts(train=2000, val=500, test=10)), Path(folder))
        m.gather(["features:train", "features:val"])
        for layer in m.layers:
            train, val = (m.pooled(split, layer, "mean") for split in ("train", "val"))
            yield train, m.labels("train"), val, m.labels("val"), len(m.images("train").classes)


def drawn(n: int, apart: float) -> Iterator[Cell]:
    for layer in range(LAYERS):
        yield *features(n, layer, 0, apart), *features(1000, layer, 1, apart), 10


def linear_probe(name: str, cells: Iterable[Cell]) -> None:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    from probekit.measures.classify import TOLERANCE
    from probekit.measures.logistic import STRENGTHS, fit_logistic

    times, accuracies = np.zeros(2), []
    for x, labels, vx, val_labels, classes in cells:
        start = time.process_time()
        path = fit_logistic(x, labels, classes=classes, tolerance=TOLERANCE, validation=(vx, val_labels))
        ours = path.val_accuracy[path.chosen]
        times[0] += time.process_time() - start
        table, val_table = path.standardise(x), path.standardise(vx)
        start, theirs = time.process_time(), 0.0
        for strength in STRENGTHS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                peer = LogisticRegression(C=strength, max_iter=1000).fit(table, labels)
            theirs = max(theirs, peer.score(val_table, val_labels))
        times[1] += time.process_time() - start
        accuracies.append((ours, theirs))
    print(
        f"linear probe, {name}, {len(accuracies)} layers x 10 penalties, {len(x)} x {x.shape[1]}, {classes} classes: "
        f"{times[0]:.2f} s, a loop over scikit-learn {times[1]:.2f} s: {times[1] / times[0]:.1f} x faster; validation "
        f"accuracy, ours and theirs: {', '.join(f'{a:.3f} {b:.3f}' for a, b in accuracies)}"
    )


def memory() -> None:
    from probekit.measures.logistic import fit_logistic

    n, dims, classes = 200_000, 768, 100
    rng = np.random.default_rng(0)
    labels = rng.integers(classes, size=n)
    centres = rng.standard_normal((classes, dims)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features"
        file = np.memmap(path, dtype=np.float32, mode="w+", shape=(n, dims))
        for i in range(0, n, 10_000):
            file[i : i + 10_000] = 0.1 * centres[labels[i : i + 10_000]] + rng.standard_normal((10_000, dims))
        file.flush()
        del file
        file = np.memmap(path, dtype=np.float32, mode="r", shape=(n, dims))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        found = fit_logistic(file, labels, classes=classes, strengths=np.logspace(-5, 1, 10)[2:5])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"linear probe on {n} x {dims}, {classes} classes, 3 penalties: {time.perf_counter() - start:.0f} s, "
        f"converged {found.converged.tolist()}, peak memory {peak / 2**20:.2f} GB ({before / 2**20:.2f} GB before); "
        f"the feature file is {n * dims * 4 / 2**30:.2f} GB and its pages count"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true", help="only the memory of the large linear probe (minutes)")
    parser.add_argument("--probe", action="store_true", help="only the linear probe")
    parser.add_argument("--images", type=int, default=2000, help="training images of the linear probe")
    parser.add_argument(
        "--apart", type=float, nargs="*", default=[0.35, 0.12],
        help="distance of the classes: 0.35 where they separate (scikit-learn stops early), 0.12 where they overlap",
    )  # fmt: skip
    options = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        if options.memory:
            memory()
            return
        if not options.probe:
            image_metrics()
            attention()
        for apart in options.apart:
            linear_probe(f"classes {apart} apart", drawn(options.images, apart))
        linear_probe("shipped checkpoint", shipped())


if __name__ == "__main__":
    main()
