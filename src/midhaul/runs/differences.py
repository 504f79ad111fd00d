"""What two runs differ in, besides what they found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from midhaul.runs.run import Run

_NOT_COMPARED = {"load_at_start"}


@dataclass(frozen=True, slots=True)
class ConfigDifference:
    """One fact that two runs do not share.

    Attributes:
        about: config, code, version or machine.
        key: dotted name of the fact.
        first: what the first run says; None where it says nothing.
        second: what the second run says.
    """

    about: str
    key: str
    first: object
    second: object


def differences(first: Run, second: Run) -> list[ConfigDifference]:
    """Everything that two runs differ in: code, config, libraries, machine.

    Raises:
        StoreError: a config cannot be read.
    """
    one, two = first.manifest, second.manifest
    facts = [
        ("code", {"version": one.code_version}, {"version": two.code_version}),
        ("code", {"commit": one.commit}, {"commit": two.commit}),
        ("config", first.config_values(), second.config_values()),
        ("version", one.versions, two.versions),
        ("machine", _kept(one.machine), _kept(two.machine)),
    ]
    return [
        ConfigDifference(about, key, left, right)
        for about, a, b in facts
        for key, left, right in _unequal(dict(_flat(a)), dict(_flat(b)))
    ]


def _kept(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key not in _NOT_COMPARED}


def _unequal(
    a: Mapping[str, object], b: Mapping[str, object]
) -> Iterator[tuple[str, object, object]]:
    for key in dict.fromkeys((*a, *b)):
        if a.get(key) != b.get(key):
            yield key, a.get(key), b.get(key)


def _flat(value: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, below in cast("dict[str, object]", value).items():
            yield from _flat(below, f"{prefix}.{key}" if prefix else key)
    elif isinstance(value, list) and any(isinstance(v, dict) for v in value):
        for index, below in enumerate(cast("list[object]", value)):
            yield from _flat(below, f"{prefix}.{index}")
    else:
        yield prefix, value
