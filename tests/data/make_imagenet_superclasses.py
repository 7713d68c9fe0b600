"""Writes `imagenet_superclasses.txt` from WordNet 3.0: `python make_imagenet_superclasses.py data.noun`."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from probekit.data.imagenet import synsets

MOST, LEAST = 120, 8
"""A superclass covers at most MOST classes; one of fewer than LEAST joins the one above it."""


def read_nouns(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """WordNet id -> first hypernym, and WordNet id -> first word, from WordNet's `data.noun`."""
    above, words = {}, {}
    for line in path.read_text(encoding="latin-1").splitlines():
        if line.startswith(" "):  # the licence
            continue
        fields = line.split("|")[0].split()
        first_pointer = 4 + 2 * int(fields[3], 16)
        pointers = [fields[at : at + 4] for at in range(first_pointer + 1, len(fields), 4)]
        hypernyms = [f"n{offset}" for symbol, offset, *_ in pointers if symbol in ("@", "@i")]
        words[f"n{fields[0]}"] = fields[4].replace("_", " ")
        if hypernyms:
            above[f"n{fields[0]}"] = hypernyms[0]
    return above, words


def grouped(above: dict[str, str]) -> list[str]:
    """The superclass (WordNet id) of each class of ImageNet-1k."""

    def path(synset: str) -> list[str]:
        return [*(path(above[synset]) if synset in above else []), synset]

    paths = [path(synset) for synset in synsets()]
    covered = Counter(node for one in paths for node in one)
    chosen = [next(node for node in one if covered[node] <= MOST) for one in paths]
    while True:
        sizes = Counter(chosen)
        small = [node for node in sizes if sizes[node] < LEAST and node in above]
        if not small:
            return chosen
        deepest = max(small, key=lambda node: (len(path(node)), node))
        chosen = [above[deepest] if node == deepest else node for node in chosen]


def ranges(numbers: list[int]) -> str:
    """`[1, 2, 3, 7]` -> "1-3,7"."""
    starts = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


if __name__ == "__main__":
    hypernym, word = read_nouns(Path(sys.argv[1]))
    found = grouped(hypernym)
    target = Path(__file__).parents[2] / "probekit" / "data" / "imagenet_superclasses.txt"
    head = [line for line in target.read_text().splitlines() if line.startswith("#")]
    rows = [f"{node}\t{word[node]}\t{ranges([i for i, own in enumerate(found) if own == node])}"
            for node in dict.fromkeys(found)]  # fmt: skip
    target.write_text("\n".join([*head, *rows]) + "\n")
