"""What the run ran on, with and from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.report import Code, DataTable, Section
from midhaul.testbed.figures.numbers import size_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.report import Item
    from midhaul.testbed.figures.view import View


def environment(view: View) -> Section:
    """Machine, versions, config and the tables that the run left."""
    manifest = view.run.manifest
    about = {
        "run": manifest.id,
        "status": view.run.status,
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
        _tables(view),
    ]
    file = view.run.dir / "config.toml"
    if file.is_file():
        text = file.read_text(encoding="utf-8", errors="replace")
        items.append(Code(title="Config, with all defaults", text=text))
    return Section(title="Environment", items=tuple(items))


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


def _tables(view: View) -> DataTable:
    query = " union all ".join(
        f"select '{name}' as name, count(*) as n from {name}"  # noqa: S608 - our names
        for name in sorted(view.has)
    )
    found = view.run.sql(query).to_pylist() if query else []
    return DataTable(
        title="Tables in the run's folder",
        columns=("table", "rows"),
        rows=tuple((row["name"], row["n"]) for row in found),
        caption="Parquet files below `tables/`; DuckDB, pandas and others read them.",
    )
