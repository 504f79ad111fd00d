"""Listing of the runs below a folder, and what two of them differ in."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from midhaul.errors import StoreError, UnknownRunError, nearest
from midhaul.runs.manifest import NAME, code_version
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

LAST = "last"
_TIME_LENGTH = len("20260102T120000Z")


def list_runs(root: Path, pattern: str = "*") -> Iterator[Run]:
    """The runs below ``root``, oldest first; other folders are passed over.

    So are runs whose manifest is damaged, as one must not hide all others;
    :func:`damaged_runs` has those.
    """
    for folder in sorted(root.glob(pattern)):
        if (folder / NAME).is_file():
            with contextlib.suppress(StoreError):
                yield Run.open(folder)


def damaged_runs(root: Path) -> dict[str, str]:
    """What is wrong with the manifests below ``root`` that cannot be read, by id."""
    found: dict[str, str] = {}
    for folder in sorted(root.glob("*")):
        if (folder / NAME).is_file():
            try:
                Run.open(folder)
            except StoreError as error:
                found[folder.name] = error.message
    return found


def find_run(root: Path, name: str) -> Run:
    """The run that a user means.

    Args:
        root: the folder of all runs.
        name: its folder, its id, the unique beginning of its id, its name (then the
            newest of that name) or ``last``, the newest that is finished.

    Raises:
        UnknownRunError: there is no such run, or more than one.
    """
    if (Path(name) / NAME).is_file():
        return Run.open(Path(name))
    ids = [
        folder.name for folder in sorted(root.glob("*")) if (folder / NAME).is_file()
    ]
    if name == LAST:
        return _last(root, ids)
    found = [name] if name in ids else [i for i in ids if i.startswith(name)]
    if len(found) == 1:
        return Run.open(root / found[0])
    named = [run for run in list_runs(root) if run.manifest.name == name]
    if named and name:
        return named[-1]
    if found:
        message = (
            f"{name!r} begins the ids of {len(found)} runs: {', '.join(found[:5])}"
        )
        raise UnknownRunError(message, "give more of the id")
    near = nearest(name, ids)
    hint = f"did you mean {near}?" if near else f"midhaul ls --out {root}"
    message = f"there is no run {name!r} in {root}"
    raise UnknownRunError(message, hint)


def _last(root: Path, ids: Sequence[str]) -> Run:
    """The newest run that came to its end; one that was cut off is not meant."""
    newest: Run | None = None
    for one in reversed(ids):
        with contextlib.suppress(StoreError):
            run = Run.open(root / one)
            newest = newest or run
            if run.status == "done":
                return run
    if newest is None:
        message = f"there is no run in {root}"
        raise UnknownRunError(message, f"midhaul ls --out {root}")
    message = f"there is no finished run in {root}: the newest is {newest.status}"
    raise UnknownRunError(message, f"midhaul show {newest.id}")


def short_ids(ids: Iterable[str]) -> dict[str, str]:
    """The beginning of each id that no other has: all of its time, at least."""
    known = sorted(ids)
    found: dict[str, str] = {}
    for place, one in enumerate(known):
        beside = (*known[max(0, place - 1) : place], *known[place + 1 : place + 2])
        alike = (commonprefix((one, other)) for other in beside)  # noqa: RUF071  no paths
        n = max((len(text) + 1 for text in alike), default=0)
        found[one] = one[: max(n, _TIME_LENGTH)]
    return found


def runs_of(root: Path, config_hash: str) -> list[Run]:
    """The runs of a config by this very code, oldest first."""
    code = code_version()
    return [
        run
        for run in list_runs(root, f"*-{config_hash}*")
        if run.manifest.config_hash == config_hash and run.manifest.code_version == code
    ]


def unfinished(root: Path, config_hash: str) -> Run | None:
    """The newest run of a config that was begun by this code and can be resumed."""
    resumable = {"killed", "interrupted", "failed"}
    found = [run for run in runs_of(root, config_hash) if run.status in resumable]
    return found[-1] if found else None


def being_run(root: Path, config_hash: str) -> Run | None:
    """The newest run of a config by this code that a process is at."""
    found = [run for run in runs_of(root, config_hash) if run.status == "running"]
    return found[-1] if found else None


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
