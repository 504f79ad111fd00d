"""What a reader of images needs of whoever asks registries for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from midhaul.deploy.registry.exchange import Fetched
    from midhaul.deploy.registry.manifests import Descriptor
    from midhaul.deploy.registry.reference import Reference


class ImageSource(Protocol):
    """Fetches manifests, configurations and parts of layers.

    Every method raises DataError for what is not there or is wrong, NodeError where a
    registry does not answer as it should, and PrerequisiteError where it denies access.
    """

    @property
    def private_registries(self) -> Collection[str]:
        """Registries that were told a user and a password."""
        ...

    async def manifest(
        self, reference: Reference, wanted: str | None = None
    ) -> Fetched:
        """A manifest or an index, verified; ``wanted`` is another of its repository."""
        ...

    async def small_blob(self, reference: Reference, blob: Descriptor) -> bytes:
        """A blob that fits into memory, such as a configuration, verified."""
        ...

    async def blob_bytes(self, reference: Reference, digest: str) -> int | None:
        """Size of a blob that the registry has; None if it has not, -1 if untold."""
        ...

    async def blob_part(
        self, reference: Reference, blob: Descriptor, first: int, last: int
    ) -> bytes | None:
        """Bytes ``first`` to ``last`` of a blob; None where parts are not given."""
        ...
