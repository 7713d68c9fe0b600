"""Every command and every line of Python in the README runs.

Names that stand for the reader's own things (`/data/val`, `A`, `shipped:NAME`) are replaced by small ones made here; a
command without an entry in `COMMANDS` fails, so none can be added without being run.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from desk import DETECTED, FEW, SMALL, TUNED, laid, run

import probekit

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = {
    "probekit probes                                          # every probe in one line, every suite": {},
    "probekit inspect CKPT": {"CKPT": "A"},
    "probekit evaluate CKPT --suite high_level -o results.nc": {"CKPT": "A", "-o results.nc": f"-o results.nc{FEW}"},
    """probekit compare A B --data imagefolder:/data/val --suite linear_probe,knn --counts '{"train": 5000}'""": {},
    "python -m probekit.report results.nc                     # from a file: torch is not imported": {},
    "python -m probekit.report A B --data imagefolder:/data/val --suite high_level": {"high_level": "linear_probe"},
    "python -m probekit.report results.nc --export figures/   # SVG, PDF, PNG; CSV, LaTeX": {},
    "probekit compare A B --suite knn --executor local:2      # or dask:ADDRESS, slurm:PARTITION": {
        "local:2": f"local:2{FEW}"
    },
    "probekit features A --data imagefolder:/data/val -o features.nc": {},
    "probekit evaluate A --suite linear_probe,knn --data imagefolder:/data/val --layers -1 --features-dtype float16 "
    "--memory 4 --dry-run": {},
    "probekit finetune CKPT --data imagefolder:/data/imagenet --last-blocks 2 -o tuned": {
        "CKPT": "A",
        "--last-blocks 2": f"--last-blocks 1 {TUNED}",
    },
    "probekit detect CKPT --data coco:/data/coco --preset base -o detector": {
        "CKPT": "A",
        "coco:/data/coco": "shapes:scenes?size=32",
        "--preset base": DETECTED,
    },
    "probekit train --data imagefolder:/data/imagenet --preset base --mask-ratio 0.5 0.75 --patch-size 16 32 -o runs": {
        " --preset base": SMALL
    },
    "accelerate launch --num_processes 8 -m probekit.cli train --data imagefolder:/data/imagenet --preset base "
    "--mask-ratio 0.75 --patch-size 16 -o runs/base": {
        "--num_processes 8": "--cpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no",
        " --preset base": SMALL + " --device cpu --threads 1",
    },
}
"""Command as the README has it -> what is replaced in it, in order."""

ELSEWHERE = {
    "python3 -m venv .venv && .venv/bin/pip install torch torchvision . && .venv/bin/python -m probekit.report",
    "bash tests/run.sh",
}
"""The main job is `test_the_main_job` (slow); the tests' command is what runs this."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    return laid(tmp_path_factory.mktemp("desk"))


def adapted(text: str, desk: Path) -> str:
    text = text.replace("/data/val", str(desk / "data")).replace("/data/imagenet", str(desk / "data"))
    return text.replace("shipped:NAME", "shipped:untrained-s0")


def test_every_command_is_run_by_a_test() -> None:
    inline = re.findall(r"`(probekit (?:inspect|data show|train)[^`]*)`", README)
    shown = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]
    assert set(shown) == (set(COMMANDS) | ELSEWHERE) - {"probekit inspect CKPT"}
    assert "probekit inspect CKPT" in inline


@pytest.mark.parametrize("line", COMMANDS)
def test_command(line, desk) -> None:
    if "results.nc  " in line or "--export" in line:
        needs_results(desk)
    run(adapted(line, desk), desk, COMMANDS[line])


def needs_results(desk: Path) -> None:
    if not (desk / "results.nc").exists():
        ds = probekit.evaluate(desk / "A", "linear_probe", data=f"imagefolder:{desk / 'data'}", device="cpu")
        probekit.schema.write(ds, desk / "results.nc")


def python_block(beginning: str) -> str:
    (found,) = [block for block in blocks("python") if beginning in block]
    return found


def test_loading(desk, monkeypatch) -> None:
    monkeypatch.chdir(desk)
    code = python_block("probekit.load(").replace("facebook/vit-mae-base", "A")
    hidden = torch.zeros(3, 16, dtype=torch.bool)
    hidden[:, :12] = True
    exec(code, {"images": torch.rand(3, 3, 32, 32), "hidden": hidden})
    assert (desk / "mine" / "config.json").is_file()


def test_wrapping_an_encoder() -> None:
    def encode(images: torch.Tensor) -> list[torch.Tensor]:
        return [torch.nn.functional.unfold(images, 8, stride=8).transpose(1, 2)]

    space: dict = {"probekit": probekit, "encode": encode}
    exec(python_block("probekit.Encoder.wrap("), space)
    assert space["encoder"].card.name == "mine"


def test_measuring(desk, monkeypatch) -> None:
    monkeypatch.chdir(desk)
    monkeypatch.setenv("PROBEKIT_CACHE", str(desk / "cache"))
    needs_results(desk)
    (desk / "old.nc").write_bytes((desk / "results.nc").read_bytes())
    few = "counts={'train': 40, 'val': 20, 'test': 20, 'images': 8, 'pairs': 8, 'shifted': 10, 'objects': 6}"
    code = adapted(python_block("probekit.evaluate("), desk).replace('suite="high_level"', f'suite="high_level", {few}')
    code = code.replace('"a", "b", "old.nc"', '"A", "B"').replace('"a"', '"A"')
    code = code.replace('suite="paper", data="own"', f'suite="latents", data="own", {few}')
    space: dict = {"probekit": probekit}
    exec(code, space)
    assert list(space["ds"].checkpoint) == ["A", "B"]
    assert (desk / "level.svg").read_text().startswith("<svg")


def test_the_theory() -> None:
    code = python_block("expected_levels(").replace("recover(GeneratingProcess", "dict(world=GeneratingProcess")
    exec(code, {})


@pytest.mark.slow
def test_the_theory_with_its_training() -> None:
    exec(python_block("expected_levels("), {})


def test_the_probe_in_one_file(desk, monkeypatch) -> None:
    code = python_block("# my_package/feature_norm.py")
    folder = desk / "my_package"
    folder.mkdir()
    (folder / "feature_norm.py").write_text(code)
    monkeypatch.syspath_prepend(desk)
    monkeypatch.setattr(probekit.probes, "_registered", {})
    probekit.probes.register(importlib.import_module("my_package.feature_norm"))
    monkeypatch.setenv("PROBEKIT_CACHE", str(desk / "cache"))
    ds = probekit.evaluate(desk / "A", "feature_norm", data=f"imagefolder:{desk / 'data'}", device="cpu")
    assert (ds.feature_norm_ci.isel(bound=0) <= ds.feature_norm).all()
    assert float(ds.feature_norm.sel(layer=2, pooling="mean").squeeze()) > 0


@pytest.mark.slow
def test_the_main_job(tmp_path) -> None:
    """In this environment, with a cold cache and then a warm one."""
    env = os.environ | {"PROBEKIT_CACHE": str(tmp_path / "cache")}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "probekit.report"], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "report.html").stat().st_size > 1e6
    assert (tmp_path / "results.nc").stat().st_size > 1e5
