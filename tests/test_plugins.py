"""A user's own package brings a probe, a checkpoint format and an image source along."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch

from probekit import data, plugins, probes
from probekit.errors import DataError, ProbeError
from probekit.models import formats

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
[PROBE] = re.findall(r"```python\n# my_package/feature_norm.py\n(.*?)```", README, flags=re.DOTALL)

FORMAT = '''
"""Checkpoints of my trainer: timm's names, each with `net/` in front."""

from probekit.models.formats import Reading

NAME = "my trainer"
RANK = 1


def matches(found):
    return bool(found.tensors) and all(name.startswith("net/") for name in found.tensors)


def read(found):
    encoder = {name.removeprefix("net/"): tensor for name, tensor in found.tensors.items()}
    return Reading(NAME, encoder, spell=lambda name: "net/" + name.removeprefix("encoder."))
'''

SOURCE = '''
"""Images of my microscope: grey noise, in two classes."""

import numpy as np

from probekit.data import ArraySet, load


def open_split(argument, split, *, spec, count=None, seed=0, bright: int = 1):
    draw = np.random.default_rng(len(split))
    images = draw.integers(0, 256, (count or 40, 16, 16, 3), dtype=np.uint8)
    return load({split: (images, np.arange(len(images)) % 2)}, split, name="microscope")
'''

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "my-package"
version = "1"

[tool.hatch.build.targets.wheel]
packages = ["my_package"]

[project.entry-points."probekit.probes"]
feature_norm = "my_package.feature_norm"

[project.entry-points."probekit.formats"]
my_trainer = "my_package.trainer_format"

[project.entry-points."probekit.data"]
microscope = "my_package.microscope"
"""

JOB = """
import json
import probekit
import torch
ds = probekit.evaluate("net.pth", "feature_norm", "microscope", counts={"test": 20}, device="cpu", cache=False)
record = json.loads(ds.attrs["provenance"])["records"][0]
print(json.dumps({
    "norm": float(ds.feature_norm.isel(checkpoint=0, data=0, layer=-1, pooling=0)),
    "format": record["checkpoint"]["verdict"]["format"], "data": str(ds.data.values[0]),
    "home": probekit.__file__, "torch": torch.__file__,
}))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The user's package as a folder."""
    folder = tmp_path / "user" / "my_package"
    folder.mkdir(parents=True)
    files = {"__init__.py": "", "feature_norm.py": PROBE, "trainer_format.py": FORMAT, "microscope.py": SOURCE}
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder.parent / "pyproject.toml").write_text(PROJECT)
    return folder.parent


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A checkpoint of the user's trainer."""
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    vit = VisionTransformer(img_size=16, patch_size=4, embed_dim=64, depth=1, num_heads=1, num_classes=0)
    state = {f"net/{name}": tensor for name, tensor in vit.state_dict().items()}
    torch.save(state, tmp_path / "net.pth")
    return tmp_path / "net.pth"


@pytest.fixture
def brought(package: Path, monkeypatch: pytest.MonkeyPatch):
    """The package as if it were installed."""
    monkeypatch.syspath_prepend(str(package))
    points = {
        "probekit.probes": [EntryPoint("feature_norm", "my_package.feature_norm", "probekit.probes")],
        "probekit.formats": [EntryPoint("my_trainer", "my_package.trainer_format", "probekit.formats")],
        "probekit.data": [
            EntryPoint("microscope", "my_package.microscope", "probekit.data"),
            EntryPoint("microscope", "my_package.other", "probekit.data"),
            EntryPoint("broken", "my_package.not_there", "probekit.data"),
        ],
    }
    caches = (plugins.installed, formats.formats, probes._installed)
    monkeypatch.setattr(plugins, "entry_points", lambda group: points[group])
    for cached in caches:
        cached.cache_clear()
    before = dict(probes._registered)
    yield
    probes._registered.clear()
    probes._registered.update(before)
    for cached in caches:
        cached.cache_clear()


@pytest.mark.usefixtures("brought")
def test_what_a_package_brings_is_found(net: Path) -> None:
    assert "feature_norm" in probes.names()
    assert "my trainer" in [module.NAME for module in formats.formats()]
    with pytest.warns(RuntimeWarning, match=r"'my_package\.other' is named 'microscope', as another one is"):
        images = data.load("microscope", "test", count=6)
    assert np.unique(images.labels).tolist() == [0, 1]
    with pytest.raises(DataError, match=r"The image source broken \(my_package\.not_there\) cannot be imported"):
        data.load("broken")


@pytest.mark.usefixtures("brought")
def test_a_format_that_is_incomplete_is_left_out_and_told(package: Path) -> None:
    (package / "my_package" / "trainer_format.py").write_text('NAME = "half"\n')
    with pytest.warns(RuntimeWarning, match="lacks RANK, matches, read: it is left out"):
        assert "half" not in [module.NAME for module in formats.formats()]


@pytest.mark.usefixtures("brought")
def test_a_probe_that_cannot_be_imported_names_its_package(package: Path) -> None:
    (package / "my_package" / "feature_norm.py").write_text("import not_installed_anywhere\n")
    with pytest.raises(ProbeError, match=r"feature_norm .* cannot be imported: ModuleNotFoundError"):
        probes.find("feature_norm")


@pytest.mark.slow
@pytest.mark.parametrize("libraries", ["of this environment", "installed anew"])
def test_a_users_package_in_an_environment_of_its_own(package: Path, net: Path, tmp_path: Path, libraries: str) -> None:
    """probekit and the package are built and installed; with every library that they need, or beside those here."""
    env = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", str(env)], check=True)
    python = env / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(ROOT), str(package)]
    if libraries == "installed anew":
        done = subprocess.run(install, capture_output=True, text=True)
        if done.returncode and "No matching distribution" in done.stderr:
            pytest.skip(f"the libraries cannot be fetched here: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
    else:
        subprocess.run([*install, "--no-deps"], check=True)
        home = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        (Path(home) / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    plain = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PROBEKIT_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([python, "-c", JOB], cwd=net.parent, env=plain, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["norm"] > 0
    assert (found["format"], found["data"]) == ("my trainer", "microscope")
    assert found["home"].startswith(str(env))
    assert libraries == "of this environment" or found["torch"].startswith(str(env))
    version = subprocess.run(
        [env / "bin" / "probekit", "--version"], env=plain, capture_output=True, text=True, check=True
    )
    assert version.stdout.startswith("mae-probekit ")
