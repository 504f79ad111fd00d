"""What stands in every report: notices, the verdict, what it ran on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.model import Verdict
from midhaul.report.numbers import size_text
from midhaul.report.page import Code, DataTable, Notice, PageSection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from midhaul.report.page import Item
    from midhaul.runs.run import Run


def gather(items: Iterable[Item | str]) -> tuple[Item, ...]:
    """The items of a section; a text says why one was left out, for a notice."""
    shown: list[Item] = []
    missing: list[str] = []
    for item in items:
        if isinstance(item, str):
            missing += [item] if item else []
        else:
            shown.append(item)
    if missing:
        text = "**Not shown here.** " + " ".join(dict.fromkeys(missing))
        shown.append(Notice(text=text))
    return tuple(shown)


def subtitle(run: Run) -> str:
    """Names the run: when, and by which version."""
    manifest = run.manifest
    return (
        f"Run {manifest.id}, {manifest.created:%d %B %Y, %H:%M} UTC, midhaul "
        f"{manifest.versions.get('midhaul', '')}"
    )


def verdict_of(run: Run) -> Verdict | None:
    """The verdict of a run, with a reason more where it did not come to its end."""
    status = run.status
    if status == "done":
        return run.verdict
    reason = f"The run did not come to its end: it is {status}."
    if run.manifest.error:
        reason += f" {run.manifest.error}"
    advice = f"`midhaul show {run.id}` says more."
    unfinished = Verdict(reasons=(reason,), advice=(advice,))
    return unfinished + run.verdict if run.verdict else unfinished


def environment(run: Run) -> PageSection:
    """Machine, versions, config and the tables that the run left."""
    manifest = run.manifest
    about = {
        "run": manifest.id,
        "status": run.status,
        "created": f"{manifest.created:%Y-%m-%d %H:%M:%S} UTC",
        "seed": manifest.seed,
        "code": manifest.code_version,
        "commit": manifest.commit or "",
        "config hash": manifest.config_hash,
        "group": manifest.group or "",
    }
    items: list[Item] = [
        _facts("Run", about),
        _facts("Machine", _machine(manifest.machine)),
        _facts("Versions", manifest.versions),
        _tables(run),
    ]
    file = run.dir / "config.toml"
    if file.is_file():
        text = file.read_text(encoding="utf-8", errors="replace")
        items.append(Code(title="Config, with all defaults", text=text))
    return PageSection(title="Environment", items=tuple(items))


def _machine(facts: Mapping[str, object]) -> dict[str, object]:
    return {
        key.removesuffix("_bytes").replace("_", " "): size_text(float(value))
        if key.endswith("_bytes") and isinstance(value, int | float)
        else value
        for key, value in facts.items()
    }


def _facts(title: str, facts: Mapping[str, object]) -> DataTable:
    return DataTable(
        title=title,
        columns=("what", "value"),
        rows=tuple((key, str(value)) for key, value in facts.items() if value != ""),
    )


def _tables(run: Run) -> DataTable:
    query = " union all ".join(
        f"select '{name}' as name, count(*) as n from {name}"  # noqa: S608 - our names
        for name in sorted(run.tables())
    )
    found = run.sql(query).to_pylist() if query else []
    return DataTable(
        title="Tables in the run's folder",
        columns=("table", "rows"),
        rows=tuple((row["name"], row["n"]) for row in found),
        caption="Parquet files below `tables/`; DuckDB, pandas and others read them.",
    )
