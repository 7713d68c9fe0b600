"""How a probe describes its results: one `Variable` for each, from which the labelled arrays are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from probekit.dataset_checks import ATTRIBUTES, BETTER
from probekit.errors import ResultsError


@dataclass(frozen=True)
class Variable:
    """The description of one result variable.

    Args:
        name: lower-case noun of the quantity, e.g. `knn_accuracy`.
        dims: its dimensions besides `checkpoint` and `data`, which every variable has.
        long_name: for axes and tables; starts with a capital.
        units: "1" for pure numbers in [0, 1], "pixels", "nats", "dB", ...
        better: "higher", "lower" or "none" (neither is good or bad).
        protocol: how the number came about, with its constants: another lab must be able to repeat it.
        reference: paper, equation or repository that defines it.
        version: grows whenever a measured value would differ.
        interval: what `<name>_ci` resamples, e.g. "bootstrap over images"; None where there is no interval.
        no_interval: the reason, where there is none. Exactly one of `interval` and `no_interval` is given.
        extra: further attributes (strings, numbers, lists of them).

    Raises:
        ResultsError: an unknown `better`; both or none of `interval` and `no_interval`.

    Example:
        >>> mean = Variable("mean_pixel", ("layer",), "Mean pixel", "1", "none", "mean", "mine", no_interval="exact")
        >>> mean.arrays([0.1, 0.2])["mean_pixel"].dims
        ('layer',)
    """

    name: str
    dims: tuple[str, ...]
    long_name: str
    units: str
    better: str
    protocol: str
    reference: str
    version: int = 1
    interval: str | None = None
    no_interval: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.better not in BETTER:
            raise ResultsError(f"{self.name}: better={self.better!r}, expected one of {', '.join(BETTER)}.")
        if (self.interval is None) == (self.no_interval is None):
            raise ResultsError(
                f"{self.name}: give either `interval` (what it resamples) or `no_interval` (the reason)."
            )

    @property
    def attributes(self) -> dict[str, Any]:
        """What the variable carries in a dataset: `ATTRIBUTES`, `extra`, and the reason for no interval."""
        attrs = {key: getattr(self, key) for key in ATTRIBUTES} | dict(self.extra)
        if self.no_interval is not None:
            attrs["no_interval"] = self.no_interval
        return attrs

    def arrays(
        self,
        values: Any,
        interval: Any = None,
        *,
        coords: Mapping[str, Any] | None = None,
        per_image: Any = None,
    ) -> dict[str, xr.DataArray]:
        """The labelled arrays of this variable, before `checkpoint` and `data` are added.

        Args:
            values: shape `dims`.
            interval: shape `dims + (2,)`, lower and upper; required if the variable has one.
            coords: labels of the dims.
            per_image: shape `dims + (image,)`: contributions whose mean over images is `values` (NaN = image not used).
        """
        coords = dict(coords or {})
        out = {self.name: xr.DataArray(np.asarray(values), dims=self.dims, coords=coords, attrs=self.attributes)}
        if (interval is None) == (self.interval is not None):
            raise ResultsError(f"{self.name}: an interval is {'missing' if interval is None else 'not described'}.")
        if interval is not None:
            attrs = {
                "long_name": f"95 % interval of: {self.long_name}",
                "units": self.units,
                "resamples": self.interval,
            }
            bounds = {**coords, "bound": ["lower", "upper"]}
            out[f"{self.name}_ci"] = xr.DataArray(
                np.asarray(interval), dims=(*self.dims, "bound"), coords=bounds, attrs=attrs
            )
        if per_image is not None:
            attrs = {"long_name": f"Per image: {self.long_name}", "units": self.units}
            out[f"{self.name}_image"] = xr.DataArray(
                np.asarray(per_image), dims=(*self.dims, "image"), coords=coords, attrs=attrs
            )
        return out
