"""Tiny models with weights that hide nothing: every parameter is random, so that a wrong place or sign shows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from probekit.models import MaskedAutoencoder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Most files here leave something to assume; that this is a Python warning is tested where it is the subject."""
    for item in items:
        if "tests/models" in item.path.as_posix():
            item.add_marker(pytest.mark.filterwarnings("ignore::probekit.models.card.CheckpointWarning"), append=False)


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every floating-point parameter and persistent tensor at random; norms around 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            one = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(one + noise * (0.3 if parameter.ndim == 1 else 0.8 * parameter.shape[-1] ** -0.5))
    return module.eval()


def hide(images: int, patches: int, count: int, seed: int = 0) -> Tensor:
    """bool (images, patches), `count` hidden in each row."""
    return torch.rand(images, patches, generator=torch.Generator().manual_seed(seed)).argsort(dim=1) < count


def to_mae_names(model: MaskedAutoencoder) -> dict[str, Tensor]:
    """The weights under facebookresearch/mae's names."""
    out = {}
    for name, tensor in model.state_dict().items():
        part, _, rest = name.partition(".")
        if part in ("encoder", "decoder"):
            out[rest if part == "encoder" or rest == "mask_token" else f"decoder_{rest}"] = tensor.clone()
    return out


@pytest.fixture(scope="session")
def tiny() -> MaskedAutoencoder:
    """32 x 32 pixels in 16 patches of 8; 4 encoder heads of 16 channels, 2 decoder heads of 16."""
    model = MaskedAutoencoder.create(
        image_size=(32, 32),
        vit_patch_size=8,
        width=64,
        depth=3,
        num_heads=4,
        decoder_width=32,
        decoder_depth=2,
        decoder_num_heads=2,
        normalised_targets=False,
        seed=0,
    )
    positions = {name: p.clone() for name, p in model.named_parameters() if name.endswith("pos_embed")}
    randomise(model)
    with torch.no_grad():
        for name, table in positions.items():
            model.get_parameter(name).copy_(table)
    return model


@pytest.fixture(scope="session")
def images() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def hidden() -> Tensor:
    """12 of 16 patches hidden."""
    return hide(3, 16, 12)


@pytest.fixture(scope="session")
def mae_names() -> Callable[[MaskedAutoencoder], dict[str, Tensor]]:
    return to_mae_names


@pytest.fixture(scope="session")
def random_weights() -> Callable[..., nn.Module]:
    return randomise


@pytest.fixture(scope="session")
def draw_hidden() -> Callable[..., Tensor]:
    return hide
