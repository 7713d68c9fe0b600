"""Image sets whose images are encoded files inside something larger: rows of a table, members of an archive."""

from __future__ import annotations

import abc
import hashlib
import io
from functools import cached_property
from typing import Any

import numpy as np

from probekit import cache, progress
from probekit.data.base import ImageSet
from probekit.data.decode import open_rgb
from probekit.data.request import Request


class EncodedSet(ImageSet):
    """Images that `encoded` gives as the bytes of a picture file."""

    def __init__(self, request: Request, **description: Any) -> None:
        super().__init__(**description)
        self.request = request

    @abc.abstractmethod
    def encoded(self, index: int) -> bytes:
        """The bytes of an image's file."""

    def read(self, index: int) -> np.ndarray:
        return decoded(self.encoded(index), self.image_name(index), self.request)

    @cached_property
    def _digests(self) -> list[str]:
        found = []
        with progress.bar(f"{self.name}: reading contents", len(self)) as advance:
            for index in range(len(self)):
                found.append(hashlib.sha256(self.encoded(index)).hexdigest())
                advance()
        return found

    def file_digests(self) -> list[str]:
        return self._digests

    @cached_property
    def _pixels(self) -> list[str]:
        return super().pixel_digests()

    def pixel_digests(self) -> list[str]:
        return self._pixels

    def content(self) -> str:
        return cache.key(images=self._digests)


def decoded(data: bytes, name: str, request: Request) -> np.ndarray:
    """The pixels of an encoded picture: uint8 (height, width, 3)."""
    return np.asarray(open_rgb(io.BytesIO(data), name, exif=request.exif, draft=request.draft))
