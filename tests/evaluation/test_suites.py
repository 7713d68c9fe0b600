"""Suites exist of probes that exist, on sets that ship; what is asked for wrongly is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_measured import COUNTS, SPEC, tiny

import probekit
from probekit import load, probes
from probekit.data.spec import NO_PLACE
from probekit.errors import ProbeError
from probekit.evaluation import SUITES, Plan, Suite, suites
from probekit.evaluation.suite_versions import ATTENTION

FROZEN = {
    "high_level": 2,
    "low_level": 1,
    "attention": 1,
    "latents": 2,
    "label_free": 1,
    "paper": 4,
    "dense": 1,
    "transfer": 1,
    "all": 2,
}


def test_every_suite_is_made_of_probes_that_exist_on_sets_that_ship() -> None:
    assert {name: suite.version for name, suite in SUITES.items()} == FROZEN
    for suite in SUITES.values():
        assert set(suite.probes) <= set(probes.names())
        assert {plan.data for plan in suite.plans} <= set(NO_PLACE)


def test_every_version_of_a_suite_stays_callable_and_is_recorded() -> None:
    for name, suite in SUITES.items():
        for version in range(1, suite.version + 1):
            found = suites.published(f"{name}@{version}")
            assert found is not None
            assert suites.describe(f"{name}@{version}") == {"suite": name, "suite_version": version}
            assert suites.plans(f"{name}@{version}") == list(found.plans)
    assert suites.recorded({"suite": "paper", "suite_version": 1}) == "paper@1"
    assert suites.recorded({"suite": "paper", "suite_version": SUITES["paper"].version}) == "paper"
    assert suites.recorded({"suite": ["knn"]}) == ["knn"]
    assert "level_recovery" not in suites.published("paper@1").probes
    assert "level_recovery" in suites.published("paper").probes
    with pytest.raises(ProbeError, match=r"no version '7'. Known: paper@1, paper@2, paper@3, paper@4"):
        suites.plans("paper@7")


def test_the_suite_paper_has_images_enough_to_whiten_the_features_of_shipped_encoders() -> None:
    """Whitened readings need two images for each dimension; with fewer they are silently fewer columns of a report."""
    counts = {plan.data: plan.counts for plan in SUITES["paper"].plans}
    widths = {name: load(f"shipped:{name}-r0.75-p4-s0").model.width for name in ("quadtree", "cifar10")}
    assert counts["quadtree"].pairs >= 2 * widths["quadtree"]
    assert min(counts["shapes"].ladder, counts["shapes"].test) >= 2 * widths["cifar10"]
    assert min(counts["photos"].ladder, counts["photos"].test) >= 2 * widths["cifar10"]


SHOWN = ("quadtree", "shapes", "photos")
"""Image sets that have a column in the table; what runs on others stands in the last one."""


def written(suite: Suite) -> list[str]:
    """The cells of a suite's row in the table: probes on each set that ships, counts where they differ."""
    on = {plan.data: plan for plan in suite.plans}
    cells = [", ".join(on[data].words) if data in on else "" for data in SHOWN]
    cells = [cell.replace(", ".join(ATTENTION), "attention_*") for cell in cells]
    if suite is SUITES["all"]:
        cells = ["every probe that the set allows", "same", "same"]
    counts = {name: f"{plan.counts.train} / {plan.counts.val} / {plan.counts.test}" for name, plan in on.items()}
    others = [f"{data}: {', '.join(plan.probes)}" for data, plan in on.items() if data not in SHOWN]
    usual = next(iter(counts.values()))
    return [
        *cells,
        "; ".join([usual, *(f"{name} {count}" for name, count in counts.items() if count != usual), *others]),
    ]


def test_the_table_of_suites_in_the_documentation_is_the_code() -> None:
    lines = (Path(__file__).parents[2] / "docs/pages/suites.md").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| suite (version)"))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[start + 2 : start + 2 + len(SUITES)]]
    assert rows == [[f"`{name}` ({suite.version})", *written(suite)] for name, suite in SUITES.items()]


def test_a_suites_options_stand_until_the_user_gives_others() -> None:
    plan = Plan("quadtree", ("knn",), options={"knn": {"ks": [1], "weights": "uniform"}})
    assert plan.options_with({}) == plan.options
    given = {"knn": {"ks": [5]}, "level_recovery": {"inputs": "either"}}
    assert plan.options_with(given) == {
        "knn": {"ks": [5], "weights": "uniform"},
        "level_recovery": {"inputs": "either"},
    }
    for plan in suites.plans("paper") + suites.plans(
        "paper", "quadtree?height=3", SUITES["high_level"].plans[0].counts
    ):
        assert plan.options == ({"level_recovery": {"landmarks": 256}} if str(plan.data).startswith("quadtree") else {})
        for name, options in plan.options.items():
            assert name in plan.probes
            assert set(options) <= set(probes.find(name).options)


@pytest.mark.parametrize(("given", "landmarks"), [({}, 20), ({"level_recovery": {"landmarks": 15}}, 15)])
def test_a_suites_options_are_those_of_the_measurement_and_recorded(given, landmarks, monkeypatch) -> None:
    plan = Plan(SPEC, ("level_recovery",), COUNTS, options={"level_recovery": {"landmarks": 20, "untrained": False}})
    monkeypatch.setitem(SUITES, "latents", Suite(9, "a test's own", (plan,)))
    ds = probekit.evaluate(tiny(), "latents", options=given, cache=False)
    assert json.loads(ds["level_recovery"].attrs["options"]) == {"landmarks": landmarks, "untrained": False}


def test_image_sets_that_do_not_fit_are_left_out_and_named() -> None:
    few = {"images": 4, "train": 20, "val": 10, "test": 8, "objects": 2, "gradients": 2, "pictures": 2, "ladder": 8}
    name = "cifar10-r0.75-p16-s0"
    ds = probekit.compare([f"shipped:{name}"], "paper", "own", counts=few, cache=False)
    assert list(ds.data.values) == ["photos"]
    assert json.loads(ds.attrs["not_applicable"])[name]["the image set shapes"] == (
        'left out by data="own", which takes what fits the training data, here CIFAR-10 training images; '
        'data="shapes" measures it there'
    )
    there = probekit.compare([f"shipped:{name}"], "shape_bias", "shapes", counts=few, cache=False)
    joined = probekit.compare([ds, there])
    assert sorted(joined.data.values) == ["photos", "shapes"]
    assert "the image set shapes" not in joined.attrs["not_applicable"]  # what the reason advises has been done
    assert "the image set quadtree" in joined.attrs["not_applicable"]
    alone = probekit.compare([tiny()], "knn", "quadtree?height=3", counts=few, cache=False)
    assert "image set" not in alone.attrs["not_applicable"]  # nothing is left out of what was named
    whole = probekit.compare([f"shipped:{name}"], "attention", "own", counts=few, cache=False)
    assert sorted(whole.data.values) == ["photos", "shapes"]
    assert "left out" not in whole.attrs["not_applicable"]


def test_all_holds_every_probe() -> None:
    assert set(SUITES["all"].probes) == set(probes.names())


def test_a_probe_asked_for_by_name_goes_where_it_belongs() -> None:
    found = suites.plans(["level_spectrum", "knn", "reconstruction"])
    assert {plan.data: plan.probes for plan in found} == {
        "quadtree": ("level_spectrum",), "shapes": ("knn",), "photos": ("reconstruction",),
    }  # fmt: skip
    assert all(plan.explicit for plan in found)


def test_given_data_runs_the_suites_plan_for_it_or_else_all_of_it() -> None:
    (plan,) = suites.plans("high_level", "quadtree?height=3")
    assert plan.probes == SUITES["high_level"].plans[0].probes
    assert plan.data == "quadtree?height=3"
    (plan,) = suites.plans("high_level", "imagefolder:somewhere")
    assert plan.probes == SUITES["high_level"].probes


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ("high_levle", "Did you mean 'high_level'"),
        (["linear_prob"], "Did you mean 'linear_probe'"),
        ("knnn", "Did you mean 'knn'"),
        ([], "empty list"),
    ],
)
def test_what_does_not_exist_is_named_with_the_nearest(suite, message) -> None:
    with pytest.raises(ProbeError, match=message):
        suites.plans(suite)


@pytest.mark.parametrize(
    ("trained_on", "expected"),
    [
        ("quadtree?noise=0.5,1,1,1, train split", {"quadtree": "quadtree?noise=0.5,1,1,1"}),
        ("quadtree, train split", {"quadtree": "quadtree"}),
        ("imagefolder:cifar, train split", {"shapes": "shapes", "photos": "photos"}),
        (None, None),
    ],
)
def test_the_sets_that_fit_what_a_checkpoint_was_trained_on(trained_on, expected) -> None:
    assert suites.own(trained_on) == expected


@pytest.mark.parametrize(
    ("trained_on", "expected"),
    [
        ("quadtree?height=3, train split", ["quadtree?height=3"]),
        ("shapes, train split", ["shapes", "photos"]),
        ("imagefolder:cifar, train split", ["shapes", "photos"]),  # a folder's name says nothing
        ("CIFAR-10 training images, train split: 4,050 of each class", ["photos"]),
        ("torchvision:CIFAR100:DIR, train split", ["photos"]),
        ("hf:uoft-cs/cifar10, train split", ["photos"]),
        (None, ["quadtree", "shapes", "photos"]),
    ],
)
def test_the_suite_paper_leaves_drawn_shapes_out_for_encoders_of_cifar(trained_on, expected) -> None:
    assert [plan.data for plan in suites.fitting(suites.plans("paper"), trained_on)] == expected
    pictures = expected if expected[-1] != "photos" else [*expected[:-2], "shapes", "photos"]
    for other in ("paper@3", "high_level"):  # they publish no such rule
        assert [plan.data for plan in suites.fitting(suites.plans(other), trained_on)] == pictures
    (alone,) = suites.fitting(suites.plans("label_free"), trained_on)  # a suite of one image set has no choice
    assert alone.data == "shapes"
