"""timm's models: every one with `forward_intermediates`, hierarchical ones included.

Layer 0 is what enters the first block or stage, caught on its way; layers 1 to L are timm's intermediates, the last one
being timm's final features: after the final norm where the class has one before its head.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import timm
import torch
from torch import Tensor

from probekit.errors import CheckpointError, DataError
from probekit.models import adapters, timm_names
from probekit.models.adapters import Known
from probekit.models.architecture import is_plain
from probekit.models.checkpoint import Checkpoint
from probekit.models.contract import Layer
from probekit.models.encoder import Encoder
from probekit.models.files import Found

FIRST = re.compile(r"(?:blocks|stages|layers|block|network)\.\d+$")
"""Names of the first block or stage, whose input is the embedding. Other first features (`stem`, `act1`) are it."""


class TimmEncoder(Encoder):
    """A timm model with `forward_intermediates`.

    Args:
        module: in eval mode; it is called, never changed.
        image_size: (height, width) in pixels.
        mean, std: per channel; None = unknown.
    """

    def __init__(
        self, module: Any, *, image_size: tuple[int, int], mean: Any = None, std: Any = None, channels: int = 3
    ) -> None:
        super().__init__(mean=mean, std=std)
        self.module: Any = module
        self.image_size, self.channels = image_size, channels
        self.notes: list[str] = []
        self._plain = "return_prefix_tokens" in inspect.signature(module.forward_intermediates).parameters
        self._options: dict[str, Any] = {"output_fmt": "NLC" if self._plain else "NCHW"}
        self.num_prefix_tokens = int(getattr(module, "num_prefix_tokens", 0) or 0) if self._plain else 0
        if self.num_prefix_tokens:  # some classes fail if asked for those that they do not have
            self._options["return_prefix_tokens"] = True
        self.class_token = self._plain and getattr(module, "cls_token", None) is not None
        self._channels_last = True if getattr(module, "output_fmt", None) == "NHWC" else None
        self._first = self._first_block()
        with torch.inference_mode():
            embedding, states, final = self._forward(adapters.trial(self))
        if embedding is None or len(embedding) != len(final):  # the block is never called, or has pixels for rows
            self._first = embedding = None
        states, normed = self._layers(embedding, states, final)
        self.depth, self.width = len(states) - 1, int(states[-1].shape[2])
        self.vit_patch_size = adapters.patch_of(self, states[0].shape[1] - self.num_prefix_tokens)
        self._native = self._has_native(states)
        if self._first is None:
            self.notes.append("timm gives no embedding: layer 0 is the first of forward_intermediates.")
        self.notes.append(
            f"Layer {self.depth} is timm's final features: after its final norm, if the class has one before its head."
            if normed
            else f"Layer {self.depth} is timm's last intermediate: no final norm is applied."
        )

    def _first_block(self) -> str | None:
        features = getattr(self.module, "feature_info", None)
        features = features if isinstance(features, list) else []
        name = str(features[0].get("module", "")) if features and isinstance(features[0], dict) else ""
        if not FIRST.match(name):
            return None
        try:
            self.module.get_submodule(name)
        except AttributeError:
            return None
        return name

    def _forward(self, images: Tensor) -> tuple[Tensor | None, list[Any], Tensor]:
        """(embedding, intermediates, final features) as timm gives them."""
        caught: list[Tensor] = []
        hook = None
        if self._first is not None:
            block = self.module.get_submodule(self._first)
            hook = block.register_forward_pre_hook(lambda _, inputs: caught.extend(_first_tensor(inputs)))
        try:
            final, states = self.module.forward_intermediates(images, **self._options)
        finally:
            if hook is not None:
                hook.remove()
        return (caught[0] if caught else None), list(states), final

    def _layers(self, embedding: Tensor | None, states: list[Any], final: Tensor) -> tuple[list[Tensor], bool]:
        """All layers as tokens; and whether the last one is the final features."""
        size = self.image_size
        if self._plain:
            layers = [
                torch.cat([one[1], one[0]], dim=1) if isinstance(one, tuple) and one[1] is not None
                else one[0] if isinstance(one, tuple) else one
                for one in states
            ]  # fmt: skip
        else:
            layers = [adapters.tokens_of(one, *size, last=False) for one in states]
        last = adapters.tokens_of(final, *size, last=self._channels_last)
        dropped = last.shape[1] - layers[-1].shape[1]
        last = last[:, dropped:] if 0 < dropped <= 2 else last  # [CLS] of a class whose intermediates have none
        rolled = getattr(self.module, "reroll", None)
        normed = last.shape == layers[-1].shape and rolled is None
        if normed:
            layers[-1] = last
        if embedding is not None:
            rolled_in = rolled(embedding, 0) if rolled is not None else embedding
            layers.insert(
                0, adapters.tokens_of(rolled_in, *size, last=True if rolled is not None else self._channels_last)
            )
        return layers, normed

    def trace(self, images: Tensor, *, attention: bool = False) -> Iterator[Layer]:
        """See `TokenModel.trace`. All layers come from one call of `forward_intermediates`."""
        if images.shape[-2:] != self.image_size:
            raise DataError(
                f"Images of {tuple(images.shape[-2:])} pixels; this model was loaded for {self.image_size}. Give "
                "load(image_size=...)."
            )
        embedding, states, final = self._forward(images)
        layers, _ = self._layers(embedding, states, final)
        del embedding, states, final
        for index in range(len(layers)):
            yield Layer(index, layers.pop(0), None)

    @property
    def no_attention(self) -> str | None:
        return f"timm's forward_intermediates gives no attention ({type(self.module).__name__})"

    @property
    def poolings(self) -> tuple[str, ...]:
        return (*super().poolings, "native") if self._native else super().poolings

    def pool(self, tokens: Tensor, pooling: str) -> Tensor:
        """See `TokenModel.pool`; `native` is the input of timm's head."""
        if pooling == "native" and self._native:
            pooled: Tensor = self.module.forward_head(tokens, pre_logits=True)
            return pooled
        return super().pool(tokens, pooling)

    def _has_native(self, layers: list[Tensor]) -> bool:
        """Whether the head pools tokens of every layer: all of one width, and tokens, not maps."""
        if not self._plain or len({layer.shape for layer in layers}) > 1:
            return False
        try:
            with torch.inference_mode():
                pooled = self.module.forward_head(layers[-1], pre_logits=True)
        except (TypeError, RuntimeError, AttributeError, ValueError):
            return False
        return bool(pooled.shape == (1, self.width))

    def description(self) -> dict[str, Any]:
        return super().description() | {
            "class": type(self.module).__qualname__, "library": f"timm {timm.__version__}", "first": self._first,
        }  # fmt: skip


def _first_tensor(inputs: tuple[Any, ...]) -> list[Tensor]:
    """A copy of a block's input, where that is one tensor."""
    return [inputs[0].clone()] if inputs and isinstance(inputs[0], Tensor) else []


def encoder(
    module: Any, facts: dict[str, Any], known: Known, *, source: str, name: str,
    image_size: tuple[int, int] | None = None,
) -> Checkpoint:  # fmt: skip
    """The checkpoint of a timm module.

    Args:
        module: any timm model with `forward_intermediates`; it is shared, not changed.
        facts: of timm's pretrained configuration (`timm_names.facts`).
        known: what reading the weights found.
        image_size: another size than the module was built for.

    Raises:
        CheckpointError: it has no `forward_intermediates`, or cannot take images of that size.
    """
    kind = type(module).__qualname__
    if not hasattr(module, "forward_intermediates"):
        raise CheckpointError(
            f"timm's {kind} has no forward_intermediates, so its layers are out of reach. Wrap a function that gives "
            "them: probekit.Encoder.wrap(function, ...)."
        )
    module = adapters.sharing(module).eval()
    built = built_for(module)
    size = image_size or built
    if size != built and hasattr(module, "set_input_size"):
        module.set_input_size(img_size=size)
    config = getattr(module, "pretrained_cfg", None) or {}
    channels = int(getattr(module, "in_chans", 0) or (config.get("input_size") or (3,))[0])
    try:
        model = TimmEncoder(module, image_size=size, mean=facts.get("mean"), std=facts.get("std"), channels=channels)
    except CheckpointError:
        raise
    except adapters.FAILED as error:
        if size == built:
            raise CheckpointError(
                f"timm's {kind} does not give the layers of images of {size[0]} x {size[1]} pixels ({error}). If it "
                "was built for another size, give image_size= to load; else wrap a function that gives its layers: "
                "probekit.Encoder.wrap(function, ...)."
            ) from error
        raise CheckpointError(
            f"timm's {kind} of {built[0]} x {built[1]} pixels cannot take images of {size[0]} x {size[1]} pixels "
            f"({error}). Leave image_size= out, or build the module for that size."
        ) from error
    known.notes += model.notes
    known.facts = facts | known.facts
    return adapters.checkpoint(model, known, kind=f"timm {kind}", format="timm (adapter)", source=source, name=name)


def built_for(module: Any) -> tuple[int, int]:
    """(height, width) that a timm module was built for."""
    embed = getattr(module, "patch_embed", None)
    for told in (getattr(embed, "img_size", None), (getattr(module, "pretrained_cfg", None) or {}).get("input_size")):
        size = adapters.size_of(told)
        if size is not None:
            return size
    return 224, 224


# --- directories ------------------------------------------------------------------------------------------------------


def takes(found: Found) -> bool:
    """Whether a directory's architecture is one of timm's other than a plain VisionTransformer."""
    name = (found.config or {})["architecture"]
    if not timm.is_model(name):
        return False
    with timm_names.quiet():
        return not is_plain(_build(found, device="meta"))


def _build(found: Found, **more: Any) -> Any:
    config = found.config or {}
    arguments = dict(config.get("model_args") or {})
    arguments |= {"num_classes": 0, **({"global_pool": config["global_pool"]} if config.get("global_pool") else {})}
    try:
        return timm.create_model(config["architecture"], pretrained=False, **arguments, **more)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise CheckpointError(
            f"{found.label}: timm cannot build {config['architecture']} with the arguments of its config.json, "
            f"{config.get('model_args')} ({error})."
        ) from error


def read(found: Found, *, image_size: tuple[int, int] | None = None, digest: Any = None) -> Checkpoint:
    """The model of a directory with timm's `config.json`.

    Raises:
        CheckpointError: keys missing, or of other shapes.
    """
    config = found.config or {}
    with timm_names.quiet():
        module = _build(found)
    try:
        told = module.load_state_dict({name: one.float() for name, one in found.tensors.items()}, strict=False)
    except RuntimeError as error:
        raise CheckpointError(
            f"{found.label}: {str(error).splitlines()[-1].strip()}. The file mixes two models."
        ) from error
    if told.missing_keys:
        raise CheckpointError(
            f"{found.label}: {len(told.missing_keys)} keys are missing: {', '.join(told.missing_keys[:6])}. The file "
            f"is of another architecture than its config.json ({config['architecture']}), or incomplete: fetch both "
            "again."
        )
    facts = timm_names.facts(dict(config.get("pretrained_cfg") or {}), None)
    known = Known(left_over=sorted(told.unexpected_keys), digest=digest)
    return encoder(module, facts, known, source=found.label, name=found.name, image_size=image_size)
