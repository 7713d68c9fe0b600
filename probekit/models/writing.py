"""Writing checkpoints as directories. Each format writes in its own file; here is what all have in common.

A directory appears whole or not at all, and what a format cannot hold is refused by name: nothing is dropped in
silence.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from probekit.errors import CheckpointError, did_you_mean
from probekit.files import written_whole
from probekit.models.architecture import count
from probekit.models.card import Card, file_digest
from probekit.models.formats import probekit as own
from probekit.models.formats import transformers_vit_mae as transformers
from probekit.models.mae import MaskedAutoencoder

FORMATS = {"transformers": transformers.write, "probekit": own.write}
"""Name -> function of (model, card, dtype) that gives the JSON files and the tensors."""

FILES = (
    "config.json", "model.safetensors", "preprocessor_config.json", "README.md", "pytorch_model.bin", ".gitattributes",
)  # fmt: skip
"""What a directory may hold and still be replaced as a whole."""


def write(
    model: MaskedAutoencoder, card: Card, directory: Path, *, format: str, dtype: torch.dtype | None, card_text: str
) -> Path:
    """See `Checkpoint.save`."""
    _check(directory, format, dtype)
    configs, tensors = FORMATS[format](model, card, dtype)
    kept = "What was there before is unchanged; free the disk, or save to another folder."
    with written_whole(directory, kept=kept, also=(SafetensorError,)) as part:
        part.mkdir()
        for name, content in configs.items():
            (part / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
        stored = {name: _stored(tensor, dtype) for name, tensor in tensors.items()}
        save_file(stored, part / "model.safetensors", metadata={"format": "pt"})
        shutil.copymode(part / "config.json", part / "model.safetensors")  # safetensors writes for the owner alone
        digest = file_digest([part / "model.safetensors"])
        (part / "README.md").write_text(_readme(model, card, format, digest, card_text))
    return directory


def _check(directory: Path, format: str, dtype: torch.dtype | None) -> None:
    """Refuse an unknown format or type, and a directory that holds other things."""
    if format not in FORMATS:
        raise CheckpointError(f"Unknown format {format!r} to save in. {did_you_mean(format, FORMATS)}")
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise CheckpointError(f"Weights cannot be stored as {dtype!r}; expected a torch type such as torch.float16.")
    if directory.is_file():
        raise CheckpointError(f"{directory} is a file; a checkpoint is saved as a directory. Give another path.")
    others = sorted(e.name for e in directory.iterdir() if e.name not in FILES) if directory.is_dir() else []
    if others:
        raise CheckpointError(
            f"{directory} holds other things than a checkpoint ({', '.join(others[:4])}); saving there would delete "
            "them. Give a new directory, or one that holds a checkpoint alone."
        )


def _stored(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A tensor as it is written: on the CPU, with memory of its own, cast if asked."""
    tensor = tensor.detach().cpu()
    return (tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor).contiguous().clone()


def _readme(model: MaskedAutoencoder, card: Card, format: str, digest: str, text: str) -> str:
    """README.md: YAML front matter for machines, a table and a text for people."""
    facts: dict[str, Any] = card.recorded() | {
        "vit_patch_size": card.vit_patch_size,
        "image_size": list(card.image_size),
        "sha256": digest,
        "parameters": count(model),
    }
    front = {"license": card.licence or "unknown", "tags": ["masked-autoencoder", "vit_mae"], "probekit": facts}
    how = "probekit.load(DIRECTORY)"
    if format == "transformers":
        front = {"library_name": "transformers", **front}
        kind = "ForPreTraining" if model.has_decoder else "Model"
        how = f"transformers.ViTMAE{kind}.from_pretrained(DIRECTORY)  # or {how}"
    rows = "\n".join(
        f"| {name.replace('_', ' ')} | {'not recorded' if value is None else value} |" for name, value in facts.items()
    )
    body = f"# {card.name}\n\nA masked autoencoder.\n\n```python\n{how}\n```\n\n| | |\n|---|---|\n{rows}\n"
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n{body}" + (
        f"\n{text.strip()}\n" if text else ""
    )
