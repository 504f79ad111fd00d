"""Do two versions write the same? Compares the tables of runs value by value.

    python tools/compare_runs.py BEFORE AFTER

Each is a run's folder, or a folder with runs below it (at any depth): those are paired
by the folder that they lie in, their kind and their order. Names, types and values of
all columns must be equal, floats to the last bit unless ``--relative`` allows more;
what a clock or the machine decides is in :data:`MEASURED`, and of that only the columns
and their types are compared. Exits with 1 where anything differs.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from midhaul.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

MEASURED: dict[str, tuple[str, ...]] = {
    # Clocks and the machine decide nearly every value, also how many rows there are.
    "testbed.measure": ("*",),
    "testbed.overhead": ("*",),
    "deploy.live": ("*",),
    "deploy.plan": ("summary.*@solve_s",),
    "deploy.allocate": ("summary.*@solve_s",),
    "deploy.simulate": (
        "algorithm_times.took_s",
        "repeats.*placement_s",
        "repeats.*allocation_s",
        "summary.*@*placement_s",
        "summary.*@*allocation_s",
    ),
    "federation.evaluate": ("fits.fit_s", "fits.decide_s"),
    "federation.train": ("summary.*@fit_s", "summary.*@decide_s"),
    "federation.record": (
        "calls.planned_s",
        "calls.sent_s",
        "calls.latency_s",
        "summary.*@latency_*",
    ),
}
"""By kind: ``TABLE``, ``TABLE.COLUMN`` or ``TABLE.COLUMN@NAME`` (rows whose metric or
name is that), with ``*`` for any text, that no two runs have alike."""

UNORDERED: dict[str, tuple[str, ...]] = {
    # Providers are asked at the same time: whose answer comes first is nobody's choice.
    "federation.record/calls": ("configuration", "item", "pass"),
    "federation.record/predictions": ("configuration", "item", "pass"),
}
"""By ``KIND/TABLE``: what its rows are brought into one order by, and by the order they
are in after that."""

_SHOWN = 5
_NAMED_BY = ("metric", "name")


@dataclass(slots=True)
class Findings:
    """What differs, and how much was compared.

    Attributes:
        relative: by how much floats may differ, as a share of the larger one.
        lines: one for each difference.
        n_runs: pairs of runs.
        n_values: values that were compared.
        n_passed_over: values that are measured.
    """

    relative: float = 0.0
    lines: list[str] = field(default_factory=list)
    n_runs: int = 0
    n_values: int = 0
    n_passed_over: int = 0


def runs_below(folder: Path) -> dict[tuple[str, str, int], Path]:
    """Runs by the folder that they lie in, their kind and their order."""
    if (folder / "manifest.json").is_file():
        return {(".", Run.open(folder).manifest.kind, 0): folder}
    found: dict[tuple[str, str, int], Path] = {}
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for manifest in sorted(folder.rglob("manifest.json")):
        key = str(manifest.parent.parent.relative_to(folder)), kind_of(manifest.parent)
        found[*key, counts[key]] = manifest.parent
        counts[key] += 1
    return found


def kind_of(run: Path) -> str:
    """The kind of a run."""
    return Run.open(run).manifest.kind


def compare(before: Path, after: Path, *, relative: float = 0.0) -> Findings:
    """Everything that differs between the runs of two folders.

    Args:
        before: a run, or a folder with runs.
        after: the same.
        relative: by how much floats may differ, as a share of the larger one.
    """
    findings = Findings(relative=relative)
    first, second = runs_below(before), runs_below(after)
    for key in sorted({*first, *second}):
        where = f"{key[0]} ({key[1]})"
        if key not in first or key not in second:
            side = "before" if key in first else "after"
            findings.lines.append(f"{where}: only {side}")
            continue
        findings.n_runs += 1
        _compare_runs(where, key[1], (first[key], second[key]), findings)
    return findings


def _compare_runs(
    where: str, kind: str, folders: tuple[Path, Path], findings: Findings
) -> None:
    one, two = (_tables(folder, kind) for folder in folders)
    states = [Run.open(folder).status for folder in folders]
    if states[0] != states[1]:
        findings.lines.append(f"{where}: {states[0]} before, {states[1]} after")
    for name in sorted({*one, *two}):
        if name not in one or name not in two:
            side = "before" if name in one else "after"
            findings.lines.append(f"{where} {name}: only {side}")
            continue
        for line in _differences(kind, name, one[name], two[name], findings):
            findings.lines.append(f"{where} {name}{line}")


def _tables(run: Path, kind: str) -> dict[str, pa.Table]:
    """All tables of a run as their files hold them, whatever its kind says of them."""
    found: dict[str, pa.Table] = {}
    for folder in sorted((run / "tables").glob("*")):
        parts = [pq.read_table(file) for file in sorted(folder.glob("*.parquet"))]
        if parts:
            table = pa.concat_tables(parts)
            order = UNORDERED.get(f"{kind}/{folder.name}", ())
            found[folder.name] = _sorted(table, order) if order else table
    return found


def _sorted(table: pa.Table, columns: tuple[str, ...]) -> pa.Table:
    """Rows in the order of some columns; those alike stay as they were."""
    keys = [table[name].to_pylist() for name in columns]
    return table.take(sorted(range(len(table)), key=lambda row: [k[row] for k in keys]))


def _differences(
    kind: str, name: str, one: pa.Table, two: pa.Table, findings: Findings
) -> Iterator[str]:
    names = one.column_names, two.column_names
    if names[0] != names[1]:
        lost = [n for n in names[0] if n not in names[1]]
        new = [n for n in names[1] if n not in names[0]]
        yield f": columns lost: {lost}, new: {new}, or in another order"
    if _is_measured(kind, name):
        findings.n_passed_over += one.num_rows * one.num_columns
        return
    if one.num_rows != two.num_rows:
        yield f": {one.num_rows} rows before, {two.num_rows} after"
        return
    labels = next((one[c].to_pylist() for c in _NAMED_BY if c in names[0]), None)
    labels = [str(label) for label in labels or [""] * one.num_rows]
    for column in names[0]:
        if column in names[1]:
            what = kind, f"{name}.{column}"
            pair = one.combine_chunks()[column], two.combine_chunks()[column]
            yield from _column_differences(what, pair, labels, findings)


def _column_differences(
    what: tuple[str, str],
    columns: tuple[Any, Any],
    labels: list[str],
    findings: Findings,
) -> Iterator[str]:
    kind, place = what
    column = place.rpartition(".")[2]
    if columns[0].type != columns[1].type:
        yield f".{column}: {columns[0].type} before, {columns[1].type} after"
    wrong: list[str] = []
    pairs = zip(columns[0].to_pylist(), columns[1].to_pylist(), strict=True)
    for row, (a, b) in enumerate(pairs):
        if _is_measured(kind, place, labels[row]):
            findings.n_passed_over += 1
            continue
        findings.n_values += 1
        if not _is_same(a, b, findings.relative):
            wrong.append(f"row {row} {labels[row]}: {a!r} before, {b!r} after")
    if wrong:
        more = f" … {len(wrong)} in all" if len(wrong) > _SHOWN else ""
        yield f".{column}: {'; '.join(wrong[:_SHOWN])}{more}"


def _is_measured(kind: str, what: str, label: str = "") -> bool:
    patterns = MEASURED.get(kind, ())
    return any(fnmatchcase(w, p) for p in patterns for w in (what, f"{what}@{label}"))


def _is_same(one: Any, two: Any, relative: float) -> bool:
    if isinstance(one, float) and isinstance(two, float):
        is_nan = math.isnan(one) and math.isnan(two)
        return is_nan or math.isclose(one, two, rel_tol=relative)
    if isinstance(one, list) and isinstance(two, list):
        pairs = zip(one, two, strict=False)
        return len(one) == len(two) and all(_is_same(*pair, relative) for pair in pairs)
    return one == two


def main() -> int:
    """Compare the two folders of the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument(
        "--relative", type=float, default=0.0, help="share by which floats may differ"
    )
    told = parser.parse_args()
    findings = compare(told.before, told.after, relative=told.relative)
    for line in findings.lines:
        print(line)
    print(
        f"{findings.n_runs} pairs of runs: {findings.n_values:,} values compared, "
        f"{findings.n_passed_over:,} measured ones passed over, "
        f"{len(findings.lines)} differences"
    )
    return 1 if findings.lines or not findings.n_runs else 0


if __name__ == "__main__":
    sys.exit(main())
