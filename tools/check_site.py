"""Check of the built documentation: no page loads anything from elsewhere.

Run by ``make docs`` on what it has built. Ends with 1 and names the pages that do.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_OUTSIDE = re.compile(
    r"""<(?:script|link|img|iframe)\b[^>]*(?:src|href)="(?:https?:)?//"""
)


def pages_that_ask(site: Path) -> list[str]:
    """Pages of a site that load a script, a style, a picture or a frame of others.

    Raises:
        FileNotFoundError: the folder has no page, so that nothing was checked.
    """
    files = sorted(site.rglob("*.html"))
    if not files:
        message = f"no page in {site}: run make docs"
        raise FileNotFoundError(message)
    return [
        file.relative_to(site).as_posix()
        for file in files
        if _OUTSIDE.search(file.read_text(encoding="utf-8"))
    ]


def main() -> int:
    """Print the pages that load what is not in the site."""
    found = pages_that_ask(Path(sys.argv[1]))
    for page in found:
        print(f"{page} loads something from elsewhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
