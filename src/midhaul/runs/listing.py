"""Finding runs below a folder."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from midhaul.errors import StoreError, UnknownRunError, nearest
from midhaul.runs import machine
from midhaul.runs.manifest import NAME
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

LAST = "last"


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
        name: its folder, its id, the unique beginning of its id or ``last``.

    Raises:
        UnknownRunError: there is no such run, or more than one.
    """
    if (Path(name) / NAME).is_file():
        return Run.open(Path(name))
    ids = [
        folder.name for folder in sorted(root.glob("*")) if (folder / NAME).is_file()
    ]
    found = ids[-1:] if name == LAST else [i for i in ids if i.startswith(name)]
    if name in found:
        found = [name]
    if len(found) == 1:
        return Run.open(root / found[0])
    if found:
        message = (
            f"{name!r} begins the ids of {len(found)} runs: {', '.join(found[:5])}"
        )
        raise UnknownRunError(message, "give more of the id")
    near = nearest(name, ids)
    hint = f"did you mean {near}?" if near else f"midhaul ls --out {root}"
    what = "no run" if name == LAST else f"no run {name!r}"
    message = f"there is {what} in {root}"
    raise UnknownRunError(message, hint)


def runs_of(root: Path, config_hash: str) -> list[Run]:
    """The runs of a config by this very code, oldest first."""
    code = machine.code_version()
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
