"""`webdataset:PATTERN`: tar shards in webdataset's layout, read at random where they lie.

PATTERN is a folder, a file, or a path with `*`, `{000..012}` or `{train,val}`. The files `KEY.jpg` (or .png, ...) and
`KEY.cls` (a number as text; or `KEY.json` with "label") of a shard make up a sample; without any label the images have
none. Shards that have the word train,
val or test in their name, or are in a folder of that name, are those splits; else all samples are divided by a hash of
shard and key. A text `classes.txt` beside the shards, one name per line, names the classes. Shards must not be
compressed: their members are read by offset.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

from probekit import files, progress
from probekit.data.base import ImageSet
from probekit.data.decode import EXTENSIONS, unreadable
from probekit.data.encoded import EncodedSet, decoded
from probekit.data.labelling import read_labels
from probekit.data.request import Request
from probekit.data.selecting import Found, select
from probekit.data.splits import ALIASES, Part, split_name
from probekit.errors import DataError

LABEL_BYTES = 2**20
"""Largest `.cls` or `.json` member that is read."""


class Sample(NamedTuple):
    """Where an encoded image lies, and its label, or None."""

    shard: str
    key: str
    offset: int
    size: int
    label: int | None


class ShardSet(EncodedSet):
    """Samples of tar shards."""

    def __init__(self, samples: list[Sample], request: Request, **description: Any) -> None:
        super().__init__(request, **description)
        self.samples = samples

    def encoded(self, index: int) -> bytes:
        return encoded(self.samples[index])

    def image_name(self, index: int) -> str:
        return f"{self.samples[index].shard}/{self.samples[index].key}"

    def rank_keys(self) -> Sequence[str]:
        return [f"{Path(sample.shard).name}/{sample.key}" for sample in self.samples]


def encoded(sample: Sample) -> bytes:
    """The file of an image."""
    try:
        with open(sample.shard, "rb") as file:
            file.seek(sample.offset)
            return file.read(sample.size)
    except OSError as error:
        raise unreadable(f"{sample.shard}/{sample.key}", error) from error


def open_split(argument: str, request: Request) -> ImageSet:
    """Open shards.

    Args:
        argument: the pattern.
        request: which images.
    """
    spec = request.spec
    shards = shard_paths(argument, spec)
    grouped: dict[str, list[str]] = {}
    for shard in shards:
        grouped.setdefault(_split_of(shard), []).append(shard)
    if "all" in grouped and len(grouped) > 1:
        raise DataError(
            f"{spec}: {len(grouped['all'])} shards, such as {Path(grouped['all'][0]).name}, do not say which split "
            "they are, beside others that do (by the words train, val or test). Name them all, or none."
        )
    with progress.bar(f"{spec}: reading shards", len(shards), "shards") as advance:
        samples = {
            key: [each for shard in group for each in _samples(shard, spec, advance)] for key, group in grouped.items()
        }
    named = Path(shards[0]).parent / "classes.txt"
    listed = {key: [each.label for each in group] for key, group in samples.items()}
    labelling = read_labels(
        {key: None if labels.count(None) == len(labels) else labels for key, labels in listed.items()},
        {key: len(labels) for key, labels in listed.items()},
        named.read_text().splitlines() if named.exists() else None,
        spec,
    )
    names = {key: [f"{Path(each.shard).name}/{each.key}" for each in group] for key, group in samples.items()}
    chosen = select(
        Found(
            {key: Part.of(names[key], labelling.labels[key]) for key in samples},
            labelling.classes,
            lambda part, index: decoded(encoded(samples[part][index]), samples[part][index].key, request),
            lambda part, index: f"{samples[part][index].shard}/{samples[part][index].key}",
            notes=labelling.notes,
        ),
        request,
    )
    given = samples[chosen.part]
    result = ShardSet(
        [given[index] for index in chosen.indices],
        request,
        name=re.sub(r"[-_.]?[{*].*", "", Path(argument).name) or "webdataset",
        origin="decoded",
        facts={"source": "webdataset", **chosen.facts, **request.decoding},
        licence="as the shards'",
        **chosen.options(request),
    )
    chosen.finish(result)
    return result


def shard_paths(pattern: str, spec: str) -> list[str]:
    """The shards that a folder (with folders of splits in it), file, wildcard or braces mean, in order."""
    if Path(pattern).is_dir():
        inside = Path(pattern).glob("*.tar"), *(folder.glob("*.tar") for folder in _split_folders(Path(pattern)))
        paths = sorted(str(path) for group in inside for path in group)
    else:
        paths = [path for each in expanded(pattern) for path in sorted(glob(each)) or [each]]
    missing = [path for path in paths if not Path(path).is_file()]
    if missing or not paths:
        raise DataError(f"{spec}: there is no shard {missing[0] if missing else pattern}. Names end in .tar.")
    return paths


def _split_folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir() and split_name(path.name)]


def expanded(pattern: str) -> list[str]:
    """What braces mean, as in a shell: `{000..012}` counts (both ends included), `{train,val}` lists; they may nest."""
    inner = re.search(r"\{([^{}]*)\}", pattern)
    if not inner:
        return [pattern]
    span = re.fullmatch(r"(\d+)\.\.(\d+)", inner[1])
    if span:
        first, last = int(span[1]), int(span[2])
        step = 1 if last >= first else -1
        choices = [f"{number:0{len(span[1])}d}" for number in range(first, last + step, step)]
    else:
        choices = inner[1].split(",")
    found = [path for each in choices for path in expanded(pattern[: inner.start()] + each + pattern[inner.end() :])]
    return list(dict.fromkeys(found))


def _split_of(shard: str) -> str:
    """The split that a word of a shard's name says, or else its folder's name."""
    words = re.findall(r"[a-z]+", Path(shard).name.lower())
    said = [ALIASES[word] for word in words if word in ALIASES]
    return said[0] if said else split_name(Path(shard).parent.name) or "all"


def _samples(shard: str, spec: str, advance: Any) -> Iterator[Sample]:
    """The samples of a shard, in order: members with one key (the name up to its first dot) follow each other."""
    images: dict[str, tuple[int, int]] = {}
    labels: dict[str, int] = {}
    files.regular(shard, what="a tar shard", error=DataError)
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                folder, _, base = member.name.rpartition("/")
                stem, _, ending = base.partition(".")
                ending = ending.rpartition(".")[2].lower()
                key = f"{folder}/{stem}" if folder else stem
                if not member.isfile() or not stem:
                    continue
                if f".{ending}" in EXTENSIONS:
                    if key in images:
                        raise DataError(f"{spec}: {shard} has two images with the key {key!r}.")
                    images[key] = (member.offset_data, member.size)
                elif ending in ("cls", "json"):
                    if member.size > LABEL_BYTES:
                        raise DataError(f"{spec}: {shard}/{member.name} has {member.size:,} bytes; no label has.")
                    found = tar.extractfile(member)
                    assert found is not None  # of a file, as asked above
                    labels[key] = _label(found.read(), ending, f"{shard}/{member.name}")
    except tarfile.ReadError as error:
        raise DataError(f"{spec}: cannot read {shard}: {error}. Shards are tar files without compression.") from error
    if not images:
        raise DataError(f"{spec}: {shard} holds no image.")
    bare = [key for key in images if key not in labels]
    if bare and labels:
        raise DataError(
            f"{spec}: {len(bare)} images in {shard}, such as {bare[0]!r}, have no label (KEY.cls or KEY.json)."
        )
    for key, (offset, size) in images.items():
        yield Sample(shard, key, offset, size, labels.get(key))
    advance()


def _label(data: bytes, ending: str, name: str) -> int:
    try:
        label = int(data) if ending == "cls" else json.loads(data)["label"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f'{name} holds no label: a whole number is expected, or JSON with "label".') from error
    if type(label) is not int or label < 0:
        raise DataError(f"{name} holds the label {label!r}; a whole number from 0 upwards is expected.")
    return label
