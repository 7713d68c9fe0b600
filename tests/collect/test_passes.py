"""One pass serves every recorder, costs one encoder call per image, and does not depend on how it is run."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from tiny_measured import tiny

from probekit.collect import PassSettings, PreparedModel
from probekit.collect.pass_settings import Preparation
from probekit.collect.prepared import Source
from probekit.collect.store import Store
from probekit.errors import ProbeError
from probekit.masking import expand
from probekit.models import MaskedAutoencoder

EVERYTHING = (
    "features:test",
    "local:test",
    "attention",
    "attention_maps",
    "fourier",
    "reconstruction",
    "pictures",
    "pairs",
)


def arrays(measurements, names=EVERYTHING) -> dict[str, np.ndarray]:
    measurements.gather(names)
    out = {}
    for name in names:
        store = measurements.store(name)
        out |= {f"{name}/{array}": np.asarray(store[array][:]) for array in store.names()}
    return out


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        if a[name].dtype.kind == "u":
            assert np.abs(a[name].astype(int) - b[name].astype(int)).max() <= 1, name
        else:
            scale = np.abs(a[name][np.isfinite(a[name])]).max()
            np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-5 * scale, err_msg=name)


@pytest.fixture
def reference(measure):
    return arrays(measure("reference"))


@pytest.mark.parametrize("how", [{"batch_size": 1}, {"batch_size": 7}, {"workers": 2}])
def test_the_same_numbers_however_it_is_run(measure, reference, how) -> None:
    same(reference, arrays(measure("other", **how)))


@pytest.mark.parametrize("name", ["moments", "pairs"])
def test_what_is_summed_up_is_summed_up_anew_where_rows_are_measured_again(measure, monkeypatch, name: str) -> None:
    """Measurements that are deleted while they are taken are taken again: nothing of the first time stays."""
    expected = measure("whole")
    expected.gather([name])
    prove, deleted = Store.prove, []

    def deleting(self: Store) -> bool:
        if self.names() == expected.store(name).names() and not deleted:
            deleted.append(self.folder)
            shutil.rmtree(self.folder)
        return prove(self)

    monkeypatch.setattr(Store, "prove", deleting)
    again = measure("again")
    with pytest.warns(RuntimeWarning, match="is measured again"):
        again.gather([name])
    assert deleted
    for array in expected.store(name).names():
        np.testing.assert_array_equal(again.store(name)[array][:], expected.store(name)[array][:])
    for part, values in expected.store(name).summary().items():
        np.testing.assert_array_equal(again.store(name).summary()[part], values, err_msg=part)


def test_shuffled_images_give_the_same_rows(measure, sets, checkpoint) -> None:
    """A set whose order is permuted gives the permuted rows."""
    from probekit.collect import Counts, Splits
    from probekit.data import ArraySet

    test = sets["test"]
    order = np.random.default_rng(0).permutation(30)

    def array_set(rows):
        return ArraySet(
            test.pixels(rows), name="shuffled", spec=f"shuffled-{rows[0]}", split="test", classes=test.classes,
            labels=test.labels[rows], origin="stored", facts={"rows": rows.tolist()},
        )  # fmt: skip

    names = ("features:test", "attention", "fourier")
    counts = Counts(test=30, images=30)
    plain = arrays(measure("plain", data=Splits({"test": array_set(np.arange(30))}, counts)), names)
    shuffled = arrays(measure("shuffled", data=Splits({"test": array_set(order)}, counts)), names)
    same({name: array[order] for name, array in plain.items()}, shuffled)


def test_each_image_goes_through_the_encoder_once(measure, monkeypatch) -> None:
    seen = []
    trace = MaskedAutoencoder.trace

    def counted(self, images, *args, **kwargs):
        seen.append(len(images))
        return trace(self, images, *args, **kwargs)

    monkeypatch.setattr(MaskedAutoencoder, "trace", counted)
    measurements = measure(batch_size=8)
    measurements.gather(["features:test", "attention", "attention_maps", "local:test", "fourier"])
    assert sum(seen) == measurements.forwards == 30
    again = measure(batch_size=8)
    again.gather(["features:test", "attention", "attention_maps"])
    assert again.forwards == 0
    again.gather(["features:test", "reconstruction"])
    assert again.forwards == 25  # only what the new measurement lacks
    assert sum(seen) == 55


def test_a_killed_pass_goes_on_where_it_stopped(measure, reference, monkeypatch) -> None:
    from probekit.collect import store

    monkeypatch.setattr(store, "CHUNK_IMAGES", 8)
    batches = Source.batches

    def dying(self, prepared, start, stop):
        for number, batch in enumerate(batches(self, prepared, start, stop)):
            if number == 3:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(Source, "batches", dying)
    with pytest.raises(KeyboardInterrupt):
        measure("killed", batch_size=4).gather(EVERYTHING[:-1])
    monkeypatch.setattr(Source, "batches", batches)
    again = measure("killed", batch_size=4)
    same({name: array for name, array in reference.items() if "pairs" not in name}, arrays(again, EVERYTHING[:-1]))
    assert again.forwards == 30 - 11  # stretches of 3, 4 and 4 rows went by; the chunk of 8 was written with the third


def test_features_are_those_of_encode_and_pool(measure, checkpoint, sets) -> None:
    measurements = measure()
    measurements.gather(["features:test"])
    images = next(iter(sets["test"].batches(30, checkpoint.preprocess)))["image"][:30]
    with torch.inference_mode():
        tokens = checkpoint.model.encode(images)
    assert measurements.poolings == ("cls", "mean")
    np.testing.assert_allclose(measurements.pooled("test", 2, "cls"), tokens[:, 0].numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        measurements.pooled("test", 2, "mean"), tokens[:, 1:].mean(1).numpy(), rtol=1e-5, atol=1e-5
    )


def test_unmasked_reconstruction_is_the_models_own(measure, checkpoint, sets) -> None:
    measurements = measure()
    measurements.gather(["pictures"])
    images = next(iter(sets["test"].batches(3, checkpoint.preprocess)))["image"][:3]
    with torch.inference_mode():
        expected = (checkpoint.model.reconstruct(images) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    stored = np.asarray(measurements.store("pictures")["full"][:])
    assert np.abs(stored.astype(int) - expected.astype(int)).max() <= 1


def test_nan_features_name_the_layer_and_the_checkpoint(measure) -> None:
    broken = tiny()
    with torch.no_grad():
        broken.model.encoder.blocks[1].mlp.fc2.bias.fill_(float("nan"))
    with pytest.raises(ProbeError, match=r"features of layer 2 of 2 are NaN or infinite \(images 0 to"):
        measure(given=broken).gather(["features:test"])


def test_evaluation_masks_hide_the_same_pixels_for_every_vit_patch(checkpoint, sets) -> None:
    settings = PassSettings(mask_grid=(2, 2))
    fine, coarse = PreparedModel(checkpoint, settings), PreparedModel(tiny(vit_patch_size=8), settings)
    assert torch.equal(fine.hidden_units(sets["test"], 5), coarse.hidden_units(sets["test"], 9)[:5])
    on_pixels = [expand(prepared.hidden_units(sets["test"], 5), (2, 2), (16, 16)) for prepared in (fine, coarse)]
    assert torch.equal(*on_pixels)
    assert (on_pixels[0].float().mean(dim=1) == 0.75).all()
    with pytest.raises(ProbeError, match="whole multiples"):
        PreparedModel(checkpoint, PassSettings(mask_grid=(3, 3)))


def test_autocast_is_near_and_has_a_key_of_its_own(measure, reference) -> None:
    half = arrays(measure("half", precision="bfloat16"), ("features:test",))
    exact = reference["features:test/pooled"]
    assert 0 < np.abs(half["features:test/pooled"] - exact).max() < 0.1 * np.abs(exact).max()


def test_unknown_settings_and_measurements_are_named() -> None:
    with pytest.raises(ProbeError, match="Did you mean 'bfloat16'"):
        PassSettings(precision="bfloat61")
    with pytest.raises(ProbeError, match="batch_size=0"):
        PassSettings(batch_size=0)


def test_an_unknown_need_is_named(measure) -> None:
    with pytest.raises(ProbeError, match="Did you mean 'attention'"):
        measure().gather(["atention"])
    with pytest.raises(ProbeError, match="must list it in its NEEDS"):
        measure().store("attention")


def test_evaluation_masks_follow_the_seed_and_the_image(checkpoint, sets) -> None:
    masks = {
        seed: PreparedModel(checkpoint, PassSettings(seed=seed)).hidden_units(sets["test"], 30)
        for seed in (0, 1, 2**20)
    }
    for a, b in ((0, 1), (0, 2**20), (1, 2**20)):
        assert (masks[a] != masks[b]).any(dim=1).float().mean() > 0.9
    assert torch.equal(PreparedModel(checkpoint, PassSettings(seed=1)).hidden_units(sets["test"], 30), masks[1])
    assert len(torch.unique(masks[0], dim=0)) > 20


def test_large_images_go_in_smaller_batches(checkpoint, monkeypatch) -> None:
    """As many pixels at once, whatever the size: what bounds memory."""
    small = PreparedModel(checkpoint, PassSettings(batch_size=64))
    assert (small.batch_size(), small.batch_size(8), small.batch_size(100)) == (64, 8, 1)
    large = PreparedModel(checkpoint, PassSettings(batch_size=64, preparation=Preparation(image_size=(448, 448))))
    assert (large.batch_size(), large.batch_size(2), large.batch_size(5)) == (4, 2, 1)
    monkeypatch.setattr(PreparedModel, "device", torch.device("cuda"))
    assert (large.batch_size(), large.batch_size(5), large.batch_size(17)) == (16, 3, 1)
