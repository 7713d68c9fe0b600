"""probekit: which level of representation did a masked autoencoder learn, and how does that follow from its masks?

The public names are resolved on first use, so that `import probekit` stays light: it imports neither torch nor xarray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Encoder": "probekit.models",
    "load": "probekit.models",
    "evaluate": "probekit.evaluation",
    "compare": "probekit.evaluation",
    "features": "probekit.evaluation",
    "similarity": "probekit.evaluation",
    "contrast": "probekit.results",
    "summary": "probekit.results",
    "train": "probekit.training",
    "finetune": "probekit.training",
    "detect": "probekit.detection",
    "CheckpointError": "probekit.errors",
    "DataError": "probekit.errors",
    "ProbekitError": "probekit.errors",
}

__all__ = [*_HOME, "__version__"]

if TYPE_CHECKING:
    from probekit.detection import detect as detect
    from probekit.errors import CheckpointError as CheckpointError
    from probekit.errors import DataError as DataError
    from probekit.errors import ProbekitError as ProbekitError
    from probekit.evaluation import compare as compare
    from probekit.evaluation import evaluate as evaluate
    from probekit.evaluation import features as features
    from probekit.evaluation import similarity as similarity
    from probekit.models import Encoder as Encoder
    from probekit.models import load as load
    from probekit.results import contrast as contrast
    from probekit.results import summary as summary
    from probekit.training import finetune as finetune
    from probekit.training import train as train


_ROOMS = {
    "plot",
    "results",
    "data",
    "latents",
    "masking",
    "measures",
    "models",
    "probes",
    "schema",
    "training",
    "detection",
    "evaluation",
    "report",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _ROOMS:
        return import_module(f"probekit.{name}")
    raise AttributeError(_missing(name))


def _missing(name: str) -> str:
    """The message for an attribute that does not exist; another project is imported under the same name."""
    message = f"module 'probekit' has no attribute {name!r}"
    if name.startswith("_"):
        return message
    from importlib.metadata import PackageNotFoundError, distribution

    from probekit.errors import did_you_mean

    message += f". {did_you_mean(name, __dir__())} This is mae-probekit {__version__}; `probekit` on PyPI is another "
    try:
        distribution("probekit")
    except PackageNotFoundError:
        return message + "project, which also imports as `probekit`."
    return message + (
        "project, it is installed here too, and both import as `probekit`: if you want that one, use an environment of "
        "its own; if not, run `pip uninstall probekit`, then `pip install --force-reinstall --no-deps mae-probekit`."
    )


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
