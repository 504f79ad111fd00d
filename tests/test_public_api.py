"""The Python API: what each package's ``__all__`` promises."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import pkgutil
from types import ModuleType

import pytest

import midhaul

PACKAGES = [
    info.name
    for info in pkgutil.iter_modules(midhaul.__path__, "midhaul.")
    if info.ispkg and info.name != "midhaul.cli"
]


@pytest.mark.parametrize("name", PACKAGES)
def test_all_names_what_is_there_with_a_docstring(name: str) -> None:
    """Every public name exists, is sorted into its place and says what it is."""
    package = importlib.import_module(name)
    assert package.__doc__
    public = list(getattr(package, "__all__", []))
    assert public == sorted(public), f"{name}.__all__ is not sorted"
    for item in public:
        value = getattr(package, item)
        assert not isinstance(value, ModuleType)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{name}.{item} has no docstring"


@pytest.mark.parametrize("name", PACKAGES)
def test_public_functions_are_typed(name: str) -> None:
    """Every argument and every answer of a public function has its type."""
    package = importlib.import_module(name)
    for item in getattr(package, "__all__", []):
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
