"""Write the list of everything that the Python API promises, signature by signature.

    python tools/public_api.py            writes tests/public_api.txt
    python tools/public_api.py --check    writes nothing, exits 1 when it is stale

A test holds the code against that file, so that a change of the API is a change of the
file, which a review sees. A name that a package only hands on is told once.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reference import facades, public_value, signature_text

from midhaul.runs.config import Config, Section
from midhaul.runs.schema import keys

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = Path(__file__).parent.parent / "tests" / "public_api.txt"


def lines() -> list[str]:
    """The list, a line for each name, key and member."""
    homes: dict[int, str] = {}
    found: list[str] = []
    for module in sorted(
        facades(), key=lambda m: (m.__name__ == "midhaul", m.__name__)
    ):
        for name in sorted(module.__all__):
            value = public_value(module, name)
            place = f"{module.__name__}.{name}"
            if (home := homes.setdefault(id(value), place)) != place:
                found.append(f"{place} is {home}")
            else:
                found += _described(place, value)
    return found


def stale() -> list[str]:
    """Lines of which only one of file and code has each, with who has it."""
    old = FILE.read_text(encoding="utf-8").splitlines() if FILE.is_file() else []
    new = lines()
    gone = [f"only in the file: {line}" for line in old if line not in set(new)]
    return gone + [f"only in the code: {line}" for line in new if line not in set(old)]


def _described(place: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value) and issubclass(value, Config | Section):
        yield f"{place}(...)"
        for key in keys(value):
            required = ", required" if key.is_required else ""
            default = f" = {key.default}" if key.default else ""
            yield f"{place}(... {key.name}: {key.type}{default}{required})"
    elif inspect.isclass(value):
        yield f"{place}{signature_text(value, width=None)}"
        yield from _members(place, value)
    elif inspect.isfunction(value):
        yield f"{place}{signature_text(value, width=None)}"
    else:
        yield f"{place}: a value"


def _members(place: str, of_class: type) -> Iterator[str]:
    """Methods and properties that the class or a class of ours above it defines."""
    ours = [c for c in of_class.__mro__ if c.__module__.startswith("midhaul")]
    names = sorted({name for c in ours for name in vars(c) if name[0] != "_"})
    for name in names:
        raw = inspect.getattr_static(of_class, name)
        if isinstance(raw, property):
            result = inspect.signature(raw.fget).return_annotation if raw.fget else ""
            yield f"{place}.{name} -> {result}"
        elif isinstance(raw, str | bool):
            yield f"{place}.{name} = {raw!r}"
        elif isinstance(raw, classmethod | staticmethod) or inspect.isfunction(raw):
            yield f"{place}.{name}{signature_text(getattr(of_class, name), width=None)}"


def main() -> int:
    """Write the list, or check it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    if parser.parse_args().check:
        found = stale()
        sys.stderr.write("".join(f"{line}\n" for line in found))
        return 1 if found else 0
    FILE.write_text("\n".join(lines()) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
