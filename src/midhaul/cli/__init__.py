"""The command line: the only place that prints, draws progress and exits.

Each verb has a file. What a verb needs is imported when it is called, so that
``midhaul --help`` is quick and works with the core alone.
"""

from __future__ import annotations

__all__: list[str] = []  # nothing of it is for Python: see midhaul.run
