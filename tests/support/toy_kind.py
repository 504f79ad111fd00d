"""A kind that costs nothing: it writes numbers, step by step, and can be cut off.

``python -m tests.support.toy_kind ARGUMENTS`` is the command line with that kind.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from midhaul.errors import NodeError
from midhaul.kinds import KINDS, Kind
from midhaul.model import Verdict
from midhaul.runs.config import Config, Section
from midhaul.runs.metric import Metric, declare
from midhaul.runs.spec import Spec
from midhaul.runs.tables import Column, Table
from midhaul.stats import mean_statistic

if TYPE_CHECKING:
    from midhaul.model.estimate import MetricSamples
    from midhaul.report import Page
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run

NAME = "toy.count"

STEPS = Table(
    "steps",
    "One step.",
    (
        Column("step", pa.int64(), "Number of the step."),
        Column("value", pa.float64(), "What came of it."),
    ),
)
SUMMARY = Table(
    "summary",
    "One metric.",
    (
        Column("configuration", pa.int32(), "Always 0."),
        Column("metric", pa.string(), "Its name."),
        Column("value", pa.float64(), "Its value."),
        Column("low", pa.float64(), "Null."),
        Column("high", pa.float64(), "Null."),
        Column("unit", pa.string(), "Its unit."),
    ),
)
TABLES = (STEPS, SUMMARY)
METRICS = declare(
    Metric("total", "sum of the values", unit="s"),
    Metric("mean_s", "mean of the values", unit="s", better="lower", over="steps"),
)


class Worker(Section):
    """One worker."""

    name: str = Field(description="Its name.")
    speed: float = Field(default=1.0, gt=0, description="Its speed.")
    tool: Spec = Field(default=Spec("null"), description="What it works with.")


class ToyConfig(Config):
    """Count, and write down what came of it."""

    kind: Literal["toy.count"] = Field(default=NAME, description="Kind.")
    n_steps: int = Field(default=3, ge=0, description="Steps to take.")
    step_s: float = Field(default=0.0, ge=0, description="Time of a step.")
    factor: float = Field(default=1.0, description="Scale of the values.")
    fail_at: int | None = Field(default=None, description="Step that fails.")
    mode: Literal["fast", "slow"] = Field(default="fast", description="How.")
    input: Path | None = Field(default=None, description="A file.")
    labels: tuple[str, ...] = Field(default=(), description="Some words.")
    workers: tuple[Worker, ...] = Field(
        default=(Worker(name="ann"), Worker(name="bob")), description="Who works."
    )
    spare: Worker | None = Field(default=None, description="Who helps out.")
    grid: dict[str, tuple[int | str, ...]] = Field(
        default_factory=dict, description="Values by key."
    )


def run(config: ToyConfig, run: Run, progress: Progress) -> None:
    """Write a part per step, going on after the last one that is there."""
    with progress.task("steps", config.n_steps) as task:
        for step in range(config.n_steps):
            if step not in run.parts("steps"):
                time.sleep(config.step_s)
                if step == config.fail_at:
                    message = f"step {step} failed"
                    raise NodeError(message, "take fewer steps")
                value = config.factor * (step + 1)
                run.write(STEPS, [{"step": step, "value": value}], part=step)
            task.advance()
    total = float(np.sum(run.read(STEPS)["value"].to_numpy()))
    row = {"configuration": 0, "metric": "total", "value": total, "unit": "s"}
    run.write(SUMMARY, [row], part=0)
    run.verdict = Verdict()
    if config.factor < 0:
        reasons = ("Values may not be negative.",)
        run.verdict = Verdict(reasons=reasons, advice=("Raise factor.",))


def samples(run: Run) -> list[MetricSamples]:
    """The mean of the values over the steps."""
    rows = run.read(STEPS)
    values = rows["value"].to_numpy()
    units = tuple(str(step) for step in rows["step"].to_pylist())
    return [METRICS["mean_s"].samples("all", units, mean_statistic(values))]


def build(run: Run) -> Page:
    """A page that says the id."""
    from midhaul.report import Page  # noqa: PLC0415  heavy, and seldom needed

    return Page(title="Toy", subtitle=run.id, verdict=run.verdict)


CountConfig, count = ToyConfig, run  # as a kind's parts are called

KIND = Kind(
    name=NAME,
    summary="Count.",
    extra="testbed",
    folder=__name__,
)


def main() -> None:
    """Run the command line with the toy kind in it."""
    from tests.support import toy_kind  # noqa: PLC0415  by its importable name

    from midhaul.__main__ import main as command_line  # noqa: PLC0415  for scripts only

    KINDS[NAME] = toy_kind.KIND
    command_line()


if __name__ == "__main__":
    main()
