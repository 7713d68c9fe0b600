"""A results file among the checkpoints says how the others are measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_measured import COUNTS, SPEC, tiny

import probekit
from probekit import schema
from probekit.errors import ProbeError, ResultsError
from probekit.evaluation import SUITES, Plan, Suite

MEASURED: dict[str, Any] = {
    "suite": ["knn", "reconstruction"], "data": SPEC, "counts": COUNTS, "seed": 3, "options": {"knn": {"ks": [3]}},
}  # fmt: skip


def test_a_new_checkpoint_is_measured_as_the_file_was(tmp_path: Path) -> None:
    file = schema.write(probekit.evaluate(tiny(), **MEASURED), tmp_path / "r.nc")
    whole = probekit.compare([str(file), tiny(seed=1)])
    both = probekit.compare([tiny(), tiny(seed=1)], **MEASURED)
    assert whole.k.values.tolist() == [3]
    assert whole.drop_attrs().identical(both.drop_attrs())
    assert whole.data.values.tolist() == both.data.values.tolist()


def test_masks_are_drawn_on_the_files_grid(tmp_path: Path) -> None:
    coarse = tiny(vit_patch_size=8)
    file = schema.write(probekit.evaluate(coarse, **MEASURED), tmp_path / "coarse.nc")
    whole = probekit.compare([str(file), tiny(seed=1)])
    assert bool(whole.masked_mse.notnull().all())


def test_what_is_given_wins_and_what_does_not_match_is_told(tmp_path: Path) -> None:
    file = schema.write(probekit.evaluate(tiny(), **MEASURED), tmp_path / "r.nc")
    with pytest.raises(ResultsError, match="seed"):
        probekit.compare([str(file), tiny(seed=1)], seed=0)
    wider = probekit.compare([str(file), tiny(seed=1)], suite="attention_distance")
    assert bool(wider.knn_accuracy.sel(checkpoint="model (2)").isnull().all())
    assert bool(wider.attention_distance.sel(checkpoint="model (2)", layer=slice(1, None)).notnull().all())


def test_results_that_do_not_say_or_disagree_ask() -> None:
    ds = probekit.evaluate(tiny(), **MEASURED)
    with pytest.raises(ProbeError, match="name suite="):
        probekit.compare([ds.assign_attrs(provenance=json.dumps({})), tiny(seed=1)])
    other = probekit.evaluate(tiny(seed=2), **(MEASURED | {"suite": "knn"})).assign_coords(checkpoint=["other"])
    with pytest.raises(ProbeError, match="different suites"):
        probekit.compare([ds, other, tiny(seed=1)])
    assert probekit.compare([ds, other]).sizes["checkpoint"] == 2  # nothing is measured: nothing to ask


def test_own_image_sets_are_chosen_for_the_new_one_too() -> None:
    ckpt = tiny()
    ckpt.card.data = SPEC
    ds = probekit.evaluate(ckpt, "latents", "own", counts=COUNTS)
    assert json.loads(ds.attrs["provenance"])["data"] == "own"
    new = tiny(seed=1)
    new.card.data = SPEC
    whole = probekit.compare([ds, new])
    assert whole.sizes["data"] == 1
    assert bool(
        whole.representation_level.sel(scaling="raw").notnull().any("layer").all()
    )  # whitened wants more images


PLAN = Plan(SPEC, ("level_recovery",), COUNTS, options={"level_recovery": {"landmarks": 20, "untrained": False}})


@pytest.mark.parametrize("given", [{}, {"landmarks": 512}, {"landmarks": 15}, {"untrained": True}])
def test_options_that_a_suite_brings_do_not_take_the_place_of_the_files(given, monkeypatch) -> None:
    """512 landmarks and the twin are the probe's defaults: a file does not list them, and they are not the plan's."""
    monkeypatch.setitem(SUITES, "latents", Suite(9, "a test's own", (PLAN,)))
    first = probekit.evaluate(tiny(), "latents", options={"level_recovery": given})
    both = probekit.compare([first, tiny(seed=1)])
    assert both.level_recovery.attrs["options"] == first.level_recovery.attrs["options"]
    assert ("gain_amount" in both) == given.get("untrained", False)


def test_options_that_image_sets_share_are_inherited_where_others_differ(monkeypatch) -> None:
    plans = Plan("quadtree", ("knn",), COUNTS, options={"knn": {"ks": [3]}}), Plan("shapes", ("knn",), COUNTS)
    monkeypatch.setitem(SUITES, "latents", Suite(9, "a test's own", plans))
    first = probekit.evaluate(tiny(), "latents", [SPEC, "shapes"], options={"knn": {"temperature": 0.1}})
    assert "by_data" in first.knn_accuracy.attrs["options"]
    both = probekit.compare([first, tiny(seed=1)])
    assert both.knn_accuracy.attrs["options"] == first.knn_accuracy.attrs["options"]


def test_results_that_are_put_together_say_what_they_agree_on() -> None:
    first = probekit.evaluate(tiny(), "latents", SPEC, counts=COUNTS)
    other = probekit.evaluate(tiny(seed=1), "latents", SPEC, counts=COUNTS).assign_coords(checkpoint=["other"])
    told = json.loads(probekit.compare([first, other]).attrs["provenance"])
    assert (told["suite"], told["suite_version"]) == ("latents", 2)
    more = probekit.evaluate(tiny(seed=2), "knn", SPEC, counts=COUNTS).assign_coords(checkpoint=["third"])
    joined = probekit.compare([first, more])
    assert "suite" not in json.loads(joined.attrs["provenance"])
    with pytest.raises(ProbeError, match="name suite="):
        probekit.compare([joined, tiny(seed=3)])
