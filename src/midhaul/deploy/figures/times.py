"""How long decisions took."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.report import Cell, DataTable
from midhaul.report.numbers import duration
from midhaul.stats import claimed_quantile

if TYPE_CHECKING:
    from midhaul.report.view import View

_QUERY = """
SELECT {key}, what, count(*) AS n, median(took_s) AS p50, list(took_s) AS times,
max(took_s) AS longest, max(n) AS most FROM algorithm_times
GROUP BY ALL ORDER BY ALL
"""


def algorithm_times(view: View) -> DataTable | str:
    """Median, 95th percentile and longest time of each sort of decision."""
    if "algorithm_times" not in view.has:
        return "Times of algorithms: nothing was decided yet."
    columns = view.run.sql("FROM algorithm_times LIMIT 0").column_names
    key = "configuration" if "configuration" in columns else "0 AS configuration"
    rows = view.run.sql(_QUERY.format(key=key)).to_pylist()
    return DataTable(
        title="Times of algorithms",
        columns=(
            "configuration",
            "decision",
            "how often",
            "median",
            "95 %",
            "longest",
            "most analytics",
        ),
        rows=tuple(
            (
                view.names[row["configuration"]],
                row["what"],
                Cell(f"{row['n']:,}", row["n"]),
                duration(row["p50"]),
                duration(claimed_quantile(np.array(row["times"], np.float64), 0.95)),
                duration(row["longest"]),
                row["most"],
            )
            for row in rows
        ),
        caption="Measured; everything else on this page may be simulated. 95 % is "
        "given where there are enough for it.",
    )
