"""Random numbers that are a pure function of what they are for: (seed, stream name, position).

Anything random in this room is drawn from here or from `generator`, never from global state, so that an image or an
augmentation is the same whatever was drawn before it, in however many processes, and can be asked for out of order.
"""

from __future__ import annotations

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def words(*facts: int | str) -> list[int]:
    """Four 64-bit words that `facts` determine, the same on every machine."""
    digest = hashlib.sha256(repr(facts).encode()).digest()
    return [int.from_bytes(digest[i : i + 8], "little") for i in range(0, 32, 8)]


def generator(*facts: int | str) -> np.random.Generator:
    """A generator of its own for `facts`, e.g. `generator("quadtree", seed, split, block)`.

    SFC64, since half of what generating a quadtree costs is drawing normal numbers, and it draws them fastest.
    """
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(words(*facts))))


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014): a bijection of 64-bit words that looks random."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def uniforms(positions: np.ndarray, count: int, *facts: int | str) -> np.ndarray:
    """Uniform numbers in [0, 1) for each position: float64 (len(positions), count).

    Row i depends on `positions[i]` and `facts` alone, so any row can be drawn without the others.
    """
    positions = np.asarray(positions).astype(np.uint64)
    seed = np.uint64(words(*facts)[0])
    with np.errstate(over="ignore"):
        start = _mix(positions * _GOLDEN + seed)[:, None]
        steps = np.arange(1, count + 1, dtype=np.uint64)[None, :]
        bits = _mix(start + steps * _GOLDEN)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def unit_interval(text: str) -> float:
    """A number in [0, 1) that `text` determines; used to split folders by relative path."""
    return words(text)[0] / 2.0**64
