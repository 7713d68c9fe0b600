"""Every command in the pages of the documentation runs, on small stand-ins for the reader's checkpoints and images.

A command without an entry in `COMMANDS` fails, so none can be added without being run.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from desk import DETECTED, FEW, SMALL, TUNED, laid, run
from typer.testing import CliRunner

from probekit import probes
from probekit.cli import app

PAGES = Path(__file__).parents[2] / "docs" / "pages"
FOLDER = "imagefolder:/data/imagenet"
SLOW = pytest.mark.slow

COMMANDS = {
    "probekit inspect model.pth    # what it is, and what to know before trusting numbers": {"model.pth": "A"},
    "probekit evaluate model.pth --data imagefolder:/data/val --suite linear_probe,knn -o results.nc": {
        "model.pth": "A"
    },
    "python -m probekit.report results.nc": {},
}
LONG = {
    "probekit detect mae_pretrain_vit_base.pth --data coco:/data/coco --preset base -o runs/detection": {
        "mae_pretrain_vit_base.pth": "A", "coco:/data/coco": "shapes:scenes?size=32", "--preset base": DETECTED,
    },
    "probekit finetune facebook/vit-mae-base --data imagenet:/data/imagenet -o tuned            # everything": {
        "facebook/vit-mae-base": "A", "imagenet:/data/imagenet": f"{FOLDER} {TUNED}",
    },
    "probekit finetune facebook/vit-mae-base --data imagenet:/data/imagenet -o tuned-4 --last-blocks 4": {
        "facebook/vit-mae-base": "A", "imagenet:/data/imagenet": f"{FOLDER} {TUNED}", "blocks 4": "blocks 1",
    },
    "probekit compare *.pth --data imagenet:/data/imagenet --suite high_level --executor local:4 -o results.nc": {
        "*.pth": "A B", "imagenet:/data/imagenet": FOLDER, "high_level": "knn", "local:4": "local:2",
    },
    "probekit compare *.pth --data imagenet:/data/imagenet --suite high_level --executor slurm:gpu -o results.nc": {
        "*.pth": "A B", "imagenet:/data/imagenet": FOLDER, "high_level": "knn", "slurm:gpu": "local:2",
    },
    "probekit train --data imagefolder:/data/imagenet --preset base --mask-ratio 0.5 0.75 --patch-size 16 32 -o runs": {
        " --preset base": SMALL
    },
}  # fmt: skip
"""Command as the pages have it -> what is replaced in it, in order. (For want of a cluster, Slurm's task runs
in processes here; `test_executors` sends tasks through submitit.)"""

ELSEWHERE = {
    "python3 -m venv .venv && .venv/bin/pip install torch torchvision mae-probekit",
    ".venv/bin/python -m probekit.report",
}
"""The main job: `test_readme.test_the_main_job`."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return laid(tmp_path_factory.mktemp("desk"))


def commands() -> list[str]:
    """The lines of every bash block, continued lines as one."""
    blocks = [
        block
        for page in sorted(PAGES.glob("*.md"))
        for block in re.findall(r"^```bash\n(.*?)^```", page.read_text(), flags=re.M | re.S)
    ]
    lines = [line for block in blocks for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines() if line.strip()]
    return [line for line in lines if "CHECKPOINT" not in line]  # of generated pages: the last test


def test_every_command_is_run_by_a_test() -> None:
    assert set(commands()) == set(COMMANDS) | set(LONG) | ELSEWHERE


@pytest.mark.parametrize("line", [*COMMANDS, *(pytest.param(line, marks=SLOW) for line in LONG)])
def test_command(line: str, desk: Path) -> None:
    if line.startswith("python -m probekit.report results") and not (desk / "results.nc").exists():
        run("probekit evaluate A --suite knn --data imagefolder:/data/val -o results.nc", desk, {})
    run(line, desk, {**COMMANDS, **LONG}[line])


@SLOW
@pytest.mark.parametrize("name", probes.names())
def test_the_command_on_the_page_of_a_probe(name: str, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    monkeypatch.setenv("PROBEKIT_CACHE", str(desk / "cache"))
    words = ["evaluate", "A", "--suite", name, "-o", "probe.nc", "--dry-run", "--counts", FEW.split("'")[1]]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
