"""Writes images that were read as a table of layers, which plans read again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from midhaul.deploy.registry.store_files import store_errors

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from midhaul.deploy.registry.reader import ImageRecord

_SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("position", pa.int32()),
        ("digest", pa.string()),
        ("compressed_bytes", pa.int64()),
        ("uncompressed_bytes", pa.int64()),
        ("is_estimated", pa.bool_()),
        ("platform", pa.string()),
        ("manifest_digest", pa.string()),
    ]
)


def write_layers(records: Iterable[ImageRecord], file: Path) -> None:
    """Write one row for each layer of each image, for ``catalogue.read_images``.

    A plan from a file needs no registry, and stays what it is when a tag moves on.

    Args:
        records: what was read.
        file: Parquet; replaced if it is there.

    Raises:
        StoreError: it cannot be written.
    """
    rows = [
        {
            "image": record.image.name,
            "position": position,
            "digest": layer.digest,
            "compressed_bytes": layer.compressed_bytes,
            "uncompressed_bytes": layer.uncompressed_bytes,
            "is_estimated": layer.digest in record.estimated,
            "platform": record.platform,
            "manifest_digest": record.manifest_digest,
        }
        for record in records
        for position, layer in enumerate(record.image.layers)
    ]
    with store_errors(file):
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), file)
