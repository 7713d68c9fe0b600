"""The networks in a file, told apart before any format looks at a name.

Training code wraps names (`module.`, `_orig_mod.`, ...), prefixes them (`model.`, `my_net.`), and stores several
networks side by side (a moving average, a teacher). Wrappers and the common prefix are taken off here, once, and
encoder and decoder always come from one network: the one that `load(key=)` names, else the one that was trained.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from probekit.errors import CheckpointError, did_you_mean

WRAPPERS = frozenset(
    ("module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_module")
)
"""Names under which wrappers of modules keep what they wrap."""

ANCHOR = re.compile(
    r"(?P<prefix>(?:.+\.)?)(?:patch_embed(?:_2d)?\.proj(?:ection)?|embeddings\.patch_embeddings\.projection|conv_proj"
    r"|to_patch_embedding(?:\.\d+)?|patch_to_embedding|patchify)\.weight$"
)
"""The patch projection of any known family, and the prefix before it."""

BLOCKS = re.compile(r"(?:encoder\.)?(?:blocks?|layers?|transformer)(?:\.layers)?\.(?:encoder_layer_)?\d+\.")
"""What follows the prefix of a network that has blocks of its own."""

MARKS = re.compile(
    r"(?P<prefix>(?:.+?\.)??)(?:decoder\w*\.|decoder_pos_embed$|mask_token$|_extra_state$|neck\.|to_pixels\.|enc_to_dec\."
    r"|encoder_to_decoder\.|prediction_head\.)"
)
"""Names that belong to the same network as the encoder, and the prefix before them."""

DECODERS = re.compile(r"(?:decoder\w*\.|neck\.|to_pixels\.|enc_to_dec\.|encoder_to_decoder\.|prediction_head\.)")
"""Beginnings of names that only a decoder has."""

TAILS = ("backbone.vit.", "encoder.vit.", "backbone.", "encoder.", "vit.")
"""Ends of prefixes that formats themselves use: they stay, unless the decoder is under them too."""

ENTRIES = (
    "model", "state_dict", "teacher", "model_state_dict", "model_ema", "net", "module", "student", "target_encoder",
    "encoder",
)  # fmt: skip
"""Entries of training checkpoints, best first."""

SKIPPED = ("optim", "scaler", "scheduler", "lr_", "args", "hyper_parameters", "config", "cfg", "rng", "loops")
"""Beginnings of entries that hold no network."""

DEPTH = 4
"""How deeply entries may be nested."""

AVERAGES = re.compile(r"ema|momentum|averag|swa|target|slow", re.IGNORECASE)


class Choice(NamedTuple):
    """The network that was taken: its tensors under cleaned names, its name, and the names of the others."""

    tensors: dict[str, Tensor]
    taken: str
    others: tuple[str, ...]
    outside: tuple[str, ...]
    """Names in the same entry that belong to other networks."""


class _Network(NamedTuple):
    name: str
    entry: str
    prefix: str
    tensors: dict[str, Tensor]
    outside: tuple[str, ...] = ()


# --- entries of a file ------------------------------------------------------------------------------------------------


def entries(content: Any) -> dict[str, dict[str, Tensor]]:
    """Every dict of named tensors in the content of a file, by its path ("" for the top, "ema.state_dict", ...)."""
    found: dict[str, dict[str, Tensor]] = {}
    level: list[tuple[str, Any]] = [("", content)]
    for _ in range(DEPTH):
        inner: list[tuple[str, Any]] = []
        for path, mapping in level:
            named = {str(key): value for key, value in mapping.items()} if isinstance(mapping, Mapping) else {}
            tensors = {key: value for key, value in named.items() if isinstance(value, Tensor)}
            parts = {key: _tensors(named.get(key)) for key in ("encoder", "decoder")}
            if all(parts.values()):  # the two halves of one network, saved side by side
                tensors |= {f"{part}.{key}": tensor for part, inside in parts.items() for key, tensor in inside.items()}
                named = {key: value for key, value in named.items() if key not in parts}
            if tensors:
                found[path] = tensors
            inner += [
                (f"{path}.{key}".removeprefix("."), value)
                for key, value in named.items()
                if isinstance(value, Mapping) and not key.lower().startswith(SKIPPED)
            ]
        level = inner
    return found


def _tensors(value: Any) -> dict[str, Tensor]:
    return {str(k): v for k, v in value.items() if isinstance(v, Tensor)} if isinstance(value, Mapping) else {}


# --- names ------------------------------------------------------------------------------------------------------------


def unwrapped(names: Iterable[str]) -> dict[str, str]:
    """From names to names without wrappers; left as they are where two would become one."""
    names = list(names)
    clean = {name: ".".join(part for part in name.split(".") if part not in WRAPPERS) or name for name in names}
    return clean if len(set(clean.values())) == len(names) else {name: name for name in names}


def _segments(prefix: str) -> list[str]:
    return prefix.removesuffix(".").split(".") if prefix else []


def _common(prefixes: Sequence[str]) -> str:
    """The longest prefix, in whole segments, that all of these begin with."""
    split = [_segments(prefix) for prefix in prefixes]
    shared = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return "".join(f"{part}." for part in shared)


def _anchors(names: Iterable[str]) -> list[str]:
    """Prefixes of the encoders among the names: those with blocks of their own, or all if none has."""
    names = list(names)
    prefixes = dict.fromkeys(match["prefix"] for name in names if (match := ANCHOR.match(name)))
    if len(prefixes) < 2:
        return list(prefixes)
    whole = [at for at in prefixes if any(n.startswith(at) and BLOCKS.match(n, len(at)) for n in names)]
    return whole or list(prefixes)


def _strip(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the prefix that the whole network shares."""
    prefixes = _anchors(tensors)
    if len(prefixes) != 1:
        return tensors
    marks = [match["prefix"] for name in tensors if (match := MARKS.match(name))]
    common = _common([*prefixes, *marks])
    tail = next((tail for tail in TAILS if common == tail or common.endswith(f".{tail}")), "")
    if not any(name.startswith(common) and DECODERS.match(name, len(common)) for name in tensors):
        common = common.removesuffix(tail)
    clean = {name: name.removeprefix(common) for name in tensors}
    if not common or len(set(clean.values())) < len(clean):
        return tensors
    return {clean[name]: tensor for name, tensor in tensors.items()}


# --- networks ---------------------------------------------------------------------------------------------------------


def _networks(entry: str, tensors: Mapping[str, Tensor], alone: bool) -> list[_Network]:
    """The networks in one entry, best first; `alone` if no other entry has any."""
    names = unwrapped(tensors)
    clean = {names[name]: tensor for name, tensor in tensors.items()}
    anchors = _anchors(clean)
    if len(anchors) < 2:
        return [_Network(entry, entry, "", clean)]
    roots = {at: _root(at, anchors) for at in anchors}
    owner = {name: max((r for r in roots.values() if name.startswith(r)), key=len, default=None) for name in clean}
    own = {root: [name for name, at in owner.items() if at == root] for root in roots.values()}
    shared = [name for name, root in owner.items() if root is None]
    order = sorted(roots.values(), key=lambda root: _rank(root, own[root], shared))
    found = []
    for place, root in enumerate(order):
        mine = {*own[root], *(shared if place == 0 else ())}
        taken = {name: clean[name] for name in clean if name in mine}
        outside = tuple(name for name in clean if name not in mine)
        name = root or "(no prefix)"
        found.append(_Network(name if alone or not entry else f"{entry}.{name}", entry, root, taken, outside))
    return found


def _root(at: str, anchors: list[str]) -> str:
    """The prefix of an encoder's network: the shortest that no other encoder shares.

    Of `vit.` and `ema.vit.`, the first network is all that is not under `ema.`: its decoder stands beside `vit.`.
    """
    shared = _common(anchors)
    inner = at.removeprefix(shared)
    if any(other != at and other.endswith(f".{inner}") for other in anchors):
        return shared
    parts = _segments(at)
    for length in range(len(parts) + 1):
        root = "".join(f"{part}." for part in parts[:length])
        others = [other for other in anchors if other != at and other.startswith(root)]
        if not others or length == len(parts):
            return root
    return at


def _rank(root: str, own: list[str], shared: list[str]) -> tuple[bool, bool, bool, int]:
    """Sorts networks: one with a decoder, a teacher, no moving average, the shortest prefix."""
    decoders = any("decoder" in name for name in own)
    if not decoders and any("decoder" in name for name in shared):  # it was trained with the trained network
        return (True, AVERAGES.search(root) is not None or "teacher" in root, False, len(root))
    return (not decoders, "teacher" not in root, AVERAGES.search(root) is not None, len(root))


def _order(entry: str) -> tuple[int, bool, int]:
    last = entry.rpartition(".")[2]
    place = ENTRIES.index(last) if last in ENTRIES else len(ENTRIES)
    return (place, AVERAGES.search(entry) is not None, len(entry))


def choose(found: Mapping[str, Mapping[str, Tensor]], key: str | None, label: str) -> Choice:
    """The network to read.

    Args:
        found: entries of the file (see `entries`).
        key: an entry ("model_ema") or a prefix ("teacher.") that the caller chose, or None.
        label: how messages call the source.

    Raises:
        CheckpointError: there is no network of that name; the message lists those there are.
    """
    with_vit = {path: tensors for path, tensors in found.items() if any(map(ANCHOR.match, unwrapped(tensors).values()))}
    paths = sorted(with_vit or found, key=_order)
    networks = [network for path in paths for network in _networks(path, found[path], len(with_vit) < 2)]
    chosen = networks[0] if key is None else _named(networks, key, label)
    others = tuple(n.name or "(the top)" for n in networks if n is not chosen) if with_vit else ()
    return Choice(_strip(chosen.tensors), chosen.name or "(the top)", others, chosen.outside)


def _named(networks: list[_Network], key: str, label: str) -> _Network:
    """The network that a key names: by its whole name, its entry, or its prefix."""
    given = key.removesuffix(".")
    wanted = unwrapped([given])[given]  # the names of networks are without wrappers
    for name in dict.fromkeys((given, wanted)):
        for label_of in ("name", "entry", "prefix"):
            match = [network for network in networks if getattr(network, label_of).removesuffix(".") == name]
            if match:
                return match[0]
    within = [network for network in networks if wanted in network.entry.split(".")]
    if len(within) == 1:
        return within[0]
    inside = [n for n in networks if any(name.startswith(f"{wanted}.") and ANCHOR.match(name) for name in n.tensors)]
    if inside:
        return inside[0]
    names = [network.name or "(the top)" for network in networks]
    raise CheckpointError(
        f"{label} has no network {key!r}. {did_you_mean(key, names)} Networks in the file: {', '.join(names)}."
    )
