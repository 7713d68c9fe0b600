"""Arguments of a wrong type end in an error of probekit that says what was expected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import probekit
from probekit import checks, report
from probekit.errors import ProbekitError
from probekit.latents import GeneratingProcess, LatentGraph, expected_levels, recover
from probekit.models import MaskedAutoencoder

GRAPH = LatentGraph.quadtree(height=2)
WRAP: dict[str, Any] = {
    "encode": lambda images: [torch.zeros(len(images), 16, 4)], "patch_size": 8, "image_size": (32, 32),
    "mean": (0.5,) * 3, "std": (0.5,) * 3, "name": "mine",
}  # fmt: skip


def small() -> probekit.models.Checkpoint:
    net = MaskedAutoencoder.create(
        image_size=(8, 8), vit_patch_size=4, width=8, depth=1, num_heads=2, decoder_width=8, decoder_depth=1,
        decoder_num_heads=2,
    )  # fmt: skip
    return probekit.load(net, device="cpu")


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "load an array": (lambda: probekit.load(np.zeros(3)), "An object of type ndarray names no checkpoint"),
    "load a device": (lambda: probekit.load("shipped:untrained-s0", device=5), "device=5 cannot be used here"),
    "save": (lambda: small().save(5), "directory=5; expected the path of the directory to write"),
    "write": (lambda: report.write(None, 5), "expected a results dataset|path=5; expected the path of the page"),
    "summary": (lambda: probekit.summary(np.zeros(3)), "was given an ndarray; expected a results dataset"),
    "contrast": (lambda: probekit.contrast(None, baseline="a"), "was given None; expected a results dataset"),
    "similarity": (lambda: probekit.similarity(5, "shapes"), "checkpoints=5; expected a list of two or more"),
    "metrics": (lambda: probekit.similarity(["a", "b"], "shapes", metrics=5), "metrics=5; expected a list of some of"),
    "names": (lambda: probekit.similarity(["a", "b"], "shapes", names=5), "names=5; expected a list of texts"),
    "one name": (lambda: probekit.similarity(["a", "b"], "shapes", names=["a"]), "expected 2 texts"),
    "mean": (lambda: probekit.Encoder.wrap(**WRAP | {"mean": 5}), "mean=5; expected a list of numbers"),
    "std": (lambda: probekit.Encoder.wrap(**WRAP | {"std": "a"}), "std='a'; expected a list of numbers"),
    "channels": (lambda: probekit.Encoder.wrap(**WRAP | {"channels": "a"}), "channels='a'; expected a whole number"),
    "height": (lambda: LatentGraph.quadtree(height="a"), "height='a'; expected a whole number of at least 1"),
    "hidden": (lambda: GRAPH.shared(hidden=5), "hidden=5; expected a list of observables"),
    "ratio": (lambda: expected_levels(GRAPH, mask_ratio="a"), "mask_ratio='a'; expected a finite number"),
    "unit": (lambda: expected_levels(GRAPH, patch_size=1.5), "patch_size=1.5; expected a whole number"),
    "graph": (lambda: expected_levels(5), "graph is an int; expected a LatentGraph"),
    "process": (lambda: recover(GRAPH, hidden=[]), "process is a LatentGraph; expected a GeneratingProcess"),
    "no graph": (lambda: GeneratingProcess(5), "graph is an int; expected a LatentGraph"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_type_is_an_error_that_says_what_was_expected(name: str) -> None:
    call, message = WRONG[name]
    with pytest.raises(ProbekitError, match=message):
        call()


def test_one_ratio_and_one_unit_need_no_list() -> None:
    one = expected_levels(GRAPH, mask_ratio=0.5, patch_size=1, n_masks=20)
    assert one.equals(expected_levels(GRAPH, mask_ratio=[0.5], patch_size=[1], n_masks=20))


def test_lists_paths_and_objects_pass() -> None:
    assert checks.several("mean", np.array([1.0, 2.0]), "numbers") == [1.0, 2.0]
    assert str(checks.a_path("output", "a/b", "a file")) == "a/b"
    for value in ("", None, 3):
        with pytest.raises(ProbekitError, match="expected the path of a file"):
            checks.a_path("output", value, "a file")
    with pytest.raises(ProbekitError, match="expected a list of numbers"):
        checks.several("mean", np.float64(3), "numbers")
