"""The Python API: what each package's ``__all__`` promises."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
from pathlib import Path
from types import ModuleType

import pytest

import midhaul

SOURCE = Path(midhaul.__file__).parents[1]
FACADES = [
    ".".join(file.parent.relative_to(SOURCE).parts)
    for file in sorted(SOURCE.rglob("__init__.py"))
    if "__all__ = [" in file.read_text(encoding="utf-8")
]


def test_facades_were_found() -> None:
    """The areas, and what passes between them, have a public API."""
    areas = ("testbed", "federation", "deploy", "report", "stats", "model")
    assert {f"midhaul.{area}" for area in areas} <= set(FACADES)


@pytest.mark.parametrize("name", FACADES)
def test_all_names_what_is_there_with_a_docstring(name: str) -> None:
    """Every public name exists, is sorted into its place and says what it is."""
    package = importlib.import_module(name)
    assert package.__doc__
    public = list(package.__all__)
    assert public
    assert public == sorted(public), f"{name}.__all__ is not sorted"
    for item in public:
        value = getattr(package, item)
        assert not isinstance(value, ModuleType)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{name}.{item} has no docstring"


@pytest.mark.parametrize("name", FACADES)
def test_public_functions_are_typed(name: str) -> None:
    """Every argument and every answer of a public function has its type."""
    package = importlib.import_module(name)
    for item in package.__all__:
        value = getattr(package, item)
        if not inspect.isfunction(value):
            continue
        signature = inspect.signature(value)
        assert signature.return_annotation is not inspect.Signature.empty, item
        for parameter in signature.parameters.values():
            assert parameter.annotation is not inspect.Parameter.empty, item


def test_the_version_is_that_of_the_package() -> None:
    """What is installed says the same as what is imported."""
    assert importlib.metadata.version("midhaul") == midhaul.__version__
