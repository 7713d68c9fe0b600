"""Feature similarity (FSIM, with colour), against originals that are analysed once.

FSIM compares phase congruency (where Fourier components agree in phase: edges and lines, whatever their contrast) and
gradient strength, and weights each pixel by its phase congruency. Nearly all of its cost is the phase congruency: 16
inverse Fourier transforms per image. So `FsimReference` keeps that of the originals, filters are built once per image
size, and the sum over scales of the aligned energy, which is the length of the summed response, is not summed again.

The dialect is that of `piq.fsim(data_range=1, chromatic=True)`: 4 scales, 4 orientations, images averaged down so that
the shorter side is nearest 256 pixels, colour as YIQ.

Source: Zhang, Zhang, Mou, Zhang, "FSIM: A Feature Similarity Index for Image Quality Assessment", IEEE TIP 20(8), 2011;
phase congruency: Kovesi, "Image features from phase congruency", Videre 1(3), 1999.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from probekit.errors import ProbeError

SCALES, ORIENTATIONS = 4, 4
SHORTEST_WAVELENGTH, SCALE_FACTOR = 6, 2
"""Wavelength of the finest filter in pixels, and the factor from one scale to the next."""
BANDWIDTH = 0.55
"""Standard deviation of the log-Gabor's radial Gaussian, as a ratio to its centre frequency."""
ANGLE_RATIO = 1.2
"""Angle between orientations over the standard deviation of the angular Gaussian."""
NOISE_DEVIATIONS, NOISE_SCALE = 2.0, 1.7
"""Noise threshold: deviations above its mean, and the factor by which it is overestimated for this congruency."""
LOWPASS_CUTOFF, LOWPASS_ORDER = 0.45, 15
T_CONGRUENCY, T_GRADIENT, T_COLOUR, COLOUR_EXPONENT = 0.85, 160.0, 200.0, 0.03
WORKING_SIDE = 256
"""The shorter side, in pixels, that images are averaged down towards."""
MINIMUM_SIDE = 24
"""Below four of the finest wavelengths a side holds no phase to speak of; we call it not applicable."""
EPS = float(torch.finfo(torch.float32).eps)

YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


class Filters(NamedTuple):
    """Log-Gabor filters of one image size and the constants that follow from them alone."""

    bank: Tensor  # (orientations, scales, h, w), frequency domain, zero frequency first
    noise: Tensor  # (orientations,): noise threshold per unit of median squared amplitude at the finest scale, rooted


def frequencies(n: int) -> Tensor:
    """Frequencies in cycles per pixel, zero first. Odd sizes are stretched to reach -0.5 and 0.5, as the reference has
    it."""
    start, span = (-(n - 1) / 2, n - 1) if n % 2 else (-n / 2, n)
    return torch.roll((torch.arange(n, dtype=torch.float64) + start) / span, -(n // 2))


@lru_cache(maxsize=8)
def filters(height: int, width: int, device: str) -> Filters:
    """The filter bank for images of `height` x `width` on `device`; computed in float64, kept in float32."""
    rows, columns = torch.meshgrid(frequencies(height), frequencies(width), indexing="ij")
    radius, angle = torch.hypot(rows, columns), torch.atan2(-columns, rows)
    lowpass = 1 / (1 + (radius / LOWPASS_CUTOFF) ** (2 * LOWPASS_ORDER))
    radius[0, 0] = 1.0  # its logarithm is taken; the filter is set to zero there
    wavelengths = [SHORTEST_WAVELENGTH * SCALE_FACTOR**scale for scale in range(SCALES)]
    radial = torch.stack(
        [torch.exp(-(torch.log(radius * w) ** 2) / (2 * math.log(BANDWIDTH) ** 2)) for w in wavelengths]
    )
    radial = radial * lowpass
    radial[:, 0, 0] = 0.0
    deviation = math.pi / (ORIENTATIONS * ANGLE_RATIO)
    turns = [angle - orientation * math.pi / ORIENTATIONS for orientation in range(ORIENTATIONS)]
    apart = torch.stack([torch.atan2(torch.sin(turn), torch.cos(turn)) for turn in turns])
    bank = torch.exp(-(apart**2) / (2 * deviation**2))[:, None] * radial
    return Filters(bank.float().to(device), noise_thresholds(bank).float().to(device))


def noise_thresholds(bank: Tensor) -> Tensor:
    """How the noise threshold follows from the median amplitude at the finest scale, per orientation.

    If the finest responses are noise, their squared amplitude is exponential with mean `median / log 2`; over the power
    of the finest filter this is the noise power, which passes to the summed response as `|sum of the filters|²`.
    """
    spatial = torch.fft.ifft2(bank).real * math.sqrt(bank.shape[-2] * bank.shape[-1])
    finest = (bank[:, 0] ** 2).sum(dim=(-2, -1))
    # sum of squares plus twice the sum of products of pairs of scales = square of the sum
    passed = (spatial.sum(dim=1) ** 2).sum(dim=(-2, -1))
    tau = torch.sqrt(passed / finest / math.log(2.0))
    rayleigh = math.sqrt(math.pi / 2) + NOISE_DEVIATIONS * math.sqrt(2 - math.pi / 2)
    return tau * rayleigh / NOISE_SCALE


def length_of(even: Tensor, odd: Tensor) -> Tensor:
    """sqrt(even² + odd²). Responses to pixels in [0, 255] cannot overflow, so the care of `hypot` is not needed."""
    return torch.addcmul(even * even, odd, odd).sqrt_()


def lower_median(rows: Tensor) -> Tensor:
    """Median of each row (n, k), the lower one of two; on a CPU by partition, which is eight times faster in NumPy."""
    if rows.device.type != "cpu":
        return rows.median(dim=1).values
    middle = (rows.shape[1] - 1) // 2
    return torch.from_numpy(np.partition(rows.numpy(), middle, axis=1)[:, middle])


def phase_congruency(luminance: Tensor) -> Tensor:
    """Phase congruency (n, h, w), in [0, 1], of luminance (n, h, w) in [0, 255]."""
    height, width = luminance.shape[1:]
    bank, noise = filters(height, width, str(luminance.device))
    spectrum = torch.fft.fft2(luminance)
    energies = torch.zeros_like(luminance)
    amplitudes = torch.zeros_like(luminance)
    for orientation in range(ORIENTATIONS):
        response = torch.fft.ifft2(spectrum[:, None] * bank[orientation])
        even, odd = response.real.contiguous(), response.imag.contiguous()  # interleaved numbers are slow to work on
        amplitude = length_of(even, odd)
        amplitudes += amplitude.sum(dim=1)
        total_even, total_odd = even.sum(dim=1), odd.sum(dim=1)
        length = length_of(total_even, total_odd).add_(EPS)
        # Responses along the summed one add up to its length; those across it are what disagrees in phase.
        total_even /= length
        total_odd /= length
        across = even.mul_(total_odd[:, None]).addcmul_(odd, total_even[:, None], value=-1).abs_().sum(dim=1)
        threshold = noise[orientation] * lower_median(amplitude[:, 0].flatten(1))
        energies += length.sub_(across).sub_(threshold[:, None, None]).clamp_(min=0)
    return (energies + EPS) / (amplitudes + EPS)


class Features(NamedTuple):
    """What FSIM compares, each (n, h, w), besides chroma (n, 2, h, w)."""

    congruency: Tensor
    gradient: Tensor
    chroma: Tensor


def analyse(images: Tensor) -> Features:
    """The features of images (n, 3 or 1, height, width) in [0, 1], averaged down by a whole factor if large."""
    factor = max(1, round(min(images.shape[-2:]) / WORKING_SIDE))
    images = (functional.avg_pool2d(images, factor) if factor > 1 else images) * 255.0
    images = images.expand(-1, 3, -1, -1)  # grey: three equal colours, which have no chroma
    yiq = torch.einsum("nchw,kc->nkhw", images, torch.tensor(YIQ, device=images.device))
    luminance = yiq[:, :1]
    scharr = torch.tensor([[-3.0, 0, 3], [-10, 0, 10], [-3, 0, 3]], device=images.device) / 16
    slopes = functional.conv2d(luminance, torch.stack([scharr, scharr.T])[:, None], padding=1)
    return Features(phase_congruency(luminance[:, 0].contiguous()), length_of(slopes[:, 0], slopes[:, 1]), yiq[:, 1:])


def likeness(a: Tensor, b: Tensor, constant: float) -> Tensor:
    """2ab / (a² + b²), stabilised: 1 where equal."""
    return (2 * a * b + constant) / (a**2 + b**2 + constant)


class FsimReference:
    """Feature similarity to fixed originals: build it once per batch of originals, ask it for every checkpoint.

    Args:
        originals: float (n, 3, height, width) in [0, 1], NumPy or torch; one channel is luminance alone.
        device: where to compute; "cpu" by default.
        chunk: images transformed at a time; more use more memory and are hardly faster.

    Raises:
        ProbeError: not such images, or a side shorter than 24 pixels.
    """

    def __init__(self, originals: NDArray[np.floating] | Tensor, *, device: str = "cpu", chunk: int = 4) -> None:
        self._device, self._chunk = device, chunk
        shape = tuple(originals.shape)
        if len(shape) != 4:
            raise ProbeError(f"Images of shape {shape}, expected (n, channels, height, width) in [0, 1].")
        if shape[1] not in (1, 3):
            raise ProbeError(
                f"FSIM compares luminance and colour, of grey or RGB images; these have {shape[1]} channels. SSIM, "
                "PSNR and MSE work with any number."
            )
        if min(shape[2:]) < MINIMUM_SIDE:
            raise ProbeError(
                f"FSIM needs images of at least {MINIMUM_SIDE} x {MINIMUM_SIDE} pixels (four wavelengths of its finest "
                f"filter); these are {shape[2]} x {shape[3]}. PSNR and MSE work at any size."
            )
        self._shape = shape
        self._features = [analyse(part) for part in self._parts(originals)]

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        return sum(tensor.untyped_storage().nbytes() for features in self._features for tensor in features)

    def _parts(self, images: NDArray[np.floating] | Tensor) -> list[Tensor]:
        if tuple(images.shape) != self._shape:
            raise ProbeError(
                f"Images of shape {tuple(images.shape)} against originals of {self._shape}: must be equal."
            )
        whole = torch.as_tensor(images).to(self._device, torch.float32)
        return list(torch.split(whole, self._chunk))

    @torch.no_grad()
    def _sums(self, images: NDArray[np.floating] | Tensor, weights: Tensor | None) -> NDArray[np.float64]:
        scores = []
        for i, part in enumerate(self._parts(images)):
            ours, theirs = self._features[i], analyse(part)
            weight = torch.maximum(ours.congruency, theirs.congruency)
            if weights is not None:
                at = i * self._chunk
                weight = weight * weights[at : at + len(part)].to(weight)
            similar = likeness(ours.congruency, theirs.congruency, T_CONGRUENCY)
            similar *= likeness(ours.gradient, theirs.gradient, T_GRADIENT)
            colour = likeness(ours.chroma, theirs.chroma, T_COLOUR).prod(dim=1).abs_()
            similar *= colour**COLOUR_EXPONENT
            above = (similar * weight).sum(dim=(1, 2), dtype=torch.float64)
            scores.append(above / weight.sum(dim=(1, 2), dtype=torch.float64))
        return np.asarray(torch.cat(scores).cpu().numpy(), dtype=np.float64)

    def score(self, images: NDArray[np.floating] | Tensor) -> NDArray[np.float64]:
        """FSIM per image, (n,), in [0, 1]; 1 for equal images."""
        return self._sums(images, None)

    def masked(self, pasted: NDArray[np.floating] | Tensor, hidden: NDArray[np.bool_]) -> NDArray[np.float64]:
        """FSIM with both sums over hidden pixels, (n,); NaN where nothing is hidden.

        Args:
            pasted: (n, 3, height, width), visible pixels as in the originals.
            hidden: bool (n, height, width), True = hidden; averaged down with the images where these are.
        """
        flags = torch.as_tensor(hidden)
        expected = (self._shape[0], *self._shape[2:])
        if tuple(flags.shape) != expected or flags.dtype != torch.bool:
            raise ProbeError(
                f"hidden is {flags.dtype} {tuple(flags.shape)}, expected bool {expected}: one flag per pixel."
            )
        factor = max(1, round(min(self._shape[2:]) / WORKING_SIDE))
        return self._sums(pasted, functional.avg_pool2d(flags.float()[:, None], factor)[:, 0])


def fsim(originals: NDArray[np.floating] | Tensor, images: NDArray[np.floating] | Tensor) -> NDArray[np.float64]:
    """FSIM per image, (n,). See `FsimReference`, which is faster for several comparisons with the same originals."""
    return FsimReference(originals).score(images)
