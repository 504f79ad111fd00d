"""The report of a run as a file that shows itself in a notebook."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

REPORT = "report/index.html"
"""Where the report of a run lies in its folder."""

_HEIGHT = "75vh"


@dataclass(frozen=True, slots=True)
class ReportFile:
    """A report: one HTML file that needs nothing else.

    Attributes:
        path: where it lies.
    """

    path: Path

    def __fspath__(self) -> str:
        """Its path, where one is expected."""
        return str(self.path)

    def __str__(self) -> str:
        """Its path."""
        return str(self.path)

    def open(self) -> None:
        """Show it in the browser."""
        import webbrowser  # noqa: PLC0415  only for this

        webbrowser.open(self.path.resolve().as_uri())

    def _repr_html_(self) -> str:
        """The whole report in a frame, so that it stays with a notebook."""
        text = html.escape(self.path.read_text(encoding="utf-8"))
        return (
            f'<iframe srcdoc="{text}" title="Report" loading="lazy" '
            f'style="width:100%;height:{_HEIGHT};border:1px solid #d9e2ec"></iframe>'
        )
