"""Programs in processes of their own that start with torch already imported.

A new interpreter spends seconds of processor time on imports. Here each process is forked from a server that has
imported the libraries once, but nothing of probekit: probekit itself is imported anew in every process.
Tests that are about starting up use `subprocess`.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from types import ModuleType

LIBRARIES = [
    "altair", "dask", "h5netcdf", "jinja2", "networkx", "pandas", "rich", "scipy.stats", "skimage.metrics",
    "sklearn.linear_model", "timm", "torch", "torchvision.transforms.v2", "transformers",
    "transformers.models.vit_mae.modeling_vit_mae", "typer", "xarray",
]  # fmt: skip
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(LIBRARIES)


def _become(words: Sequence[str], cwd: str, env: Mapping[str, str], output: str | None) -> None:
    """Do what `python WORDS` does: `-m MODULE ...`, `-c CODE ...` or `SCRIPT ...`."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    if output is not None:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for stream in (1, 2):
            os.dup2(os.open(f"{output}.{stream}", os.O_WRONLY | os.O_CREAT), stream)
    kind, *rest = words if words[0] in ("-m", "-c") else ("", *words)
    sys.argv = [kind if kind == "-c" else rest[0], *rest[1:]]
    if kind == "-c":
        sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), vars(sys.modules["__main__"]))
    elif kind == "-m":
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(rest[0]).parent))
        runpy.run_path(rest[0], run_name="__main__")


def start(
    *words: object, cwd: Path | None = None, env: Mapping[str, str] | None = None, output: str | None = None
) -> ForkServerProcess:
    """Start `python WORDS`; what it prints goes to the files `output`.1 and `output`.2, if given."""
    given = ([str(word) for word in words], str(cwd or Path.cwd()), dict(os.environ if env is None else env), output)
    process = CONTEXT.Process(target=_become, args=given)
    process.start()
    return process


def run(
    *words: object, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float = 280
) -> CompletedProcess[str]:
    """Run `python WORDS` to its end, as `subprocess.run(..., capture_output=True, text=True)` does."""
    with tempfile.TemporaryDirectory() as folder:
        output = f"{folder}/output"
        process = start(*words, cwd=cwd, env=env, output=output)
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutExpired([str(word) for word in words], timeout)
        out, err = (Path(f"{output}.{stream}").read_text() for stream in (1, 2))
        return CompletedProcess(words, process.exitcode, out, err)
