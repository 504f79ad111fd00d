"""Solvers of one process, one after the other."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import highspy
from midhaul.deploy.placement import MilpPlacer, MinCutPlacer
from tests.deploy.placement.instances import tight_problem

solver = highspy.Highs()
solver.setOptionValue("output_flag", False)
solver.addVar(0.0, 1.0)
solver.run()
for placer in (MilpPlacer(), MinCutPlacer(), MilpPlacer()):
    placement = placer.place(tight_problem(3))
    assert placement.status == "optimal", placement
"""


def test_somebody_elses_solver_does_no_harm() -> None:
    """Whatever used HiGHS before, placements and bounds are the same."""
    subprocess.run([sys.executable, "-c", _PROGRAM], check=True)
