"""Docstrings of the public functions: what goes in, what comes out, and an example; examples that say so run."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

import probekit
from probekit import masking, plot, schema, stamps
from probekit.collect import Counts, PassSettings
from probekit.data.quadtree import Quadtree

ROOMS = ("data", "evaluation", "latents", "models", "probes", "results", "training")
RUN = {
    "probekit.latents.mask_levels", "probekit.masking", "probekit.models.loading", "probekit.probes",
    "probekit.training.grid", "probekit.schema", "probekit.stamps",
}  # fmt: skip
"""Modules whose examples need neither a checkpoint of the reader's nor minutes."""


def public() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every function of the documented interface, by where it is called from."""
    places = [("probekit", probekit, [name for name in probekit.__all__ if not name.startswith("_")])]
    places += [(room, module, module.__all__) for room in ROOMS for module in [import_module(f"probekit.{room}")]]
    places += [("plot", plot, list(plot.CHARTS))]
    places += [(module.__name__.removeprefix("probekit."), module, own(module)) for module in (masking, schema, stamps)]
    found = {f"{where}.{name}": getattr(module, name) for where, module, names in places for name in names}
    yield from ((name, one) for name, one in found.items() if inspect.isfunction(one))


def own(module: Any) -> list[str]:
    """The public functions that a module defines."""
    return [
        name
        for name, one in vars(module).items()
        if inspect.isfunction(one) and one.__module__ == module.__name__ and not name.startswith("_")
    ]


FUNCTIONS = dict(public())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_says_what_goes_in_and_out_with_an_example(name: str) -> None:
    function = FUNCTIONS[name]
    text = inspect.getdoc(function) or ""
    missing = [part for part in ("Returns:", "Example:", ">>>") if part not in text]
    missing += ["Args:"] if inspect.signature(function).parameters and "Args:" not in text else []
    assert not missing, f"{function.__module__}.{function.__qualname__} lacks {', '.join(missing)}"


@pytest.mark.parametrize("name", [name for name, one in FUNCTIONS.items() if one.__module__ in RUN])
def test_examples_run(name: str) -> None:
    function = FUNCTIONS[name]
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder(recurse=False).find(function, name, globs=dict(function.__globals__)):
        assert runner.run(example).failed == 0


CLASSES = {
    name: one
    for room in ROOMS
    for module in [import_module(f"probekit.{room}")]
    for name, one in ((f"{room}.{each}", getattr(module, each)) for each in module.__all__)
    if inspect.isclass(one) and not issubclass(one, Exception)
}
CLASSES |= {"schema.Variable": schema.Variable, "data.Quadtree": Quadtree}
CLASSES |= {f"collect.{one.__name__}": one for one in (Counts, PassSettings)}
"""Classes that users make or read."""


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_class_says_what_it_takes_with_an_example_that_runs(name: str) -> None:
    one = CLASSES[name]
    text = inspect.getdoc(one) or ""
    assert "Args:" in text or "Attributes:" in text
    assert "Example:" in text
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    names = {**vars(inspect.getmodule(one)), "probekit": probekit, "np": np, "torch": torch}
    for example in doctest.DocTestFinder(recurse=False).find(one, name, globs=names):
        assert runner.run(example).failed == 0


def test_the_interface_is_found() -> None:
    assert {"probekit.load", "plot.by_setting", "masking.sample_hidden", "latents.recover"} <= set(FUNCTIONS)
    assert {"models.MaskedAutoencoder", "models.Checkpoint", "data.ImageSet"} <= set(CLASSES)
