"""transformers' vision models: every one that gives `hidden_states`, hierarchical ones included. No remote code is run.

Layers 0 to L - 1 are the library's `hidden_states`; the last one is its `last_hidden_state`, which is after the final
norm where the class has one. The verdict says which it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from probekit.errors import CheckpointError, DataError
from probekit.models import adapters
from probekit.models.adapters import Known
from probekit.models.checkpoint import Checkpoint
from probekit.models.contract import Layer
from probekit.models.encoder import Encoder
from probekit.models.files import Found
from probekit.models.formats import _preprocessor

CLASS_TOKENS = {"cls_token", "class_embedding", "class_token"}
"""What the library's classes call the parameter of [CLS]."""

IMAGES = "images; expected a vision model"

UNUSED = ("pooler.", "mask_token", "classifier.", "lm_head.")
"""Parts of a model that its hidden states do not go through: they may be missing from a file."""


class TransformersEncoder(Encoder):
    """A transformers vision model.

    Args:
        module: the vision model itself, in eval mode.
        image_size: (height, width) in pixels.
        mean, std: per channel; None = unknown.
    """

    def __init__(self, module: Any, *, image_size: tuple[int, int], mean: Any = None, std: Any = None) -> None:
        super().__init__(mean=mean, std=std)
        self.module, self.image_size = module, image_size
        config = module.config
        self.channels = int(getattr(config, "num_channels", None) or 3)
        heads = getattr(config, "num_attention_heads", 0) or 0
        self.num_heads = max(heads) if isinstance(heads, list | tuple) else int(heads)
        parameters = set(inspect.signature(module.forward).parameters)
        self._flattened = {"spatial_shapes", "pixel_attention_mask"} <= parameters  # SigLIP 2 takes patches
        self._own_size = adapters.size_of(getattr(config, "image_size", None))
        self._trailing = int(getattr(config, "num_detection_tokens", 0) or 0)
        self.notes: list[str] = []
        with torch.inference_mode():
            images = adapters.trial(self)
            states, last = self._states(self._forward(images, False), images)
        self.depth, self.width = len(states) - 1, int(states[-1].shape[2])
        self.num_prefix_tokens = self._prefix(states[0].shape[1])
        self.vit_patch_size = adapters.patch_of(self, states[0].shape[1] - self.num_prefix_tokens)
        names = {name.rpartition(".")[2] for name, _ in module.named_parameters()}
        self.class_token = self.num_prefix_tokens > 0 and bool(names & CLASS_TOKENS)
        self.notes.append(f"Layer {self.depth} is transformers' {last}")

    def _prefix(self, tokens: int) -> int:
        """Number of prefix tokens, from the configuration's patch size."""
        patch = adapters.size_of(getattr(self.module.config, "patch_size", None))
        if patch is None or patch[0] != patch[1]:
            return 0
        height, width = self.image_size
        extra = tokens - (height // patch[0]) * (width // patch[1])
        return extra if 0 < extra <= 64 else 0

    def _forward(self, images: Tensor, attention: bool) -> Any:
        height, width = images.shape[-2:]
        told: dict[str, Any] = {"output_hidden_states": True, "output_attentions": attention, "return_dict": True}
        if self._own_size is not None and (height, width) != self._own_size:
            told["interpolate_pos_encoding"] = True
        given = self._patches(images) if self._flattened else {"pixel_values": images}
        try:
            return self.module(**given, **told)
        except (ValueError, RuntimeError) as error:
            if (height, width) == self._own_size:
                raise
            raise DataError(
                f"{type(self.module).__name__} cannot take images of {height} x {width} pixels ({error}); it was built "
                f"for {self._own_size}."
            ) from error

    def _patches(self, images: Tensor) -> dict[str, Tensor]:
        """Images as the flat patches that SigLIP 2 takes: (row, column, channel) within a patch."""
        size = int(self.module.config.patch_size)
        batch, channels, height, width = images.shape
        rows, columns = height // size, width // size
        flat = images.reshape(batch, channels, rows, size, columns, size).permute(0, 2, 4, 3, 5, 1)
        shapes = torch.tensor([[rows, columns]] * batch, device=images.device)
        mask = torch.ones(batch, rows * columns, dtype=torch.long, device=images.device)
        return {
            "pixel_values": flat.reshape(batch, rows * columns, -1),
            "spatial_shapes": shapes, "pixel_attention_mask": mask,
        }  # fmt: skip

    def _states(self, output: Any, images: Tensor) -> tuple[list[Tensor], str]:
        """All layers as tokens, and what the last one is."""
        height, width = images.shape[-2:]
        hiera = self.module.config.model_type == "hiera"  # its hidden_states are in the order of mask units
        found = list(output["reshaped_hidden_states" if hiera else "hidden_states"])
        if found[0].shape == images.shape:  # the images themselves
            del found[0]
        layers = [adapters.tokens_of(one, height, width, last=True if hiera else None) for one in found]
        final = output.get("last_hidden_state")
        final = None if final is None else adapters.tokens_of(final, height, width)
        if final is not None and final.shape[1] == layers[-1].shape[1] + 1:
            final = final[:, 1:]  # pooled features before the patches, in no other layer (DINOv3's ConvNeXt)
        what = "reshaped_hidden_states[-1]" if hiera else "hidden_states[-1]"
        what += ", since its last_hidden_state is no such layer: no final norm is applied."
        if final is not None and final.shape == layers[-1].shape and not hiera:
            what = "last_hidden_state, which is after the final norm; its hidden_states[-1] is before."
            if torch.equal(final, layers[-1]):
                what = "last_hidden_state, which equals its hidden_states[-1]."
            layers[-1] = final
        if self._trailing:
            layers = [layer[:, : -self._trailing] for layer in layers]
        return layers, what

    def trace(self, images: Tensor, *, attention: bool = False) -> Iterator[Layer]:
        """See `TokenModel.trace`. All layers, and all attention, come from one call of the library's forward."""
        before = getattr(self.module.config, "_attn_implementation", None)
        if attention and before != "eager":
            self.module.set_attn_implementation("eager")  # the others give no probabilities
        try:
            output = self._forward(images, attention)
        finally:
            if attention and before not in (None, "eager"):
                self.module.set_attn_implementation(before)
        layers, _ = self._states(output, images)
        found = list(output.get("attentions") or ()) if attention else []
        maps: list[Tensor | None] = [*([None] * (len(layers) - len(found))), *found]
        del output
        for index in range(len(layers)):
            yield Layer(index, layers.pop(0), maps.pop(0))

    @property
    def no_attention(self) -> str | None:
        kind = type(self.module).__name__
        if self._trailing:
            return f"{kind} has tokens after the patches, which attention goes to"
        try:
            reason = super().no_attention
        except (AttributeError, TypeError, ValueError, RuntimeError, KeyError) as error:
            return f"transformers cannot give the attention of {kind} ({error})"
        return None if reason is None else f"transformers gives no attention over all tokens for {kind}"

    def description(self) -> dict[str, Any]:
        return super().description() | {
            "class": type(self.module).__qualname__,
            "library": f"transformers {transformers.__version__}",
            "attention": getattr(self.module.config, "_attn_implementation", None),
        }


def vision_part(module: Any) -> Any:
    """The vision model inside a model with a head, or with a text model."""
    if type(module) in base_classes(module.config) and module.main_input_name == "pixel_values":
        return module
    for name in ("vision_model", "base_model"):
        inner = getattr(module, name, None)
        if isinstance(inner, nn.Module) and getattr(inner, "main_input_name", "pixel_values") == "pixel_values":
            return inner
    return module


def base_classes(config: Any) -> tuple[Any, ...]:
    """The classes without a head that transformers builds from a configuration; none where it has no such class."""
    try:
        found = transformers.MODEL_MAPPING[type(config)]
    except KeyError:
        return ()
    return found if isinstance(found, tuple) else (found,)


def live(module: Any, *, source: str, image_size: tuple[int, int] | None = None) -> Checkpoint:
    """The checkpoint of a transformers module, sharing its parameters.

    Raises:
        CheckpointError: it takes no images, or gives no hidden states.
    """
    part = vision_part(module)
    known = Known(left_over=[name for name in module.state_dict() if not _inside(name, part, module)])
    part = adapters.sharing(part).eval()
    return encoder(part, known, {}, source=source, name=type(part).__name__, image_size=image_size)


def _inside(name: str, part: nn.Module, whole: nn.Module) -> bool:
    if part is whole:
        return True
    prefix = next(path for path, module in whole.named_modules() if module is part)
    return not prefix or name.startswith(f"{prefix}.")


def encoder(
    module: Any, known: Known, facts: dict[str, Any], *, source: str, name: str,
    image_size: tuple[int, int] | None = None,
) -> Checkpoint:  # fmt: skip
    """The checkpoint of a vision model, with what its preprocessor says."""
    kind = type(module).__qualname__
    if getattr(module, "main_input_name", None) != "pixel_values":
        raise CheckpointError(
            f"transformers' {kind} takes {module.main_input_name}, not images; expected a vision model."
        )
    size = image_size or facts.get("image_size") or adapters.size_of(getattr(module.config, "image_size", None))
    if size is None:
        size = (224, 224)
        known.warnings.append(
            "The image size is not recorded: 224 x 224 pixels were assumed. Give image_size= to load."
        )
    try:
        model = TransformersEncoder(module, image_size=size, mean=facts.get("mean"), std=facts.get("std"))
    except CheckpointError:
        raise
    except adapters.FAILED as error:
        raise CheckpointError(
            f"transformers' {kind} does not give hidden states of images of {size[0]} x {size[1]} pixels ({error}). "
            "Give another image_size=, or wrap a function: probekit.Encoder.wrap(function, ...)."
        ) from error
    known.notes += model.notes
    known.facts = facts | known.facts
    return adapters.checkpoint(
        model, known, kind=f"transformers {kind}", format="transformers (adapter)", source=source, name=name
    )


# --- directories ------------------------------------------------------------------------------------------------------


def read(found: Found, *, image_size: tuple[int, int] | None = None, digest: Any = None) -> Checkpoint:
    """The vision model of a directory that `save_pretrained` wrote.

    Raises:
        CheckpointError: transformers has no such model (its code is never fetched), or weights are missing.
    """
    config = vision_config(found)
    classes = base_classes(config)
    if not classes:
        raise CheckpointError(
            f"{found.label}: transformers has no vision model for {type(config).__name__}. Wrap a function that gives "
            "its layers: probekit.Encoder.wrap(function, ...)."
        )
    kind = classes[0]
    if kind.main_input_name != "pixel_values":
        raise CheckpointError(
            f"{found.label}: transformers' {kind.__name__} takes {kind.main_input_name}, not {IMAGES}."
        )
    try:
        module, told = kind.from_pretrained(
            None, config=config, state_dict=dict(found.tensors), output_loading_info=True, dtype=torch.float32
        )
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{found.label}: transformers cannot build its {kind.__name__} ({error}).") from error
    missing = sorted(name for name in told["missing_keys"] if not any(part in name for part in UNUSED))
    wrong = [str(one) for one in told.get("mismatched_keys", ())]
    if missing or wrong:
        what = (
            f"{len(missing)} keys are missing: {', '.join(missing[:6])}"
            if missing
            else f"shapes contradict: {wrong[:4]}"
        )
        raise CheckpointError(
            f"{found.label}: {what}. The file is of another architecture than its config.json ({kind.__name__}), or "
            "incomplete: fetch both again."
        )
    known = Known(
        left_over=sorted(told["unexpected_keys"]),
        missing=sorted(set(told["missing_keys"]) - set(missing)),
        digest=digest,
    )
    facts = preprocessing(found.preprocessor or {})
    return encoder(module.eval(), known, facts, source=found.label, name=found.name, image_size=image_size)


def vision_config(found: Found) -> Any:
    """The configuration of the vision model, from that of a whole model (CLIP, SigLIP) too."""
    told = dict(found.config or {})
    kind = told.pop("model_type")
    try:
        config = transformers.CONFIG_MAPPING[kind].from_dict(told)
    except KeyError as error:
        way = " Its own code is not run." if "auto_map" in told else ""
        raise CheckpointError(
            f"{found.label}: this transformers ({transformers.__version__}) has no model type {kind!r}.{way} A newer "
            "version may; else wrap a function that gives its layers: probekit.Encoder.wrap(function, ...)."
        ) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{found.label}: its config.json is not one of {kind!r} ({error}).") from error
    return getattr(config, "vision_config", config)


def preprocessing(told: dict[str, Any]) -> dict[str, Any]:
    """Fields of the card from `preprocessor_config.json`, and `image_size`."""
    facts = _preprocessor.read(told)
    if told.get("do_normalize") is False:
        facts |= {"mean": (0.0,) * 3, "std": (1.0,) * 3, "normalisation_known": True}
    size = adapters.size_of(told["crop_size"] if told.get("do_center_crop") else told.get("size"))
    return facts | ({"image_size": size} if size is not None else {})
