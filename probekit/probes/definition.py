"""What a probe is: how its module describes it, and the object that the rest of probekit uses."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from probekit.collect import PreparedModel, Splits
from probekit.errors import ProbeError, did_you_mean
from probekit.probes.options import checked
from probekit.probes.requirements import REQUIREMENTS
from probekit.schema import Variable

ATTRIBUTES = ("VARIABLES", "NEEDS", "REQUIRES", "OPTIONS", "run")
"""What a module must have to be a probe."""


@dataclass(frozen=True)
class Probe:
    """A probe as its module describes it.

    Args:
        name: what it is asked for by; results carry it as the attribute `probe`.
        summary: one line for `probekit probes`.
        variables: what `run` returns.
        needs: measurements that must be taken (`probekit.collect.needs.NEEDS` and `EXTRA`).
        requires: what checkpoint and image set must have (`probekit.probes.REQUIREMENTS`).
        options: settings with their defaults.
        choices: option -> the texts that it may be.
        after: option -> what `run` measures besides `needs` where it is on: what a dry run counts.
        run: `run(measurements, **options) -> {name: xr.DataArray}`.

    Example:
        >>> probekit.probes.find("knn").options
        {'ks': [10, 20, 100, 200], 'temperature': 0.07}
    """

    name: str
    summary: str
    variables: tuple[Variable, ...]
    needs: tuple[str, ...]
    requires: tuple[str, ...]
    run: Callable[..., dict[str, xr.DataArray]]
    options: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    after: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def version(self) -> list[int]:
        """Version of each variable: part of the name under which results are cached."""
        return [variable.version for variable in self.variables]

    def settings(self, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """The options that a run uses.

        Args:
            options: option -> value, for those that differ from their defaults.

        Returns:
            All options: the given ones checked, the others at their defaults.

        Raises:
            ProbeError: an unknown option, or a value of another kind than the default.
        """
        given = dict(options or {})
        for name, value in given.items():
            if name not in self.options:
                raise ProbeError(f"The probe {self.name} has no option {name!r}. {did_you_mean(name, self.options)}")
            given[name] = checked(self.name, name, value, self.options[name], self.choices.get(name, ()))
        return {**self.options, **given}

    def measured(self, settings: Mapping[str, Any]) -> list[str]:
        """The measurements that a run needs.

        Args:
            settings: all options, as `settings` returns them.

        Returns:
            `needs`, and what the options add.
        """
        return [*self.needs, *(need for option, more in self.after.items() if settings[option] for need in more)]

    def lacking(self, prepared: PreparedModel, splits: Splits) -> str | None:
        """Say why this probe cannot run.

        Args:
            prepared: the checkpoint.
            splits: the image set.

        Returns:
            The reason; None if it can run.

        Raises:
            ProbeError: `requires` names no known requirement.
        """
        for name in self.requires:
            if name not in REQUIREMENTS:
                raise ProbeError(f"The probe {self.name} requires {name!r}. {did_you_mean(name, REQUIREMENTS)}")
            reason = REQUIREMENTS[name](prepared, splits)
            if reason:
                return reason
        return None


def described(name: str, module: Any) -> Probe:
    """The probe that a module describes.

    Args:
        name: the probe's name.
        module: a module, or any object, with `VARIABLES`, `NEEDS`, `REQUIRES`, `OPTIONS`, `run` and a docstring.

    Raises:
        ProbeError: an attribute is missing, or is not what it should be.
    """
    where = getattr(module, "__file__", None) or getattr(module, "__name__", type(module).__name__)
    missing = [attribute for attribute in ATTRIBUTES if not hasattr(module, attribute)]
    if missing:
        raise ProbeError(
            f"The probe {name} ({where}) lacks {', '.join(missing)}: a probe has {', '.join(ATTRIBUTES)} and a "
            "docstring; see `probekit.probes`."
        )
    lines = inspect.cleandoc(module.__doc__ or "").splitlines()
    if not lines:
        raise ProbeError(f"The probe {name} ({where}) has no docstring: its first line is what `probekit probes` says.")
    if not callable(module.run) or not all(isinstance(variable, Variable) for variable in module.VARIABLES):
        raise ProbeError(
            f"The probe {name} ({where}): expected VARIABLES of probekit.schema.Variable and a function run; got "
            f"{[type(variable).__name__ for variable in module.VARIABLES]} and {type(module.run).__name__}."
        )
    return Probe(
        name, lines[0], tuple(module.VARIABLES), tuple(module.NEEDS), tuple(module.REQUIRES), module.run,
        dict(module.OPTIONS), dict(getattr(module, "CHOICES", {})),
        dict(getattr(module, "AFTER", {})),
    )  # fmt: skip
