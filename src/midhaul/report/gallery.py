"""Worked examples: images of the run with what was detected on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.report.page import Gallery, Picture, Section

if TYPE_CHECKING:
    from midhaul.runs.run import Run

FOLDER = "examples"
"""Folder below ``files/`` of a run with the pictures, ``caption.jpg`` or ``.png``."""

_MOST_BYTES = 1_200_000
_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


def gallery(run: Run) -> Section | None:
    """Pictures that the run left, as many as fit; None where there are none.

    A file's name is its caption, with ``--`` for a comma and ``_`` for a space.
    """
    folder = run.dir / "files" / FOLDER
    if not folder.is_dir():
        return None
    pictures: list[Picture] = []
    room = _MOST_BYTES
    for file in sorted(folder.iterdir()):
        kind = _TYPES.get(file.suffix.lower())
        if kind is None or file.stat().st_size > room:
            continue
        data = file.read_bytes()
        room -= len(data)
        parts = file.stem.replace("_", " ").split("--")
        caption = ", ".join(part.strip() for part in parts)
        pictures.append(Picture(data=data, media_type=kind, caption=caption))
    if not pictures:
        return None
    item = Gallery(
        title="Images with their detections",
        pictures=tuple(pictures),
        caption="Human boxes are white, detections amber with label and score.",
    )
    return Section(title="Examples", items=(item,))
