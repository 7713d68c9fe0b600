"""What is tried: files of each kind that probekit reads, damaged or hostile; and every writer, killed.

Each function yields trials. Files are made from a seed, so a trial that failed can be made again.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import random
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from damage import ALL, CHANGED, ODD
from PIL import Image
from trial import Trial

import probekit
from probekit import files, models, schema
from probekit.collect import Counts
from probekit.data import ArraySet

SPEC = "quadtree?height=3&noise_dim=3&root_dim=3&classes=3"
COUNTS = Counts(train=40, val=20, test=30, images=25, pairs=20, objects=6, views=3, shifted=10, gradients=4, pictures=3)
PROBES = ["linear_probe", "attention_distance", "reconstruction"]
SIZES = {
    "image_size": (16, 16), "vit_patch_size": 4, "width": 32, "depth": 2, "num_heads": 2, "decoder_width": 16,
    "decoder_depth": 1, "decoder_num_heads": 2,
}  # fmt: skip


def small_model() -> models.Checkpoint:
    return models.load(models.MaskedAutoencoder.create(**SIZES, seed=0), device="cpu")


def weights(path: Path) -> str:
    """A digest of what is loaded."""
    state = models.load(path, device="cpu").model.state_dict()
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(f"{name}{tuple(state[name].shape)}".encode())
        digest.update(state[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def damaged(
    kind: str, make: Callable[[Path], Path], act: Callable[[Path], Any], folder: Path, count: int, ways: Any, same: bool
) -> Iterator[Trial]:
    """Trials on one file: made anew, damaged in some way, read; `same`: what is read must be what was written."""
    expected = act(make(_new(folder))) if same else None
    names = list(ways)
    for number in range(count):
        draw = random.Random(f"{kind}{number}")
        file = make(_new(folder))
        name = names[number % len(names)]
        ways[name](file, draw)
        yield Trial(kind, f"{file.name}: {name} {number}", lambda file=file: act(file), expected)


_made = [0]


def _new(folder: Path) -> Path:
    _made[0] += 1
    path = folder / f"{_made[0]:05d}"
    path.mkdir(parents=True)
    return path


# --- checkpoints ------------------------------------------------------------------------------------------------------


def checkpoints(folder: Path, count: int) -> Iterator[Trial]:
    """Damaged files, and files made to exhaust or to deceive."""
    model = small_model()

    def pth(place: Path) -> Path:
        torch.save({"model": model.model.state_dict()}, place / "model.pth")
        return place / "model.pth"

    def directory(name: str) -> Callable[[Path], Path]:
        def make(place: Path) -> Path:
            model.save(place / "saved")
            return place / "saved" / name

        return make

    def load(file: Path) -> str:
        return weights(file if file.suffix == ".pth" else file.parent)

    half = max(1, count // 3)
    # A changed weight is another weight: no format but a digest could tell, so what is read is not compared there.
    yield from damaged("checkpoints", pth, load, folder, half, ALL, same=False)
    yield from damaged("checkpoints", directory("model.safetensors"), load, folder, half, ALL, same=False)
    hostile = list(hostile_checkpoints(_new(folder)))
    for number in range(max(1, count - 2 * half)):
        file = hostile[number % len(hostile)]
        yield Trial("checkpoints", file.name, lambda file=file: load(file))


def hostile_checkpoints(folder: Path) -> Iterator[Path]:
    state = small_model().model.state_dict()

    def saved(name: str, content: Any) -> Path:
        torch.save(content, folder / f"{name}.pth")
        return folder / f"{name}.pth"

    yield saved("stride-0", {**state, "head.weight": torch.zeros(1).expand(40_000, 60_000)})
    yield saved("stride-0-inside", {**state, "encoder.pos_embed": torch.zeros(1).expand(1, 20_000_000, 32)})
    yield saved("deep-block", {**state, "encoder.blocks.999999999.norm1.weight": torch.ones(32)})
    yield saved("deep-blocks", {f"blocks.{10**9}.norm1.weight": torch.ones(4), "cls_token": torch.ones(1, 1, 4)})
    deep: Any = 0
    for _ in range(300):
        deep = [deep]
    yield saved("nested", {"model": state, "args": deep})
    yield saved("empty-tensors", {name: torch.zeros(0) for name in state})
    yield saved("scalars", {name: torch.tensor(1.0) for name in state})
    yield saved("wide", {**state, "encoder.patch_embed.proj.weight": torch.zeros(1, 3, 1, 1).expand(10**6, 3, 16, 16)})
    yield saved("long-name", {**state, "a" * 10**6: torch.ones(1)})
    yield saved("escape", {**state, "\x1b[31mred\x07": torch.ones(1)})
    yield saved("strings", {"model": "x" * 10**7})
    yield saved("numbers", {"model": state, "epoch": 10**400, "args": {"mask_ratio": float("nan")}})
    (folder / "code.pth").write_bytes(pickle.dumps(Exception) + b"cos\nsystem\n(S'true'\ntR.")
    yield folder / "code.pth"
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4]}}).encode()
    (folder / "shape.pth").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    yield folder / "shape.pth"
    (folder / "header.pth").write_bytes(struct.pack("<Q", 2**60) + b"{" + bytes(100))
    yield folder / "header.pth"
    with zipfile.ZipFile(folder / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(3 * 10**8))
        archive.writestr("archive/version", b"3")
    yield folder / "bomb.pth"


# --- cards ------------------------------------------------------------------------------------------------------------

ODD_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 10**30, 1.5, float("nan"), float("inf"), "", "x", "4", [], [1], [1, 2, 3], {}, {"a": 1},
    "\x1b[31m", [[[]]], "a" * 10_000, -0.5,
)  # fmt: skip


def cards(folder: Path, count: int) -> Iterator[Trial]:
    """A value in a checkpoint's configuration replaced by one of another kind."""
    model, places = small_model(), []
    for format in ("transformers", "probekit"):
        saved = model.save(_new(folder) / "saved", format=format)
        config = json.loads((saved / "config.json").read_text())
        places += [(saved, path) for path in _paths(config)]
    draw = random.Random(0)
    for number in range(count):
        saved, path = places[draw.randrange(len(places))]
        place = _new(folder) / "card"
        shutil.copytree(saved, place)
        config = json.loads((place / "config.json").read_text())
        value = draw.choice(ODD_VALUES)
        _set(config, path, value)
        (place / "config.json").write_text(json.dumps(config))
        yield Trial("cards", f"{'.'.join(map(str, path))} = {value!r:.40} ({number})", lambda place=place: used(place))


def used(place: Path) -> None:
    """What is done with every checkpoint: shown, and run on an image."""
    from probekit.models import inspection

    checkpoint = models.load(place, device="cpu")
    json.dumps(inspection.report(checkpoint))
    with torch.inference_mode():
        checkpoint.model.encode(torch.zeros(1, 3, *checkpoint.model.image_size))


def _paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*before, key)
            yield from _paths(inner, (*before, key))


def _set(value: Any, path: tuple[Any, ...], new: Any) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


# --- images and archives ----------------------------------------------------------------------------------------------


def _png(width: int, height: int, depth: int = 8, colour: int = 0, data: bytes = b"") -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def images(folder: Path, count: int) -> Iterator[Trial]:
    """Folders of classes with something in them that is no image, or too much of one."""

    def good(place: Path) -> Path:
        rng = np.random.default_rng(0)
        for split in ("train", "val", "test"):
            for name in ("cat", "dog"):
                (place / split / name).mkdir(parents=True)
                for number in range(4):
                    picture = Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8))
                    picture.save(place / split / name / f"{number}.png")
        return place / "test" / "cat" / "1.png"

    def bomb(file: Path, draw: random.Random) -> None:
        file.write_bytes(_png(60_000, 60_000, 8, 2, bytes(1000)))

    def deep_bomb(file: Path, draw: random.Random) -> None:
        file.write_bytes(_png(30_000, 30_000, 16, 0, bytes(1000)))

    def lying(file: Path, draw: random.Random) -> None:
        file.write_bytes(_png(2**31 - 1, 1, 1, 0, bytes(10)))

    def named(file: Path, draw: random.Random) -> None:
        file.rename(file.parent / "\x1b[31m\u202e.png")

    ways = {
        **ODD,
        "garbage": CHANGED["garbage"],
        "bomb": bomb,
        "16-bit bomb": deep_bomb,
        "one row": lying,
        "name": named,
    }
    yield from damaged("images", good, read_images, folder, count, ways, same=False)


def read_images(file: Path) -> None:
    root = file.parents[2]
    for split in ("train", "test"):
        for _ in probekit.data.load(f"imagefolder:{root}", split).batches(4):
            pass


def _npy(images: int) -> bytes:
    """The beginning of an array of images of 100 x 100 pixels."""
    head = io.BytesIO()
    shape = (images, 100, 100, 3)
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return head.getvalue()


def archives(folder: Path, count: int) -> Iterator[Trial]:
    """Arrays in .npz and .npy files, damaged, or larger than they look."""

    def good(place: Path) -> Path:
        rng = np.random.default_rng(0)
        np.savez_compressed(
            place / "set.npz", images=rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8), labels=np.arange(60) % 2
        )
        return place / "set.npz"

    def bomb(file: Path, draw: random.Random) -> None:
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            head, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 100, 100, 3)}
        )
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("images.npy", head.getvalue() + bytes(10**6))
            archive.writestr("labels.npy", head.getvalue())

    def zeros(file: Path, draw: random.Random) -> None:
        kept = folder / "zeros.npz"  # made once: it takes seconds
        if not kept.exists():
            whole = zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
            with whole as archive, archive.open("images.npy", "w", force_zip64=True) as inside:
                inside.write(_npy(50_000))
                for _ in range(150):
                    inside.write(bytes(10**7))
        shutil.copy(kept, file)

    def objects(file: Path, draw: random.Random) -> None:
        np.savez(file, images=np.array([{"a": 1}] * 60, dtype=object), labels=np.arange(60))

    def labels(file: Path, draw: random.Random) -> None:
        np.savez(file, images=np.zeros((60, 8, 8, 3), np.uint8), labels=np.full(60, 2**62))

    ways = {**ALL, "bomb": bomb, "zeros bomb": zeros, "objects": objects, "huge labels": labels}
    yield from damaged("archives", good, read_archive, folder, count, ways, same=True)


def read_archive(file: Path) -> str:
    found = probekit.data.load(f"numpy:{file}", "test")
    digest = hashlib.sha256()
    for batch in found.batches(16):
        digest.update(np.ascontiguousarray(batch["image"]).tobytes())
    return digest.hexdigest()


# --- results ----------------------------------------------------------------------------------------------------------


def measured() -> xr.Dataset:
    return probekit.evaluate(small_model(), PROBES, SPEC, counts=COUNTS)


def results(folder: Path, count: int, ds: xr.Dataset) -> Iterator[Trial]:
    """Results files, damaged; and datasets with odd attributes, labels and shapes, into the report."""
    from probekit import report

    def make(place: Path) -> Path:
        return schema.write(ds, place / "results.nc")

    def read(file: Path) -> str:
        return pickle.dumps(
            [schema.read(file)[name].values.tobytes() for name in sorted(ds.data_vars) if ds[name].dtype.kind in "fiub"]
        )

    half = count // 2
    yield from damaged("results", make, read, folder, half, ALL, same=True)
    draw = random.Random(1)
    for number in range(count - half):
        changed, what = odd_dataset(ds, draw)
        file = _new(folder) / "odd.nc"

        def run(changed: xr.Dataset = changed, file: Path = file) -> None:
            try:
                changed.to_netcdf(file, engine="h5netcdf")
            except Exception:  # xarray itself refuses to write it
                return
            page = report.html(schema.read(file), script="")
            assert "\x1b" not in page

        yield Trial("results", f"{what} ({number})", run, seconds=60)


def odd_dataset(ds: xr.Dataset, draw: random.Random) -> tuple[xr.Dataset, str]:
    """A copy of a dataset with something in it that should not be there."""
    changed = ds.copy(deep=True)
    name = draw.choice(sorted(map(str, ds.data_vars)))
    value = draw.choice(["", "x", 1, -5, np.nan, "[" * 500, "{}", "\x1b[31m</script><b>", r"$\xi$ \"", "a" * 5000])
    way = draw.randrange(7)
    if way == 0:
        key = draw.choice(sorted(changed.attrs))
        changed.attrs[key] = value
        return changed, f"attribute {key} = {value!r:.30}"
    if way == 1 and changed[name].attrs:
        key = draw.choice(sorted(changed[name].attrs))
        changed[name].attrs[key] = value
        return changed, f"{name}.{key} = {value!r:.30}"
    if way == 2:
        del changed[name]
        return changed, f"without {name}"
    if way == 3:
        coord = draw.choice(sorted(map(str, changed.coords)))
        return changed.drop_vars(coord), f"without coordinate {coord}"
    if way == 4:
        return changed.assign_coords(checkpoint=[str(value)]), f"checkpoint = {value!r:.30}"
    if way == 5:
        dim = draw.choice(sorted(map(str, changed.dims)))
        return changed.isel({dim: slice(0, 0)}), f"nothing along {dim}"
    return changed.assign({name: changed[name].astype(str)}), f"{name} as text"


# --- the cache --------------------------------------------------------------------------------------------------------


def caches(folder: Path, count: int, monkey: Callable[[Path], None]) -> Iterator[Trial]:
    """A file of the cache damaged: the same numbers come out, measured again where need be."""
    full = _new(folder)
    monkey(full)
    expected = numbers()
    names = sorted(ALL)
    for number in range(count):
        draw = random.Random(f"cache{number}")
        place = _new(folder) / "cache"
        shutil.copytree(full, place)
        whole = draw.random() < 0.5
        if whole:  # else finished results hide the measurements
            shutil.rmtree(place / "results")
        inside = sorted(file for file in place.rglob("*") if file.is_file())
        file, way = draw.choice(inside), names[number % len(names)]
        ALL[way](file, draw)

        def run(place: Path = place) -> str:
            monkey(place)
            return numbers()

        yield Trial("cache", f"{file.relative_to(place)}: {way}", run, expected, seconds=120)


def numbers() -> str:
    """All numbers of a small evaluation, as a digest."""
    return digest_of(measured())


def digest_of(ds: xr.Dataset) -> str:
    digest = hashlib.sha256()
    for name in sorted(map(str, ds.data_vars)):
        if ds[name].dtype.kind in "fiub":
            digest.update(name.encode() + np.ascontiguousarray(ds[name].values).tobytes())
    return digest.hexdigest()


# --- run directories --------------------------------------------------------------------------------------------------


def noise() -> ArraySet:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)
    return ArraySet(
        pixels, name="noise", spec="noise", split="train", classes=["a", "b"], labels=np.arange(24) % 2,
        origin="stored", facts={},
    )  # fmt: skip


def train(place: Path) -> str:
    options = {
        "image_size": 16, "vit_patch_size": 4, "width": 16, "depth": 1, "num_heads": 2, "decoder_width": 16,
        "decoder_depth": 1, "decoder_num_heads": 2, "batch_size": 8, "base_lr": 2e-3,
    }  # fmt: skip
    probekit.train(
        noise(), mask_ratio=0.5, patch_size=4, images=48, device="cpu", threads=1, log_every=2, output=place,
        save_every=0.0, **options,
    )  # fmt: skip
    return weights(place)


def runs(folder: Path, count: int) -> Iterator[Trial]:
    """A run that was interrupted, with a file damaged: the same weights, or a refusal."""
    expected = train(_new(folder) / "run")
    begun = _new(folder) / "run"
    stopped = Trial("runs", "begin", lambda: interrupted(begun))
    from trial import judged

    judged(stopped)
    names = sorted(ALL)
    for number in range(count):
        draw = random.Random(f"run{number}")
        place = _new(folder) / "run"
        shutil.copytree(begun, place)
        inside = sorted(file for file in place.rglob("*") if file.is_file() and file.name != ".lock")
        file, way = draw.choice(inside), names[number % len(names)]
        ALL[way](file, draw)
        yield Trial("runs", f"{file.relative_to(place)}: {way}", lambda place=place: train(place), expected, 60)


def interrupted(place: Path, run: Callable[[Path], Any] = train, states: int = 4) -> None:
    """A run that ends after its fourth state, or another one."""
    from probekit.training.directory import RunDirectory

    save, saved = RunDirectory.save_state, []

    def counted(self: RunDirectory, step: int, state: dict[str, Any]) -> None:
        save(self, step, state)
        saved.append(step)
        if len(saved) == states:
            raise KeyboardInterrupt

    RunDirectory.save_state = counted  # type: ignore[method-assign]
    run(place)


# --- writers, killed --------------------------------------------------------------------------------------------------


def writers(ds: xr.Dataset) -> dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any], float]]:
    """Writer -> (writes into a folder, reads what is there, seconds that it takes)."""
    from probekit import report
    from probekit.data import contact_sheet

    small = small_model()
    pictures = probekit.data.load(SPEC, "test")

    def page(place: Path) -> str:
        return (place / "page.html").read_text()[-20:]

    return {
        "results": (
            lambda place: schema.write(ds, place / "r.nc"),
            lambda place: digest_of(schema.read(place / "r.nc")),
            0.3,
        ),
        "page": (lambda place: report.write(ds, place / "page.html", script="x" * 10**7), page, 2.0),
        "checkpoint": (lambda place: small.save(place / "saved"), lambda place: weights(place / "saved"), 0.3),
        "sheet": (
            lambda place: contact_sheet.write(pictures, place / "s.png", per_class=20),
            lambda place: np.asarray(Image.open(place / "s.png")).sum(),
            0.5,
        ),
        "text": (
            lambda place: files.write_text(place / "t", "x" * 10**8),
            lambda place: (place / "t").stat().st_size,
            0.3,
        ),
        "training": (lambda place: train(place / "run"), lambda place: weights(place / "run"), 2.0),
    }
