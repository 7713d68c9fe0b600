"""What every probe must be and do, whichever file it is in: adding a probe adds it to these tests."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import xarray as xr
from tiny_measured import COUNTS, QUICK, SPEC, coloured, tiny

from probekit import probes, schema
from probekit.collect import Measurements, PassSettings, PreparedModel, Splits
from probekit.collect.needs import EXTRA, NEEDS
from probekit.errors import ProbeError
from probekit.evaluation import suites
from probekit.models.card import tensor_digest

IMAGES = {
    **dict.fromkeys(("linear_probe", "knn", "latent_recovery", "level_spectrum"), SPEC),
    **dict.fromkeys(("level_recovery", "expected_levels", "identifiability"), SPEC),
    "colour_accuracy": "photos",
    "multilabel_probe": "multilabel",
    "regression_probe": "regression",
    **dict.fromkeys(("depth", "correspondence"), "stereo_motorcycle"),
}
"""Image set of a probe's test; `shapes`, brought to 16 x 16 pixels by the tiny model, for the others."""

SCALE_OF_DIMS = {"layer": (1, 2, 3), "head": (2,), "level": (2, 3, 4), "map": (3,)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Probe and batch size -> arrays, each computed once."""
    root = tmp_path_factory.mktemp("measurements")
    opened = {spec: Splits(spec, COUNTS) for spec in (SPEC, "shapes", "photos", "stereo_motorcycle")}
    opened |= {kind: Splits(coloured(kind), COUNTS) for kind in ("multilabel", "regression")}
    checkpoint = tiny()
    checkpoint.card.mask_ratio, checkpoint.card.patch_size = 0.75, 4
    before = tensor_digest(checkpoint.model.state_dict())
    made: dict[tuple[str, int, str], dict[str, xr.DataArray]] = {}

    def run(name: str, batch_size: int = 8, folder: str = "a") -> dict[str, xr.DataArray]:
        key = (name, batch_size, folder)
        if key not in made:
            prepared = PreparedModel(checkpoint, PassSettings(batch_size=batch_size, picture_side=16))
            measurements = Measurements(prepared, opened[IMAGES.get(name, "shapes")], root / folder / str(batch_size))
            probe = probes.find(name)
            assert probe.lacking(prepared, measurements.sets) is None
            measurements.gather(probe.needs)
            made[key] = probe.run(measurements, **{**probe.options, **QUICK.get(name, {})})
            assert tensor_digest(checkpoint.model.state_dict()) == before, "frozen means frozen"
            assert not any(weights.grad is not None for weights in checkpoint.model.parameters())
        return made[key]

    return run


ALL = probes.names()

pytestmark = pytest.mark.filterwarnings("ignore:arrays: ")


def test_the_probes_of_the_paper_are_all_there() -> None:
    asked_for = {
        *("linear_probe", "knn", "reconstruction", "attention_distance", "attention_entropy", "attention_nmi"),
        *("attention_maps", "object_focus", "latent_recovery", "level_spectrum", "label_free", "low_level"),
        *("shape_bias", "robustness", "embedding", "expected_levels", "colour_accuracy"),
    }
    assert asked_for <= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_it_says_what_it_is(name) -> None:
    probe = probes.find(name)
    assert len(probe.summary) > 20
    assert probe.summary.endswith(".")
    assert probe.variables
    assert set(probe.needs) <= {*NEEDS, *EXTRA}
    assert set(probe.requires) <= set(probes.REQUIREMENTS)
    json.dumps(probe.options)
    for variable in probe.variables:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", variable.name)
        assert variable.long_name[0].isupper() or variable.long_name.startswith(("k-", "alpha-"))
        assert variable.protocol
        assert variable.reference
        assert variable.units
        assert variable.version >= 1


def test_no_two_probes_share_a_variable() -> None:
    names = [variable.name for name in ALL for variable in probes.find(name).variables]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ALL)
def test_it_gives_what_it_says_with_labels_and_intervals(runs, name) -> None:
    arrays = runs(name)
    for variable in probes.find(name).variables:
        if variable.name.endswith("fsim"):
            continue  # images of 16 pixels are too small for FSIM
        array = arrays[variable.name]
        assert array.dims == variable.dims
        for key in schema.ATTRIBUTES:  # a title may go on to say at how many images
            told = array.attrs[key]
            assert told == variable.attributes[key] or (key == "long_name" and told.startswith(variable.long_name))
        for dim in variable.dims:
            assert dim in array.coords
            assert array.sizes[dim] in SCALE_OF_DIMS.get(dim, (array.sizes[dim],))
        if variable.interval is not None:
            interval = arrays[f"{variable.name}_ci"]
            known = np.isfinite(array.values) & np.isfinite(interval.values).all(-1)
            assert (interval.values[..., 0] <= interval.values[..., 1] + 1e-9)[known].all()
        if f"{variable.name}_image" in arrays:
            per_image = arrays[f"{variable.name}_image"].values.astype(float)
            used = np.isfinite(per_image).any(-1)
            mean = np.nanmean(np.where(used[..., None], per_image, 0), axis=-1)
            np.testing.assert_allclose(mean[used], array.values[used], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_it_gives_the_same_again_and_at_other_batch_sizes(runs, name) -> None:
    first = runs(name)
    for other in (runs(name, folder="b"), *(runs(name, batch_size=size) for size in (1, 7, 64))):
        for variable in probes.find(name).variables:
            if variable.name in first:
                ours, theirs = first[variable.name], other[variable.name]
                # One image of thirty may tip where two classes are as good as equal; real sets have a thousand.
                loose = 1.01 / 30 if "accuracy" in variable.name or variable.name == "shape_bias" else 0.0
                xr.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=loose + 1e-6)


def test_an_unknown_probe_and_an_unknown_option_are_named() -> None:
    with pytest.raises(ProbeError, match="Did you mean 'linear_probe'"):
        probes.find("linear_prob")
    with pytest.raises(ProbeError, match=r"no option 'presset'.*Did you mean 'preset'"):
        probes.find("linear_probe").settings({"presset": 1})


def test_every_probe_can_be_asked_for_by_name_alone() -> None:
    for name in ALL:
        (plan,) = suites.plans([name])  # a list: some suites are called as a probe is
        assert plan.probes == (name,)
