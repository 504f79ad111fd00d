"""AP50 and calls against the steps that a learner took, as one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np

from midhaul.report.page import Figure, figure_png

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from armol_rows import Done

MEASURES = ("AP50 of test images, %", "calls an image")


def draw(done: Sequence[Done], file: Path) -> None:
    """Draw the means over seeds of every learner, 3 providers beside 10."""
    rows = _rows(done)
    names = list(dict.fromkeys(str(row["learner"]) for row in rows))
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("step", type="quantitative", title="steps"),
        color=alt.Color("learner", type="nominal", title=None, sort=names),
    )
    panels: list[Any] = []
    for measure in MEASURES:
        across: list[Any] = []
        for n in sorted({int(row["providers"]) for row in rows}):
            some = base.transform_filter(
                f"datum.measure == {measure!r} && datum.providers == {n}"
            )
            y = alt.Y(
                "value", type="quantitative", title=measure, scale=alt.Scale(zero=False)
            )
            line = some.mark_line(strokeWidth=2).encode(y=y)
            across.append(
                line.properties(width=380, height=230, title=f"{n} providers")
            )
        panels.append(alt.hconcat(*across))
    chart = alt.vconcat(*panels)
    file.write_bytes(figure_png(Figure(title="curves", chart=chart), scale=1.5))


def _rows(done: Sequence[Done]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    lines = dict.fromkeys(
        (one.job.n_providers, one.job.row) for one in done if one.curve
    )
    for n, name in lines:
        curves = [
            np.array(one.curve)
            for one in done
            if one.curve and (one.job.n_providers, one.job.row) == (n, name)
        ]
        mean = np.mean(curves, axis=0)
        for step, ap50, calls in mean.tolist():
            for measure, value in zip(MEASURES, (100 * ap50, calls), strict=True):
                found.append(
                    {
                        "providers": n,
                        "learner": name,
                        "step": step,
                        "measure": measure,
                        "value": value,
                    }
                )
    return found
