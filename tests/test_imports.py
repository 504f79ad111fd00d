"""What parts of midhaul may import when they are merely looked at."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import midhaul
from midhaul.kinds import KINDS

_LIGHT = {
    # the standard library and midhaul itself are allowed anyway
    "annotated_doc",
    "attr",  # rich looks whether it is there
    "click",
    "colorama",
    "lazy_loader",  # stands behind each facade
    "markdown_it",
    "mdurl",
    "pygments",
    "rich",
    "shellingham",
    "typer",
    "typing_extensions",
}
"""What ``--help`` may import: what the command line is drawn with."""

_VERB = _LIGHT | {"annotated_types", "pydantic", "pydantic_core", "typing_inspection"}
"""What the help of a verb may import: typer reads its options with pydantic."""

_CORE = _VERB | {
    "cloudpickle",  # pyarrow takes it along where it is installed
    "cython_runtime",
    "_duckdb",
    "duckdb",
    "jaxtyping",
    "numpy",
    "pyarrow",
    "tomlkit",
    "wadler_lindig",
}
"""What the core depends on, directly or not."""

_PRIVATE = ("__mp_main__", "_cython_", "_editable", "_sysconfigdata", "_virtualenv")
"""Modules that Python, Cython and installers add by themselves."""

_TELL = """
import contextlib, io, sys
before = set(sys.modules)
sys.argv = ["midhaul", *sys.argv[1:]]
from midhaul.__main__ import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(loaded - sys.stdlib_module_names))
"""


def imported(*arguments: str) -> set[str]:
    """The packages, other than Python's own, that a call of midhaul imports."""
    command = [sys.executable, "-c", _TELL, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {
        name
        for name in done.stdout.split()
        if name != "midhaul" and not name.startswith(_PRIVATE)
    }


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    """Neither numpy nor pydantic nor anything that an experiment needs."""
    assert imported(*arguments) <= _LIGHT


@pytest.mark.parametrize("verb", ["run", "sweep", "show", "compare", "doctor"])
def test_help_of_a_verb_imports_nothing_heavy(verb: str) -> None:
    """Neither numpy nor pyarrow nor anything that an experiment needs."""
    assert imported(verb, "--help") <= _VERB


@pytest.mark.parametrize("arguments", [["new"], ["ls"], ["show"], ["doctor"]])
def test_looking_at_runs_needs_the_core_only(arguments: list[str]) -> None:
    """What works in the core install imports no library of an extra."""
    assert imported(*arguments) <= _CORE


@pytest.mark.parametrize("name", KINDS)
def test_the_file_of_a_kind_needs_the_core_only(name: str) -> None:
    """A config class imports no library of an extra."""
    assert imported("new", name) <= _CORE


def test_importing_midhaul_imports_nothing() -> None:
    """``import midhaul`` gives the version; what it offers comes when it is used."""
    code = "import sys; before = set(sys.modules); import midhaul; "
    code += "print(*(set(sys.modules) - before - {'midhaul'}))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name != "midhaul"}
    packages = {name.partition(".")[0] for name in loaded}
    assert packages - sys.stdlib_module_names == {"lazy_loader"}


def test_no_module_is_imported_by_a_name_that_its_package_offers_for_another() -> None:
    """``from PACKAGE import NAME`` would be the module or the function, by what ran."""
    root = Path(midhaul.__file__).parent
    offered: dict[str, set[str]] = {}
    for face in root.rglob("__init__.pyi"):
        names = {
            alias.asname or alias.name
            for node in ast.walk(ast.parse(face.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        beside = {path.stem for path in face.parent.iterdir()}
        package = ".".join(("midhaul", *face.parent.relative_to(root).parts))
        offered[package] = names & beside
    assert offered
    found = [
        f"{file.relative_to(root)}:{node.lineno}: {node.module}.{alias.name}"
        for file in root.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module in offered
        for alias in node.names
        if alias.name in offered[node.module]
    ]
    assert found == []
