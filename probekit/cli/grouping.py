"""What typer lacks: options shared by several commands as one dataclass, and options that take several values."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, get_type_hints

import typer.core


class Lists(typer.core.TyperCommand):
    """A command whose repeatable options take several values at once: `--mask-ratio 0.5 0.75`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Write `--option a b` as `--option a --option b`, then parse as usual."""
        repeatable = {name for option in self.params if getattr(option, "multiple", False) for name in option.opts}
        spread: list[str] = []
        current = None
        for arg in args:
            negative_number = arg[:1] == "-" and arg[1:2].isdigit()
            name, joined, value = arg.partition("=")
            if joined and name in repeatable:
                current = name
                spread += [name, value]
            elif arg.startswith("-") and not negative_number:
                current = arg if arg in repeatable else None
                spread.append(arg)
            elif current is not None and spread[-1] != current:
                spread += [current, arg]
            else:
                spread.append(arg)
        return super().parse_args(ctx, spread)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command for typer in which every parameter that is a dataclass of options becomes those options.

    Args:
        command: a function with parameters that typer reads, and parameters annotated with a dataclass, whose fields
            are `Annotated` with `typer.Option` and have defaults.

    Returns:
        A function with the fields in place of the dataclass, which gathers them again and calls `command`.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    parameters = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(annotation=hints[name]))
            continue
        types = get_type_hints(groups[name], include_extras=True)
        for field in dataclasses.fields(groups[name]):
            made = field.default_factory() if callable(field.default_factory) else field.default
            parameters.append(parameter.replace(name=field.name, default=made, annotation=types[field.name]))

    @wraps(command)
    def called(**values: Any) -> None:
        for name, group in groups.items():
            fields = {field.name: values.pop(field.name) for field in dataclasses.fields(group)}
            values[name] = group(**fields)
        command(**values)

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what `inspect` looks at
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del called.__wrapped__  # its own signature is the ungrouped one
    return called
