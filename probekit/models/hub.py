"""Files from the Hugging Face hub: from the local cache if they are there, else downloaded; never a hang without a
network.

huggingface_hub retries a failing connection for up to half a minute per file. One short request decides first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from probekit.errors import CheckpointError
from probekit.terminal import errors_alone

SECONDS = 5.0
"""How long to wait for the hub's answer."""

NETWORK_ERRORS: tuple[type[BaseException], ...] = (OSError, HfHubHTTPError.__bases__[0])
"""What a broken connection raises. The HTTP client differs between versions of huggingface_hub; its base error is the
first base of the hub's own."""

WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def cached(repository: str, filename: str) -> Path | None:
    """A file of a repository that is here already."""
    path = _cached(repository, filename)
    return Path(path) if isinstance(path, str) else None


def _cached(repository: str, filename: str) -> Any:
    """The path as text, a mark that the repository has no such file, or None if nothing is known of it."""
    try:
        return try_to_load_from_cache(repository, filename)
    except HFValidationError as error:
        raise CheckpointError(
            f"{repository!r} is neither a file nor a hub id ({error}). Expected a path, or an id such as "
            "'facebook/vit-mae-base'."
        ) from error


def fetch(repository: str, filename: str, *, what: str) -> Path | None:
    """A file of a repository; None if the repository has no such file.

    What is cached is not asked for again, so that a run repeats; delete the cache to get a newer revision.

    Raises:
        CheckpointError: no network, no such repository, or no access.
    """
    try:
        known = _cached(repository, filename)
        if known is not None:  # a path, or a mark that the repository has no such file
            return Path(known) if isinstance(known, str) else None
        with errors_alone("huggingface_hub"):  # retries and hints about tokens are logged as warnings
            get_hf_file_metadata(hf_hub_url(repository, filename), timeout=SECONDS)
            return Path(hf_hub_download(repository, filename, etag_timeout=SECONDS))
    except GatedRepoError as error:
        raise CheckpointError(
            f"{what}: the hub asks for consent to {repository} first. Give it on its page and set HF_TOKEN."
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{what}: neither a file here nor a repository of the hub (private ones need HF_TOKEN). Check the spelling."
        ) from error
    except LocalEntryNotFoundError as error:
        raise CheckpointError(_offline(what, error)) from error
    except EntryNotFoundError:
        return None
    except HfHubHTTPError as error:
        raise CheckpointError(
            f"{what}: the hub answered with an error ({error}). Try again later, or load a local copy."
        ) from error
    except NETWORK_ERRORS as error:
        raise CheckpointError(_offline(what, error)) from error


def fetch_any(repository: str, filenames: Sequence[str], *, what: str) -> Path:
    """The first of several files that the repository has."""
    for filename in filenames:
        path = cached(repository, filename)
        if path is not None:
            return path
    for filename in filenames:
        path = fetch(repository, filename, what=what)
        if path is not None:
            return path
    raise CheckpointError(f"{what}: the repository {repository} has none of {', '.join(filenames)}.")


def _offline(what: str, error: BaseException) -> str:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"{what} is no file here, and the Hugging Face hub cannot be reached ({first}). Connect to the network, or "
        "download the repository elsewhere and give its directory."
    )
