"""What nodes use over time."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from itertools import pairwise
from typing import TYPE_CHECKING

from tests.testbed.links.test_links import ends, transfer

from midhaul.machine.processes import cpu_s, tree
from midhaul.model import Link
from midhaul.testbed.links.links import Links
from midhaul.testbed.measure.tables import USAGE
from midhaul.testbed.nodes.usage import Monitor, Watched, watch_workload

if TYPE_CHECKING:
    from collections.abc import Sequence

SPIN = "while True: pass"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPIN!r}])"


def spawn(program: str) -> subprocess.Popen[bytes]:
    """A Python process."""
    return subprocess.Popen([sys.executable, "-c", program])


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all below it."""
    for pid in tree(process.pid)[1:]:
        subprocess.run(["kill", "-9", str(pid)], check=True)
    process.kill()
    process.wait()


def total(rows: Sequence[dict[str, object]], name: str) -> float:
    """Sum of a column."""
    values = [row[name] for row in rows]
    return sum(value for value in values if isinstance(value, float | int))


def test_cpu_time_of_another_process_is_fine_grained() -> None:
    """The clock of a spinning process moves within less than a tick, then ends."""
    process = spawn(SPIN)
    try:
        seen: set[float | None] = set()
        deadline = time.monotonic() + 5
        while len(seen) < 20 and time.monotonic() < deadline:
            seen.add(cpu_s(process.pid))
            time.sleep(0.002)
        assert len(seen) == 20
    finally:
        end(process)
    assert cpu_s(process.pid) is None


def test_a_process_tree_is_accounted_for() -> None:
    """A child's CPU seconds are its parent's, and agree with the kernel's clock."""
    process = spawn(PARENT)
    try:
        while len(tree(process.pid)) < 2:
            time.sleep(0.01)
        monitor = Monitor([Watched(name="edge1", pid=process.pid, period_s=0.1)])
        monitor.start()
        time.sleep(0.2)
        child = tree(process.pid)[1]
        before, begin = cpu_s(child), time.perf_counter()
        time.sleep(0.6)
        after, elapsed_s = cpu_s(child), time.perf_counter() - begin
        rows = monitor.stop(configuration=3, block=1)
    finally:
        end(process)
    assert before is not None
    assert after is not None
    rate = (after - before) / elapsed_s
    periods_s = total(rows, "period_ns") / 1e9
    assert abs(total(rows, "cpu_s") / periods_s - rate) < 0.3
    assert min(row["rss_bytes"] for row in rows) > 1 << 20
    table = USAGE.from_rows(rows)
    assert set(table["configuration"].to_pylist()) == {3}
    assert set(table["node"].to_pylist()) == {"edge1"}
    shares = table["cpu_pressure"].drop_null().to_pylist()
    assert all(0 <= share <= 1 for share in shares)


def test_periods_follow_on_each_other() -> None:
    """Periods are as long as asked, without gaps, counted from the cell's begin."""
    monitor = Monitor([watch_workload(0.05)])
    begin_ns = time.perf_counter_ns()
    monitor.start(begin_ns)
    time.sleep(0.32)
    rows = monitor.stop()
    assert len(rows) >= 4
    for row, following in pairwise(rows):
        assert row["begin_ns"] + row["period_ns"] == following["begin_ns"]
    assert rows[0]["begin_ns"] >= 0


def test_a_dead_node_is_survived() -> None:
    """A node that dies has rows without CPU; the others go on."""
    process = spawn(SPIN)
    watched = Watched(name="edge1", pid=process.pid, period_s=0.05)
    monitor = Monitor([watched, watch_workload(0.05)])
    monitor.start()
    time.sleep(0.15)
    end(process)
    time.sleep(0.15)
    rows = USAGE.from_rows(monitor.stop()).to_pylist()
    of_node = [row["cpu_s"] for row in rows if row["node"] == "edge1"]
    assert of_node[0] is not None
    assert of_node[-1] is None
    of_workload = [row["cpu_s"] for row in rows if row["node"] == "workload"]
    assert len(of_workload) > 1
    assert all(cpu_s is not None for cpu_s in of_workload)


def test_bytes_of_shaped_links_are_in_the_rows() -> None:
    """Bytes through links are split over periods and add up; without links: null."""
    links_of = [
        Link(source="workload", target="edge1", rate_bps=math.inf, delay_s=0.001)
    ]
    with Links(links_of) as links, ends(links) as [(near, far)]:
        monitor = Monitor([watch_workload(0.05)], links)
        monitor.start()
        time.sleep(0.06)
        transfer(near, far, 50_000)
        time.sleep(0.06)
        rows = monitor.stop()
    assert total(rows, "sent_bytes") == 50_000
    assert total(rows, "received_bytes") == 0
    bare = Monitor([watch_workload(0.05)])
    bare.start()
    time.sleep(0.01)
    assert "sent_bytes" not in bare.stop()[0]
