"""Traces of real links are replayed in their time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from midhaul.deploy.networks import replay
from midhaul.traces import PACKET_BYTES, read_mahimahi

if TYPE_CHECKING:
    from pathlib import Path


def test_a_replay_sets_each_rate_in_its_time(tmp_path: Path) -> None:
    """Once per second; a step that took too long costs those it covers."""
    file = tmp_path / "steps.up"
    stamps = [1000 * s + 500 for s in range(5) for _ in range(s + 1)]
    file.write_text("\n".join(map(str, [*stamps, 5000])), encoding="utf-8")
    trace = read_mahimahi(file)
    now, rates = 0.0, []

    def sleep(wait_s: float) -> None:
        nonlocal now
        now += wait_s

    def set_rate(rate_bps: float) -> None:
        nonlocal now
        rates.append(round(rate_bps / 8 / PACKET_BYTES))
        now += 2.5 if len(rates) == 2 else 0.0

    n = replay(trace, set_rate, duration_s=6.0, clock=lambda: now, sleep=sleep)
    assert rates == [1, 2, 4, 6, 1]
    assert n == len(rates)
    assert now == pytest.approx(6.0)
