"""The whole of the trials, with a table of tried and survived.

    python tests/trials/run.py [--inputs 500] [--kills 100] [--only KIND]

Exit code 1 if anything was wrong, was a traceback, hung, took more than 2 GB, or left litter.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["PROBEKIT_PROGRESS"] = "0"

import kinds
import run_kinds
import set_kinds
import torch
import xarray as xr
from trial import BAD, GOOD, Trial, Verdict, judged, killed

SHARE = {
    "checkpoints": 0.16,
    "cards": 0.14,
    "images": 0.08,
    "archives": 0.08,
    "results": 0.15,
    "cache": 0.08,
    "runs": 0.05,
    "tunings": 0.05,
    "detections": 0.03,
    "coco": 0.06,
    "masks": 0.04,
    "features": 0.02,
    "options": 0.06,
}
"""Share of each kind in the inputs."""


def use_cache(place: Path) -> None:
    os.environ["PROBEKIT_CACHE"] = str(place)


def inputs(folder: Path, count: int, ds: xr.Dataset, only: str = "") -> Iterator[Trial]:
    """Trials of all kinds, about `count` in all."""
    for kind, share in SHARE.items():
        some = count if only else max(1, round(count * share))
        if only and kind != only:
            continue
        if kind == "results":
            yield from kinds.results(folder / kind, some, ds)
        elif kind == "cache":
            yield from kinds.caches(folder / kind, some, use_cache)
        else:
            yield from makers()[kind](folder / kind, some)


def makers() -> dict[str, Callable[[Path, int], Iterator[Trial]]]:
    """Kind -> what makes its trials, of those that need nothing else."""
    others = ("results", "cache")
    return {
        kind: next(getattr(module, kind) for module in (kinds, run_kinds, set_kinds) if hasattr(module, kind))
        for kind in SHARE
        if kind not in others
    }


def kills(folder: Path, count: int, ds: xr.Dataset) -> Iterator[tuple[str, Verdict]]:
    """Each writer killed at random moments; then written again, read, and looked for litter."""
    chosen = list(kinds.writers(ds).items())
    for number in range(count):
        name, (write, read, seconds) = chosen[number % len(chosen)]
        draw = random.Random(number)
        place = folder / f"kill-{number}"
        place.mkdir()
        if number % 2:
            write(place)  # over something that is there
            before = read(place)
            at_work = killed(lambda write=write, place=place: write(place), draw.uniform(0, seconds))
            yield name, _same("after the kill", lambda read=read, place=place: read(place), before, at_work)
            continue
        at_work = killed(lambda write=write, place=place: write(place), draw.uniform(0, seconds))
        write(place)
        expected_place = folder / f"expected-{name}"
        if not expected_place.exists():
            expected_place.mkdir()
            write(expected_place)
        verdict = _same("again", lambda read=read, place=place: read(place), read(expected_place), at_work)
        litter = [str(file.relative_to(place)) for file in place.rglob("*") if file.name.endswith(".part")]
        yield name, Verdict("litter", ", ".join(litter)) if litter else verdict


def _same(when: str, read: object, expected: object, at_work: bool) -> Verdict:
    verdict = judged(Trial("kill", when, read, expected, 60))  # type: ignore[arg-type]
    return verdict if verdict.outcome != "refused" else Verdict("wrong", f"{when}: {verdict.said}")


def full_disk(ds: xr.Dataset) -> Iterator[tuple[str, Verdict]]:
    """Every writer on a small tmpfs that fills, where mounting is possible."""
    place = Path(tempfile.mkdtemp())
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        yield "all", Verdict("skipped", "mounting is not allowed here")
        return
    try:
        for name, (write, *_) in kinds.writers(ds).items():
            for file in place.iterdir():
                subprocess.run(["rm", "-rf", str(file)], check=True)
            with open("/dev/zero", "rb") as zero, open(place / "filler", "wb", buffering=0) as filler:
                room = 4096 * 3
                filler.write(zero.read(2 * 2**20 - room))
            verdict = judged(Trial("disk", name, lambda write=write: write(place), seconds=60))
            left = sorted(file.name for file in place.iterdir() if file.name not in ("filler", "run"))
            if verdict.outcome == "refused" and left:
                verdict = Verdict("litter", ", ".join(left))
            yield name, verdict
    finally:
        subprocess.run(["umount", str(place)], check=False)
        place.rmdir()


def table(counts: dict[str, Counter[str]]) -> str:
    """Rows: kinds; columns: tried, survived, and how the others went."""
    columns = ["tried", "survived", *BAD, "litter"]
    lines = [f"{'':24}" + "".join(f"{column:>11}" for column in columns)]
    for kind, found in counts.items():
        survived = sum(found[good] for good in GOOD)
        row = [found.total() - found["skipped"], survived, *(found[bad] for bad in (*BAD, "litter"))]
        lines.append(f"{kind:24}" + "".join(f"{number:>11}" for number in row))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=500)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--only", default="", choices=["", *SHARE])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory(prefix="trials-") as scratch:
        folder = Path(scratch)
        use_cache(folder / "cache-0")
        ds = kinds.measured() if asked.only in ("", "results") else xr.Dataset()

        def note(kind: str, name: str, verdict: Verdict) -> None:
            counts.setdefault(kind, Counter())[verdict.outcome] += 1
            if verdict.outcome not in GOOD:
                print(f"{kind}: {name}: {verdict.outcome}\n    {verdict.said.strip()[-700:]}", flush=True)

        for trial in inputs(folder, asked.inputs, ds, asked.only):
            note(trial.kind, trial.name, judged(trial))
        if not asked.only:
            for name, verdict in full_disk(ds):
                note("full disk", name, verdict)
            for name, verdict in kills(folder, asked.kills, ds):
                note("kills", name, verdict)
    print(table(counts))
    return int(any(found[bad] for found in counts.values() for bad in (*BAD, "litter")))


if __name__ == "__main__":
    sys.exit(main())
