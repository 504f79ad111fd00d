"""The table beside mosquitto's own bridge has the lines that its benchmark tries."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).parents[3]


def test_every_line_of_the_table_is_tried_in_one_run() -> None:
    """Names and what is counted are those of the benchmark, in its order."""
    page = (_ROOT / "docs/explanation/enforcement.md").read_text(encoding="utf-8")
    code = (_ROOT / "benchmarks/bridge_peer.py").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| \S+ \| \S+ \|$", page, re.MULTILINE)
    lines = re.findall(
        r"^    \((\w+), \"\w+\", \"[=<>]+[\d.]+\"\),$", code, re.MULTILINE
    )
    said = dict(re.findall(r'^def (\w+)\(.*?\n    """(.+?)\.?"""', code, re.MULTILINE))
    assert [name for name, _ in rows] == lines
    assert [text for _, text in rows] == [said[name] for name in lines]
