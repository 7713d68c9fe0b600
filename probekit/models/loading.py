"""`load`: from anything that names a checkpoint to a `Checkpoint`.

A source is a path (file or directory), a hub id, `"hf:ID"`, `"timm:NAME"`, `"shipped:NAME"`, or a module. What is read
decides, never what the file is called: names only break ties that bytes cannot.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from probekit.errors import CheckpointError, did_you_mean
from probekit.models import adapters, files, formats
from probekit.models.architecture import describe
from probekit.models.assembly import assemble
from probekit.models.card import Card, Verdict, file_digest, tensor_digest
from probekit.models.checkpoint import Checkpoint
from probekit.models.contract import CONTRACT, TokenModel
from probekit.models.encoder import Encoder, carded
from probekit.models.files import Found
from probekit.models.mae import MaskedAutoencoder

KINDS = "a file, a directory, a hub id ('org/name'), 'timm:NAME' or 'shipped:NAME'"
"""What a string can name, for messages."""

Asked = Mapping[str, Any]
"""What the caller settled, by the names of `load`'s arguments."""

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+$")


def load(
    source: str | os.PathLike[str] | nn.Module,
    *,
    device: str | torch.device = "auto",
    num_heads: int | None = None,
    decoder_num_heads: int | None = None,
    image_size: tuple[int, int] | None = None,
    layer_norm_eps: float | None = None,
    normalised_targets: bool | None = None,
    name: str | None = None,
) -> Checkpoint:
    """Read a checkpoint, completely or not at all, and say what it is.

    Args:
        source: a path to a file or directory, a Hugging Face id (`"facebook/vit-mae-base"` or `"hf:..."`),
            `"timm:NAME"`, `"shipped:NAME"`, or a module: ours, timm's `VisionTransformer`, or transformers' ViTMAE.
        device: "auto" takes CUDA or MPS where there is one, and leaves a module where it is.
        num_heads, decoder_num_heads: for files that do not tell; they win over what a file tells.
        image_size: (height, width) the positions are of, where the grid is not square and the file does not tell.
        layer_norm_eps: of every layer norm, where the file does not tell and the verdict's note is not what was used.
        normalised_targets: whether the decoder predicts normalised pixels, where the file does not tell (or tells
            wrong).
        name: for tables and charts; else the file's, directory's, hub's or timm's name.

    Returns:
        `Checkpoint(model, card, verdict)`: the model in float32 and eval mode, gradients on.

    Raises:
        CheckpointError: a `ValueError` that says what was found, what was expected and what would work.
    """
    asked = {
        "num_heads": num_heads, "decoder_num_heads": decoder_num_heads, "image_size": image_size,
        "layer_norm_eps": layer_norm_eps, "normalised_targets": normalised_targets,
    }  # fmt: skip
    if not isinstance(source, nn.Module | str | os.PathLike) or not str(source):
        kind = "The empty string" if source == "" else f"An object of type {type(source).__name__}"
        raise CheckpointError(
            f"{kind} names no checkpoint. Expected a path, a hub id, 'timm:NAME', or a module. A state dict is read "
            "from a file (torch.save), or from the module it is of."
        )
    checkpoint = _module(source, asked) if isinstance(source, nn.Module) else _named(os.fspath(source), asked)
    if name is not None:
        checkpoint.card.name = name
    target = _device(device, checkpoint.model)
    if isinstance(source, nn.Module) and target != checkpoint.model.device:
        checkpoint.model = copy.deepcopy(
            checkpoint.model
        )  # parameters are shared with the source, which stays where it is
    checkpoint.model.to(target).eval()
    return checkpoint


def _device(device: str | torch.device, model: TokenModel) -> torch.device:
    if device != "auto":
        return torch.device(device)
    here = model.device
    if here.type != "cpu" or next(model.parameters(), None) is None:  # a bare function stays where it is
        return here
    return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")


# --- names and paths --------------------------------------------------------------------------------------------------


def _named(source: str, asked: Asked) -> Checkpoint:
    """A checkpoint from a string: a scheme, a path that exists, or a hub id."""
    scheme, _, rest = source.partition(":")
    if scheme == "timm" and rest:
        return _timm(rest, asked)
    if scheme == "shipped":
        return _finish(files.read_directory(shipped_path(rest)), asked, source, name=rest)
    if scheme == "hf" and rest:
        return _hub(rest, asked)
    path = _path(source)
    if path.is_dir():
        return _finish(files.read_directory(path), asked, source)
    if path.is_file():
        if path.suffix == ".json":
            raise CheckpointError(f"{path} is a configuration, not weights. Give its directory, {path.parent}.")
        return _finish(files.read_file(path), asked, source)
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
    return _finish(found, asked, identity)


def _timm(name: str, asked: Asked) -> Checkpoint:
    """A model under its timm name, with timm's own weights."""
    from probekit.models import timm_names

    plain = timm_names.is_plain(name)
    module, config, paths = timm_names.load(name)
    if not plain:
        digest = partial(file_digest, paths) if paths else None
        return _timm_encoder(module, timm_names.facts(config, None), asked, f"timm:{name}", name, digest)
    patch = int(module.patch_embed.patch_size[0]) if timm_names.is_mae(name) else None
    stated = timm_names.facts(config, patch) | {"antialias": True}
    reading = formats.Reading("timm", dict(module.state_dict()), stated=stated, module=timm_names.encoder_on_meta(name))
    return _built(reading, asked, f"timm:{name}", name, partial(file_digest, paths) if paths else None)


# --- shipped ----------------------------------------------------------------------------------------------------------


def _shelves() -> list[Path]:
    """Where shipped checkpoints are: in the installed package, else in the checkout beside it."""
    package = Path(__file__).parents[1]
    return [package / "_checkpoints", package.parent / "checkpoints"]


def shipped() -> list[str]:
    """Names of the checkpoints that come with probekit, for `"shipped:NAME"`."""
    return sorted({entry.parent.name for shelf in _shelves() for entry in shelf.glob("*/config.json")})


def shipped_path(name: str) -> Path:
    """The directory of a shipped checkpoint; CheckpointError with the nearest name if there is none."""
    for shelf in _shelves():
        if (shelf / name / "config.json").is_file() and name:
            return shelf / name
    raise CheckpointError(f"No checkpoint {name!r} ships with probekit. {did_you_mean(name, shipped())}")


# --- modules ----------------------------------------------------------------------------------------------------------


def _module(module: nn.Module, asked: Asked) -> Checkpoint:
    """A checkpoint from a module, sharing its parameters; the module itself is left as it is."""
    module = _unwrapped(module)
    kind = f"{type(module).__module__}.{type(module).__qualname__}"
    if isinstance(module, MaskedAutoencoder):
        model = _sharing(module)
        if asked["normalised_targets"] is not None:
            model.normalised_targets = asked["normalised_targets"]
        facts: dict[str, Any] = {"name": "model", "normalisation_known": True}
        return _carded(model, Verdict("module (probekit)", model), facts, kind, partial(_digest, model))
    if isinstance(module, Encoder):
        return _encoder(module, kind)
    if type(module) is VisionTransformer:
        return _timm_module(module, kind)
    if kind.startswith("timm."):
        from probekit.models.timm_names import facts as told

        pretrained = getattr(module, "pretrained_cfg", None) or {}
        name = pretrained.get("architecture") or type(module).__qualname__
        return _timm_encoder(module, told(pretrained, None), asked, kind, name)
    if kind.startswith("transformers.") and adapters.is_adapted(str(getattr(module.config, "model_type", ""))):
        from probekit.models.adapters import transformers

        _refuse_settled(asked, kind)
        return transformers.live(module, source=kind, image_size=asked["image_size"])
    config: Any = module.config.to_dict() if kind.startswith("transformers.") else None  # type: ignore[operator,union-attr]
    label = type(module).__qualname__
    found = Found(f"the {label}", label, dict(module.state_dict()), config=config)
    return _finish(
        found, asked if config else _settled_by(module) | {n: v for n, v in asked.items() if v is not None}, kind
    )


def _encoder(model: Encoder, kind: str) -> Checkpoint:
    """A checkpoint of a user's own encoder, which must have all that the contract names."""
    lacking = [name for name in CONTRACT if not hasattr(model, name)]
    if lacking:
        raise CheckpointError(
            f"The {kind} has no {', '.join(lacking)}; an Encoder has {', '.join(CONTRACT)}, on its class or set in "
            "__init__."
        )
    return carded(model, name=type(model).__qualname__, kind=kind, source=kind, format="module (Encoder)")


def _timm_encoder(
    module: nn.Module, facts: dict[str, Any], asked: Asked, label: str, name: str, digest: Any = None
) -> Checkpoint:
    """A timm model of another class than VisionTransformer."""
    from probekit.models.adapters import timm

    _refuse_settled(asked, label)
    known = adapters.Known(digest=digest)
    return timm.encoder(module, facts, known, source=label, name=name, image_size=asked["image_size"])


def _refuse_settled(asked: Asked, label: str) -> None:
    """What only a MaskedAutoencoder's files leave open; another library's model knows it."""
    for name in ("num_heads", "decoder_num_heads", "layer_norm_eps", "normalised_targets"):
        if asked[name] is not None:
            raise CheckpointError(f"{label}: {name}= cannot be given, its library builds the model. Leave it out.")


def _digest(model: MaskedAutoencoder) -> str:
    return tensor_digest(model.state_dict())


def _unwrapped(module: nn.Module) -> nn.Module:
    """The module inside DataParallel, DistributedDataParallel or torch.compile's wrapper."""
    while True:
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module = module.module
        elif type(module).__name__ == "OptimizedModule":
            inner: Any = module._orig_mod
            module = inner
        else:
            return module


def _sharing(module: nn.Module) -> Any:
    """A copy of the structure with the same parameters: eval mode and a dropped head stay ours."""
    shared = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): tensor for tensor in shared})


def _timm_module(module: VisionTransformer, kind: str) -> Checkpoint:
    encoder, config = _sharing(module), getattr(module, "pretrained_cfg", None) or {}
    from probekit.models.timm_names import facts

    known = facts(config, None)
    model = MaskedAutoencoder(
        encoder,
        None,
        normalised_targets=None,
        antialias=True,
        **{name: known[name] for name in ("mean", "std") if name in known},
    )
    warnings = (
        ()
        if known.get("normalisation_known")
        else ("The normalisation of images is not recorded: ImageNet's mean and deviation were assumed.",)
    )
    left_over = [name for name in module.state_dict() if name not in encoder.state_dict()]
    known |= {"name": config.get("architecture") or "VisionTransformer"}
    verdict = Verdict("module (timm)", model, left_over=left_over, warnings=warnings)
    return _carded(model, verdict, known, kind, partial(_digest, model))


def _settled_by(module: nn.Module) -> dict[str, Any]:
    """Heads, epsilons and targets of a foreign module with MAE's names, read off its parts instead of guessed."""
    found: dict[str, Any] = {}
    for name, part in module.named_modules():
        prefix = "decoder_" if "decoder" in name else ""
        if isinstance(heads := getattr(part, "num_heads", None), int):
            found.setdefault(f"{prefix}num_heads", heads)
        if isinstance(part, nn.LayerNorm):
            found.setdefault(f"{prefix}layer_norm_eps", part.eps)
    targets = getattr(module, "norm_pix_loss", None)
    return found | ({"normalised_targets": targets} if isinstance(targets, bool) else {})


# --- the card ---------------------------------------------------------------------------------------------------------


def _finish(found: Found, asked: Asked, source: str, name: str | None = None) -> Checkpoint:
    """Recognise, rename, build, and describe."""
    digest = partial(file_digest, found.paths) if found.paths else None
    if (adapter := adapters.of_directory(found)) is not None:
        _refuse_settled(asked, found.label)
        adapted: Checkpoint = adapter.read(found, image_size=asked["image_size"], digest=digest)
        return adapted
    reading = formats.read(found)
    return _built(reading, asked, found.label, name or found.name, digest, source)


def _built(
    reading: formats.Reading,
    asked: Asked,
    label: str,
    name: str,
    digest: Callable[[], str] | None,
    source: str | None = None,
) -> Checkpoint:
    model, facts, verdict = assemble(reading, asked, label)
    return _carded(model, verdict, {"name": name} | facts, source or label, digest or partial(_digest, model))


def _carded(
    model: MaskedAutoencoder, verdict: Verdict, facts: dict[str, Any], source: str, digest: Callable[[], str]
) -> Checkpoint:
    """A checkpoint with its card."""
    known = {name: value for name, value in facts.items() if name not in ("mean", "std", "normalised_targets")}
    card = Card(
        architecture=describe(model),
        vit_patch_size=model.vit_patch_size,
        image_size=model.image_size,
        pixels=model.pixels,
        digest=digest,
        **known,
    )
    return Checkpoint(model=model, card=card, verdict=verdict, source=source)
