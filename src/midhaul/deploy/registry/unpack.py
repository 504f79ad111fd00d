"""How large a layer is when it is unpacked: counted, not written.

The bytes counted are those of the tar stream. The files in it take a little less or
more, by the headers of the tar and the blocks of the file system.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pyarrow as pa

from midhaul.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.deploy.registry.manifests import Compression

_PIECE_BYTES = 1 << 20


async def count_uncompressed(
    path: Path, compression: Compression | None, what: str
) -> int:
    """Bytes of the tar stream in a file; runs in a thread, and ends when cancelled.

    Args:
        path: of the layer.
        compression: ``gzip``, ``zstd`` or None; several members in a row are one
            stream, as pigz and eStargz write it.
        what: the layer and its image, for messages.

    Raises:
        DataError: the content is not what the compression says, or ends too early.
    """
    is_stopped = threading.Event()
    try:
        return await asyncio.to_thread(_count, path, compression, is_stopped)
    except OSError as error:
        message = f"{what}: expected {compression}, found something else ({error})"
        raise DataError(message, "the image was pushed like that; push it again") from (
            error
        )
    finally:
        is_stopped.set()


def _count(
    path: Path, compression: Compression | None, is_stopped: threading.Event
) -> int:
    if compression is None:
        return path.stat().st_size
    total = 0
    with pa.input_stream(str(path), compression=compression) as stream:
        while not is_stopped.is_set():
            piece = stream.read(_PIECE_BYTES)
            if not piece:
                break
            total += len(piece)
    return total
