"""What every kind of experiment, and every package, promises."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import midhaul
from midhaul.kinds import KINDS, Kind
from midhaul.runs.config import Config, Section
from midhaul.runs.schema import keys, models
from midhaul.runs.tables import Table

_SENTENCE = re.compile(r"([A-Z]|[\w:-]+([:;,]| \()).* .*\.", re.DOTALL)
"""It begins with a capital, or with a value of the key and what that one means."""

_UNITS = re.compile(r"_(ms|msec|sec|secs|seconds|mb|kb|bytes_s|mbps|kbps|usec|us)$")


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Every kind in turn."""
    return request.param


def test_every_key_is_described_in_a_sentence(kind: Kind) -> None:
    """The experiment file and the reference are made from the descriptions."""
    for key in keys(kind.load_config()):
        assert _SENTENCE.fullmatch(key.description), f"{key.name}: {key.description}"


def test_every_config_is_strict_frozen_and_closed(kind: Kind) -> None:
    """No key is converted, changed or unknown."""
    for model in nested(kind.load_config()):
        assert model.model_config.get("strict"), model
        assert model.model_config.get("frozen"), model
        assert model.model_config.get("extra") == "forbid", model


def test_every_part_of_a_kind_is_there(kind: Kind) -> None:
    """Config, run, tables, report and samples can be imported."""
    assert issubclass(kind.load_config(), Config)
    assert callable(kind.load_run())
    assert all(isinstance(table, Table) for table in kind.load_tables())
    assert callable(kind.load_report())
    assert callable(kind.load_samples())


def test_every_column_is_described_and_has_si_units(kind: Kind) -> None:
    """No milliseconds, no kilobytes; each table says what a row is."""
    for table in kind.load_tables():
        assert table.doc.endswith("."), table.name
        names = [column.name for column in table.columns]
        assert len(set(names)) == len(names), table.name
        for column in table.columns:
            assert column.doc.endswith("."), f"{table.name}.{column.name}"
            assert not _UNITS.search(column.name), f"{table.name}.{column.name}"


def test_a_config_with_all_defaults_is_valid(kind: Kind) -> None:
    """An experiment file may hold its kind and nothing else."""
    config = kind.load_config().model_validate({"kind": kind.name})
    assert config.kind == kind.name


def test_a_table_without_keys_is_the_default_one(kind: Kind) -> None:
    """``[data]`` with nothing below it means the same as no ``[data]`` at all."""
    for model in nested(kind.load_config()):
        for name, field in model.model_fields.items():
            if field.is_required():
                continue
            default = field.get_default(call_default_factory=True)
            if isinstance(default, BaseModel):
                assert default == type(default)(), f"{model.__name__}.{name}"


def test_every_section_can_be_made_in_python() -> None:
    """Its defaults fit its own schema, also where a path or a tuple is one."""
    for info in pkgutil.walk_packages(midhaul.__path__, "midhaul."):
        if "config" in info.name.rpartition(".")[2]:
            importlib.import_module(info.name)
    sections = subclasses(Section)
    free = [s for s in sections if not any(f.is_required() for f in fields_of(s))]
    assert len(free) > len(KINDS)
    for section in free:
        made = section()
        text = made.model_dump_json()
        assert section.model_validate_json(text) == made, section


def subclasses(of_class: type[Section]) -> set[type[Section]]:
    """All classes below one."""
    direct = set(of_class.__subclasses__())
    return direct.union(*(subclasses(one) for one in direct))


def fields_of(section: type[Section]) -> list[Any]:
    """The fields of a section."""
    return list(section.model_fields.values())


def nested(model: type[BaseModel]) -> set[type[BaseModel]]:
    """A config class and those of its tables."""
    found = {model}
    for field in model.model_fields.values():
        for inner in models(field.annotation):
            found |= nested(inner)
    return found


def test_only_programs_take_the_event_loop_of_their_thread() -> None:
    """Whatever an experiment calls works in a notebook, where a loop runs already."""
    folder = Path(midhaul.__file__).parent
    pattern = re.compile(r"(asyncio|uvloop)\.(run|Runner|new_event_loop)\(")
    found = {
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*.py")
        if pattern.search(text := file.read_text(encoding="utf-8"))
        and "def main(" not in text
        and "services" not in file.parts
    }
    assert found == {"machine/coroutines.py"}


def test_every_module_says_what_it_is() -> None:
    """Each file begins with a docstring; whoever opens it knows where they are."""
    for info in pkgutil.walk_packages(midhaul.__path__, "midhaul."):
        spec = info.module_finder.find_spec(info.name, None)  # type: ignore[call-arg]
        assert spec is not None
        source = spec.loader.get_source(info.name)  # type: ignore[union-attr]
        assert source.lstrip().startswith('"""'), info.name


def test_class_names_are_unique() -> None:
    """Whoever searches for a class finds one."""
    where: dict[str, list[str]] = {}
    for file in sorted(Path(midhaul.__file__).parent.rglob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where.setdefault(node.name, []).append(file.name)
    assert len(where) > 500
    assert {name: files for name, files in where.items() if len(files) > 1} == {}
