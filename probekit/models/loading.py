"""`load`: from anything that names a checkpoint to a `Checkpoint`.

A source is a path (file or directory), a hub id, `"hf:ID"`, `"timm:NAME"`, `"shipped:NAME"`, or a module. What is read
decides, never what the file is called: names only break ties that bytes cannot.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from probekit.errors import CheckpointError, ProbekitError, did_you_mean
from probekit.models import files, formats, modules
from probekit.models.architecture import describe as describe
from probekit.models.building import Asked, adapted_timm, built, finish
from probekit.models.card import file_digest
from probekit.models.checkpoint import Checkpoint
from probekit.models.contract import TokenModel
from probekit.models.sources import check_options, merged, parse_source

KINDS = "a file, a directory, a hub id ('org/name'), 'timm:NAME' or 'shipped:NAME'"
"""What a string can name, for messages."""

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+$")

HUB_SCHEME = re.compile(r"(?:(?:timm:)?hf[-_]hub|hf):(?=.)")
"""What comes before a hub id: ours, or timm's spelling."""


def load(
    source: str | os.PathLike[str] | nn.Module,
    *,
    device: str | torch.device = "auto",
    num_heads: int | None = None,
    decoder_num_heads: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    layer_norm_eps: float | None = None,
    normalised_targets: bool | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    interpolation: str | None = None,
    crop_fraction: float | None = None,
    mask_ratio: float | tuple[float, float] | None = None,
    patch_size: int | tuple[int, int] | None = None,
    epochs: float | None = None,
    key: str | None = None,
    rotary: str | None = None,
    name: str | None = None,
) -> Checkpoint:
    """Read a checkpoint, completely or not at all, and say what it is.

    Every keyword settles what the file does not say. What the file says cannot be contradicted; what is guessed or
    assumed is a `CheckpointWarning`, and stands in the verdict.

    Args:
        source: a path to a file or directory, a Hugging Face id (`"facebook/vit-mae-base"` or `"hf:..."`),
            `"timm:NAME"`, `"shipped:NAME"`, or a module: ours, timm's `VisionTransformer`, or transformers' ViTMAE.
            A string may carry keywords: `"mae.pth?num_heads=4&mean=0.5,0.5,0.5"`.
        device: "auto" takes CUDA or MPS where there is one, and leaves a module where it is.
        num_heads, decoder_num_heads: heads per block.
        image_size: (height, width) in pixels that the positions are of, where the grid is not square; or one side.
        layer_norm_eps: of every layer norm.
        normalised_targets: whether the decoder predicts pixels normalised per patch.
        mean, std: of pixels in [0, 1], one number for each channel; both or none.
        interpolation: how images are resized: "bicubic", "bilinear", "nearest", "lanczos", "box" or "none".
        crop_fraction: share of the resized shorter side that the centre crop keeps, in (0, 1].
        mask_ratio: share of patches hidden in training, in [0, 1), or (low, high).
        patch_size: the mask unit in training in pixels, or (low, high).
        epochs: of pretraining.
        key: which network of a file with several: an entry ("model_ema") or a prefix ("teacher.").
        rotary: timm's name of a model whose rotary positions the encoder has ("vit_base_patch16_dinov3",
            "vit_small_patch16_rope_224"), which leave no tensor in a file.
        name: for tables and charts; else the file's, directory's, hub's or timm's name.

    Returns:
        `Checkpoint(model, card, verdict)`: the model in float32 and eval mode, gradients on.

    Raises:
        CheckpointError: a `ValueError` that says what was found, what was expected and what would work.

    Example:
        >>> load("mae_pretrain_vit_base.pth").card.mask_ratio  # doctest: +SKIP
    """
    asked: dict[str, Any] = {
        "num_heads": num_heads, "decoder_num_heads": decoder_num_heads, "image_size": image_size,
        "layer_norm_eps": layer_norm_eps, "normalised_targets": normalised_targets, "mean": mean, "std": std,
        "interpolation": interpolation, "crop_fraction": crop_fraction, "mask_ratio": mask_ratio,
        "patch_size": patch_size, "epochs": epochs, "key": key, "rotary": rotary,
        "name": name,
    }  # fmt: skip
    where = available(device)
    if not isinstance(source, nn.Module | str | os.PathLike) or not str(source):
        kind = "The empty string" if isinstance(source, str) else f"An object of type {type(source).__name__}"
        raise CheckpointError(
            f"{kind} names no checkpoint. Expected a path, a hub id, 'timm:NAME', or a module. A state dict is read "
            "from a file (torch.save), or from the module it is of."
        )
    if isinstance(source, nn.Module):
        checkpoint = modules.read(source, check_options(asked))
    else:
        path, options = parse_source(os.fspath(source))
        checkpoint = _named(path, check_options(merged(asked, options, path)))
    target = _device(where, checkpoint.model)
    if isinstance(source, nn.Module) and target != checkpoint.model.device:
        checkpoint.model = copy.deepcopy(checkpoint.model)  # the source shares its parameters and stays where it is
        checkpoint.card.pixels = checkpoint.model.pixels
    if any(tensor.device != target for tensor in (*checkpoint.model.parameters(), *checkpoint.model.buffers())):
        checkpoint.model.to(target)
    checkpoint.model.eval()
    checkpoint.verdict.warn()
    return checkpoint


def available(device: str | torch.device, error: type[ProbekitError] = CheckpointError) -> str:
    """The name of a device that this machine has; "auto" as it is.

    Raises:
        ProbekitError: of the class `error`: there is no such device here, or it is none.
    """
    try:
        if not isinstance(device, str | torch.device) or str(device) == "meta":
            raise RuntimeError("it is no device that holds numbers")
        if device != "auto":
            torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as failed:
        have = ["cpu", *(["cuda"] if torch.cuda.is_available() else []), *(["mps"] if torch.mps.is_available() else [])]
        reason = str(failed).splitlines()[0]
        raise error(
            f"device={device!r} cannot be used here ({reason}). This machine has: {', '.join(have)}; 'auto' takes the "
            "best of them."
        ) from failed
    return str(device)


def _device(device: str, model: TokenModel) -> torch.device:
    if device != "auto":
        return torch.device(device)
    here = model.device
    if here.type != "cpu" or next(model.parameters(), None) is None:  # a bare function stays where it is
        return here
    return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")


# --- names and paths --------------------------------------------------------------------------------------------------


def _named(source: str, asked: Asked) -> Checkpoint:
    """A checkpoint from a string: a scheme, a path that exists, or a hub id."""
    if spelled := HUB_SCHEME.match(source):
        return _hub(source[spelled.end() :], asked)
    scheme, _, rest = source.partition(":")
    if scheme == "timm" and rest:
        return _timm(rest, asked)
    if scheme == "shipped":
        return finish(files.read_directory(shipped_path(rest)), asked, source, name=rest)
    path = _path(source)
    if path.is_dir():
        return finish(files.read_directory(path), asked, source)
    if path.is_file():
        if path.suffix == ".json":
            raise CheckpointError(f"{path} is a configuration, not weights. Give its directory, {path.parent}.")
        return finish(files.read_file(path), asked, source)
    if HUB_ID.fullmatch(source) and not source.endswith(files.SUFFIXES) and not path.parent.is_dir():
        return _hub(source, asked)
    raise CheckpointError(_no_such(source, path))


def _path(source: str) -> Path:
    """The path that a string is; CheckpointError for one that no file system takes."""
    try:
        path = Path(source).expanduser()
        path.is_dir()
    except (OSError, RuntimeError) as error:  # a name too long, a home directory of nobody
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{source[:100]!r} is no path ({reason}). Expected {KINDS}.") from error
    return path


def _no_such(source: str, path: Path) -> str:
    """The message for a path that is not there: the nearest file, name or scheme."""
    import timm

    if path.is_symlink():
        return f"{source!r} is a link to {os.readlink(path)!r}, which is not there. Restore that, or give another path."
    if path.exists():
        return f"{source!r} is neither a file nor a directory but a device, pipe or socket. Expected {KINDS}."
    if timm.is_model(source):
        return f"No file {source!r} here. To load timm's model of that name: 'timm:{source}'."
    if source in shipped():
        return f"No file {source!r} here. To load the checkpoint that ships with probekit: 'shipped:{source}'."
    if "://" in source:
        return f"No checkpoint at {source!r}: addresses are not read. Download the file, or give {KINDS}."
    siblings = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
    where = f"{path.parent.resolve()} holds: {', '.join(siblings[:6]) or 'nothing'}."
    if not path.parent.is_dir():
        where = f"There is no directory {path.parent.resolve()} either."
    elif get_close_matches(path.name, siblings):
        where = did_you_mean(path.name, siblings)
    return f"No checkpoint at {source!r}. {where} Expected {KINDS}."


def _hub(identity: str, asked: Asked) -> Checkpoint:
    """A repository of the Hugging Face hub: its configuration files and its weights."""
    from probekit.models import hub

    get = partial(hub.fetch, identity, what=repr(identity))
    weights = next(filter(None, (hub.cached(identity, file) for file in files.WEIGHTS)), None)
    for file in ("config.json", "preprocessor_config.json"):
        try:
            get(file)
        except CheckpointError:
            if weights is None:  # with the weights here, a run without a network goes on with what is here
                raise
    weights = weights or get("model.safetensors") or get("pytorch_model.bin")
    if weights is None:
        index = get("model.safetensors.index.json") or get("pytorch_model.bin.index.json")
        if index is None:
            raise CheckpointError(
                f"{identity!r}: the repository has neither model.safetensors nor pytorch_model.bin. Download the file "
                "it has and give its path."
            )
        for part in files.parts_of(index):
            get(part)
        weights = index
    found = files.read_directory(weights.parent)
    found.label, found.name = identity, identity.rpartition("/")[2]
    return finish(found, asked, identity)


def _timm(name: str, asked: Asked) -> Checkpoint:
    """A model under its timm name, with timm's own weights."""
    from probekit.models import timm_names

    plain = timm_names.is_plain(name)
    module, config, paths = timm_names.load(name)
    if not plain:
        digest = partial(file_digest, paths) if paths else None
        return adapted_timm(module, timm_names.facts(config, None), asked, f"timm:{name}", name, digest)
    patch = int(module.patch_embed.patch_size[0]) if timm_names.is_mae(name) else None
    stated = timm_names.facts(config, patch) | {"antialias": True}
    reading = formats.Reading("timm", dict(module.state_dict()), stated=stated, module=timm_names.encoder_on_meta(name))
    return built(reading, asked, f"timm:{name}", name, partial(file_digest, paths) if paths else None)


# --- shipped ----------------------------------------------------------------------------------------------------------


def _shelves() -> list[Path]:
    """Where shipped checkpoints are: in the installed package, else in the checkout beside it."""
    package = Path(__file__).parents[1]
    return [package / "_checkpoints", package.parent / "checkpoints"]


def shipped() -> list[str]:
    """Names of the checkpoints that come with probekit, for `"shipped:NAME"`.

    Returns:
        The names, sorted.

    Example:
        >>> "untrained-s0" in shipped()
        True
    """
    return sorted({entry.parent.name for shelf in _shelves() for entry in shelf.glob("*/config.json")})


def shipped_path(name: str) -> Path:
    """The directory of a shipped checkpoint; CheckpointError with the nearest name if there is none."""
    for shelf in _shelves():
        if (shelf / name / "config.json").is_file() and name:
            return shelf / name
    raise CheckpointError(f"No checkpoint {name!r} ships with probekit. {did_you_mean(name, shipped())}")
