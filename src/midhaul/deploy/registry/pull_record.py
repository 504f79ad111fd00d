"""How a pull went."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPull:
    """How the pull of one layer went. Times are seconds after the begin of the pull.

    Attributes:
        digest: the layer.
        compressed_bytes: its size in the registry.
        uncompressed_bytes: its size unpacked.
        pulled_bytes: bytes that came over the network, those received twice as well.
        resumed_bytes: bytes that an earlier, unfinished pull had left.
        n_retries: attempts after the first.
        begins_s: when it was first asked for.
        ends_s: when its last byte was there, and verified.
        unpacks_s: when it was unpacked and present.
    """

    digest: str
    compressed_bytes: int
    uncompressed_bytes: int
    pulled_bytes: int
    resumed_bytes: int
    n_retries: int
    begins_s: float
    ends_s: float
    unpacks_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRecord:
    """How the pull of an image went.

    Attributes:
        name: of the image in the store.
        reference: where it came from.
        manifest_digest: of the manifest for the platform.
        platform: of the image.
        layers: the layers that were pulled; those that were present are not in it.
        n_present: layers that were present already.
        overhead_bytes: manifests and configuration.
        seconds: from the first request to the last layer unpacked.
    """

    name: str
    reference: str
    manifest_digest: str
    platform: str
    layers: tuple[LayerPull, ...]
    n_present: int
    overhead_bytes: int
    seconds: float

    @property
    def pulled_bytes(self) -> int:
        """Bytes of layers that came over the network."""
        return sum(layer.pulled_bytes for layer in self.layers)

    @property
    def resumed_bytes(self) -> int:
        """Bytes of layers that an earlier pull had left."""
        return sum(layer.resumed_bytes for layer in self.layers)

    @property
    def n_retries(self) -> int:
        """Attempts after the first, over all layers."""
        return sum(layer.n_retries for layer in self.layers)
