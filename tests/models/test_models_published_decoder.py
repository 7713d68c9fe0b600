"""The decoder that MAE's models were published with: known, not guessed."""

from __future__ import annotations

import pytest
import torch

from probekit.models import CheckpointWarning, MaskedAutoencoder, load

SIZES = {"image_size": (16, 16), "vit_patch_size": 8, "width": 192, "depth": 12, "num_heads": 3, "mlp_ratio": 0.1}


def written(path, decoder_depth: int, decoder_num_heads: int):
    model = MaskedAutoencoder.create(
        **SIZES, decoder_width=512, decoder_depth=decoder_depth, decoder_num_heads=decoder_num_heads
    )
    state = {}
    for name, tensor in model.state_dict().items():
        part, _, rest = name.partition(".")
        if part in ("encoder", "decoder"):
            state[rest if part == "encoder" or rest == "mask_token" else f"decoder_{rest}"] = tensor
    torch.save({"model": state}, path)
    return path


@pytest.mark.filterwarnings("ignore:The normalisation", "ignore:Whether pixel targets")
def test_the_published_decoder_is_a_note_and_others_a_warning(tmp_path) -> None:
    checkpoint = load(written(tmp_path / "published.pth", 8, 16))
    assert checkpoint.model.decoder.num_heads == 16
    assert any("the published decoder of width 512" in note for note in checkpoint.verdict.notes)
    assert not any("guessed" in warning for warning in checkpoint.verdict.warnings)
    assert load(tmp_path / "published.pth", decoder_num_heads=8).model.decoder.num_heads == 8
    with pytest.warns(CheckpointWarning, match="heads of the decoder was guessed: 16"):
        load(written(tmp_path / "other.pth", 2, 16))
