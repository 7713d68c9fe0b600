"""Outlines and textures as functions of the plane: what `shapes` is drawn with.

A shape is its signed distance (negative inside, about 1 across), a texture a brightness in [0, 1]. Both are drawn from
formulas and not from files, so any image size is exact, with edges one pixel soft; and every image is a function of its
own few numbers, computed many at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

CHUNK_PIXELS = 2**18
"""Pixels drawn at a time, so that the arithmetic stays in the processor's cache."""

Array = np.ndarray
TAU = 2 * np.pi


def _disc(x: Array, y: Array) -> Array:
    return np.asarray(np.hypot(x, y) - 0.9)


def _square(x: Array, y: Array) -> Array:
    return np.asarray(np.maximum(np.abs(x), np.abs(y)) - 0.78)


def _triangle(x: Array, y: Array) -> Array:
    y = y - 0.15
    return np.asarray(np.maximum(y, np.sqrt(0.75) * np.abs(x) - 0.5 * y) - 0.55)


def _star(x: Array, y: Array) -> Array:
    radius, fifth = np.hypot(x, y), TAU / 5
    angle = np.abs((np.arctan2(x, -y) + fifth / 2) % fifth - fifth / 2)
    u, v = radius * np.cos(angle), radius * np.sin(angle)  # one half of one point, its tip at (1, 0)
    notch = 0.45 * np.cos(fifth / 2) - 1.0, 0.45 * np.sin(fifth / 2)
    return np.asarray(((u - 1.0) * notch[1] - v * notch[0]) / np.hypot(*notch))


def _plus(x: Array, y: Array) -> Array:
    x, y = np.abs(x), np.abs(y)
    return np.asarray(np.minimum(np.maximum(x - 0.92, y - 0.3), np.maximum(x - 0.3, y - 0.92)))


def _ring(x: Array, y: Array) -> Array:
    return np.asarray(np.abs(np.hypot(x, y) - 0.7) - 0.24)


def _crescent(x: Array, y: Array) -> Array:
    x = x + 0.15
    return np.asarray(np.maximum(np.hypot(x, y) - 0.95, 0.78 - np.hypot(x - 0.5, y)))


def _heart(x: Array, y: Array) -> Array:
    y, half, root = y - 0.12, 0.54, np.sqrt(0.5)
    body = np.maximum(np.abs(x + y), np.abs(x - y)) * root - half
    lobes = np.hypot(np.abs(x) - half * root, y + half * root) - half
    return np.asarray(np.minimum(body, lobes))


SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "plus": _plus,
    "ring": _ring,
    "crescent": _crescent,
    "heart": _heart,
}
"""Signed distance at (x, y), x to the right and y down, in units of the object's radius."""


def _soft(value: Array) -> Array:
    return np.clip(0.5 + 1.6 * value, 0.0, 1.0)


def _plain(u: Array, v: Array, phases: Array) -> Array:
    return np.zeros_like(u)


def _stripes(u: Array, v: Array, phases: Array) -> Array:
    return _soft(np.sin(TAU * u))


def _checks(u: Array, v: Array, phases: Array) -> Array:
    return _soft(2.0 * np.sin(TAU * 0.7 * u) * np.sin(TAU * 0.7 * v))


def _dots(u: Array, v: Array, phases: Array) -> Array:
    return _soft(np.cos(TAU * 0.9 * u) + np.cos(TAU * 0.9 * v) - 0.7)


def _grid(u: Array, v: Array, phases: Array) -> Array:
    return _soft(2.0 * (np.maximum(np.cos(TAU * 0.8 * u), np.cos(TAU * 0.8 * v)) - 0.75))


def _zigzag(u: Array, v: Array, phases: Array) -> Array:
    return _soft(np.sin(TAU * (u + 1.2 * np.abs((0.55 * v) % 1.0 - 0.5))))


def _rings(u: Array, v: Array, phases: Array) -> Array:
    return _soft(np.sin(TAU * np.hypot(u + phases[0] - 0.5, v + phases[1] - 0.5)))


def _blotches(u: Array, v: Array, phases: Array) -> Array:
    total = np.zeros_like(u)
    for wave in range(5):
        angle = TAU * (wave / 5 + 0.15 * phases[wave])
        total += np.cos(TAU * (0.6 * (np.cos(angle) * u + np.sin(angle) * v) + phases[5 + wave]))
    return _soft(total)


TEXTURES: dict[str, Callable[[Array, Array, Array], Array]] = {
    "plain": _plain,
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "grid": _grid,
    "zigzag": _zigzag,
    "rings": _rings,
    "blotches": _blotches,
}
"""Brightness at (u, v), in units of about one period; `phases` are ten numbers in [0, 1) per image."""

N_PHASES = 10


def distances(kinds: Array, x: Array, y: Array) -> Array:
    """Signed distances (n, height, width) of shape `kinds[i]` at `x[i], y[i]`."""
    out = np.empty_like(x)
    for kind, function in enumerate(SHAPES.values()):
        mine = kinds == kind
        out[mine] = function(x[mine], y[mine])
    return out


def textures(kinds: Array, u: Array, v: Array, phases: Array) -> Array:
    """Brightness (n, height, width) of texture `kinds[i]` at `u[i], v[i]`; phases (n, N_PHASES)."""
    out = np.empty_like(u)
    for kind, function in enumerate(TEXTURES.values()):
        mine = kinds == kind
        out[mine] = function(u[mine], v[mine], phases[mine].T[:, :, None, None])
    return out


def turned(x: Array, y: Array, angle: Array) -> tuple[Array, Array]:
    """The plane (n, height, width) seen from a frame turned by `angle` (n,)."""
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    return cos * x + sin * y, cos * y - sin * x


def between(random: np.ndarray, low: float, high: float) -> np.ndarray:
    """Numbers in [0, 1), (n,), brought to a range: (n, 1, 1)."""
    return np.asarray((low + (high - low) * random)[:, None, None])


def plane(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres, x to the right and y down, in (-1, 1): two arrays (1, size, size)."""
    line = (np.arange(size) + 0.5) * (2 / size) - 1
    return np.broadcast_to(line[None, None, :], (1, size, size)), np.broadcast_to(line[None, :, None], (1, size, size))


def rounded(image: np.ndarray) -> np.ndarray:
    """8-bit pixels of an image in [0, 1]."""
    return np.asarray(np.floor(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8))


def _tinted(brightness: np.ndarray, hue: np.ndarray, strength: float) -> np.ndarray:
    """Colours (n, 1, 1, 3) of a brightness and a hue in [0, 1): a cosine per channel around the grey."""
    angles = TAU * (hue[:, None] + np.array([0.0, 1 / 3, 2 / 3]))
    return np.asarray((brightness[:, None] + strength * np.cos(angles))[:, None, None, :])


def colours(random: np.ndarray, variant: str) -> tuple[np.ndarray, np.ndarray]:
    """The two colours of an object, each (n, 1, 1, 3): one light, one dark; which of them is which half is random."""
    strength = 0.4 if variant == "rendition" else 0.2
    light = _tinted(0.68 + 0.24 * random[:, 14], random[:, 15], strength)
    dark = _tinted(0.08 + 0.22 * random[:, 16], random[:, 17], strength)
    swap = (random[:, 18] < 0.5)[:, None, None, None]
    return np.where(swap, dark, light), np.where(swap, light, dark)


def background(random: np.ndarray, size: int, variant: str) -> np.ndarray:
    """(n, size, size, 3): soft and of middle brightness; busy for `viewpoint`, one bright ink for `rendition`."""
    x, y = plane(size)
    if variant == "rendition":
        bright = _tinted(0.7 + 0.2 * random[:, 19], random[:, 20], 0.25)
        return np.broadcast_to(bright, (len(random), size, size, 3))
    base = _tinted(0.43 + 0.12 * random[:, 19], random[:, 20], 0.08)
    slope, _ = turned(x, y, TAU * random[:, 21])
    image = base + 0.06 * slope[..., None]
    if variant == "viewpoint":
        phases = random[:, 32 + N_PHASES : 32 + 2 * N_PHASES]
        u, v = turned(2.2 * x, 2.2 * y, TAU * random[:, 22])
        clutter = textures(np.full(len(random), list(TEXTURES).index("blotches")), u, v, phases)[..., None]
        image = image + (clutter - 0.5) * _tinted(np.full(len(random), 0.3), random[:, 23], 0.2)
    return image
