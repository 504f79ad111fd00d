"""The Python API: what each package's ``__all__`` promises."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.metadata
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import midhaul
from midhaul.model.display import Shown

SOURCE = Path(midhaul.__file__).parents[1]
DOCS = SOURCE.parent / "docs"
PACKAGES = [
    ".".join(file.parent.relative_to(SOURCE).parts)
    for file in sorted(SOURCE.rglob("__init__.py"))
]
NOT_FOR_PYTHON = {"midhaul.cli", "midhaul.network.packet.tcp.linux"}
FACADES = [name for name in PACKAGES if name not in NOT_FOR_PYTHON]
AREAS = ("deploy", "federation", "testbed")


def test_facades_were_found() -> None:
    """The areas, and what passes between them, have a public API."""
    names = (*AREAS, "report", "stats", "model", "runs", "vision", "wire", "machine")
    assert {f"midhaul.{name}" for name in names} <= set(FACADES)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_says_what_it_offers(name: str) -> None:
    """A package without an ``__all__`` promises nobody knows what."""
    assert isinstance(importlib.import_module(name).__all__, list)


@pytest.mark.parametrize("name", FACADES)
def test_all_names_what_is_there_with_a_docstring(name: str) -> None:
    """Every public name exists, is sorted into its place and says what it is."""
    package = importlib.import_module(name)
    assert package.__doc__
    public = list(package.__all__)
    assert public
    assert public == sorted(public), f"{name}.__all__ is not sorted"
    for item in public:
        value = public_value(package, item)
        assert not isinstance(value, ModuleType)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{name}.{item} has no docstring"


@pytest.mark.parametrize("name", FACADES)
def test_public_functions_are_typed(name: str) -> None:
    """Every argument and every answer of a public function has its type."""
    package = importlib.import_module(name)
    for item in package.__all__:
        value = public_value(package, item)
        if not inspect.isfunction(value):
            continue
        signature = inspect.signature(value)
        assert signature.return_annotation is not inspect.Signature.empty, item
        for parameter in signature.parameters.values():
            assert parameter.annotation is not inspect.Parameter.empty, item


def test_a_value_with_arrays_shows_their_shapes() -> None:
    """What holds arrays or is as long as a data set shows itself in a line."""
    n_seen = 0
    for name in FACADES:
        package = importlib.import_module(name)
        for item in package.__all__:
            value = public_value(package, item)
            if inspect.isclass(value) and dataclasses.is_dataclass(value):
                types = [str(field.type) for field in dataclasses.fields(value)]
                if any("np.ndarray" in text for text in types):
                    assert issubclass(value, Shown), f"{name}.{item}"
                    assert "__repr__" not in vars(value), f"{name}.{item}"
                    n_seen += 1
    assert n_seen > 10


def test_the_recorded_signatures_are_those_of_the_code() -> None:
    """Whoever changes the API changes the list, and a review sees it."""
    found = subprocess.run(
        [sys.executable, str(SOURCE.parent / "tools" / "public_api.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, f"{found.stderr}python tools/public_api.py"


def test_a_facade_that_is_lazy_says_all_that_it_has() -> None:
    """The stubs that checkers of types read are what is imported."""
    for stub in SOURCE.rglob("__init__.pyi"):
        name = ".".join(stub.parent.relative_to(SOURCE).parts)
        tree = ast.parse(stub.read_text(encoding="utf-8"))
        said = [a.asname for n in tree.body for a in getattr(n, "names", [])]
        assert sorted(map(str, said)) == sorted(importlib.import_module(name).__all__)


def test_runs_is_a_function_and_a_package(tmp_path: Path) -> None:
    """Whether or not the package of that name was imported before, it can be called."""
    for before in ("", "import midhaul.runs.run; "):
        text = (
            f"{before}import midhaul; print(len(midhaul.runs(out={str(tmp_path)!r})))"
        )
        done = subprocess.run(
            [sys.executable, "-c", text], capture_output=True, text=True, check=True
        )
        assert done.stdout == "0\n"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda p: p.stem)
def test_docs_and_facade_agree(page: Path) -> None:
    """What a page calls of midhaul or of an area is there."""
    if "reference" in page.parts or "decisions" in page.parts:
        return
    text = page.read_text(encoding="utf-8")
    for dotted in re.findall(r"\bmidhaul((?:\.[a-z]+)?\.\w+)\(", text):
        value: object = midhaul
        for step in dotted[1:].split("."):
            value = getattr(value, step, None)
        assert value is not None, f"midhaul{dotted}"


def test_the_door_is_documented() -> None:
    """The page on Python names every function of the door."""
    page = (DOCS / "how-to" / "use-from-python.md").read_text(encoding="utf-8")
    functions = [n for n in midhaul.__all__ if n.islower()]
    assert [n for n in functions if f"midhaul.{n}(" not in page] == []


def test_the_version_is_that_of_the_package() -> None:
    """What is installed says the same as what is imported."""
    assert importlib.metadata.version("midhaul") == midhaul.__version__


def public_value(package: ModuleType, name: str) -> Any:
    """What a facade means by a name, where a package below it has the same one."""
    value = getattr(package, name)
    return package.__getattr__(name) if isinstance(value, ModuleType) else value
