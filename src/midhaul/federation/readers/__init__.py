"""Readers of recorded answers, in several layouts, behind one front."""

from midhaul.federation.readers.source import (
    Layout,
    RecordingSource,
    draw_items,
    open_recording,
)

__all__ = ["Layout", "RecordingSource", "draw_items", "open_recording"]
