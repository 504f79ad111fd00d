"""Layers of the tests of the layer store, and a clock that is moved by hand."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midhaul.deploy.store.store import LayerStore


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


def put(
    store: LayerStore, content: bytes, uncompressed_bytes: int | None = None
) -> str:
    """Make a layer present, as a puller does."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    store.partial(digest).write_bytes(content)
    store.commit(
        digest, 2 * len(content) if uncompressed_bytes is None else uncompressed_bytes
    )
    return digest
