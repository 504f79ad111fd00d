"""Images that were read, as a table of layers that plans read again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from midhaul import documents
from midhaul.deploy.catalogue import read_platforms
from midhaul.deploy.store.reader import ImageRecord
from midhaul.deploy.store.store import store_errors
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("position", pa.int32()),
        ("digest", pa.string()),
        ("compressed_bytes", pa.int64()),
        ("uncompressed_bytes", pa.int64()),
        ("is_estimated", pa.bool_()),
        ("is_foreign", pa.bool_()),
        ("platform", pa.string()),
        ("asked_platform", pa.string()),
        ("manifest_digest", pa.string()),
        ("index_digest", pa.string()),
        ("reference", pa.string()),
        ("is_private", pa.bool_()),
        ("is_named", pa.bool_()),
        ("remark", pa.string()),
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
            "is_foreign": layer.digest in record.foreign,
            "platform": record.platform,
            "asked_platform": record.asked_platform or record.platform,
            "manifest_digest": record.manifest_digest,
            "index_digest": record.index_digest,
            "reference": record.reference,
            "is_private": record.is_private,
            "is_named": record.is_named,
            "remark": record.remark,
        }
        for record in records
        for position, layer in enumerate(record.image.layers)
    ]
    with store_errors(file):
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), file)


def read_layers(file: Path) -> list[ImageRecord]:
    """Read what :func:`write_layers` has written; nothing where it has not.

    A file that a killed program left half written, or another program's, is no
    loss: its images are read anew.

    Args:
        file: Parquet.
    """
    try:
        table = documents.read_parquet(file)
        if not set(_SCHEMA.names) <= set(table.column_names) or not table.num_rows:
            return []
        rows = table.to_pylist()
        images = read_platforms(file)
    except (OSError, ValueError, DataError):
        return []
    found: dict[tuple[str, str], ImageRecord] = {}
    for row in rows:
        key = row["image"], row["asked_platform"]
        record = found.get(key) or ImageRecord(
            image=images[row["platform"]][row["image"]],
            reference=row["reference"],
            platform=row["platform"],
            asked_platform=row["asked_platform"],
            manifest_digest=row["manifest_digest"],
            index_digest=row["index_digest"],
            is_private=row["is_private"],
            is_named=row["is_named"],
            remark=row["remark"],
        )
        found[key] = replace(
            record,
            estimated=record.estimated
            | ({row["digest"]} if row["is_estimated"] else set()),
            foreign=record.foreign | ({row["digest"]} if row["is_foreign"] else set()),
        )
    return list(found.values())
