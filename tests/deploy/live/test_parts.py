"""Parts of a live run that need no processes: records, situation, config, machine."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import ValidationError

from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.deploy.live.channel import Header
from midhaul.deploy.live.config import LiveConfig
from midhaul.deploy.live.experiment import check_machine, missing_here
from midhaul.deploy.live.inputs import requests_of
from midhaul.deploy.live.situation import IDLE_BPS, GatewaySituation, Grant
from midhaul.deploy.live.tables import MESSAGES, Records
from midhaul.deploy.problem import Analytic
from midhaul.deploy.rates import ExactKnapsack
from midhaul.deploy.rates.base import Demands
from midhaul.errors import DataError, PrerequisiteError
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from pathlib import Path

_NS = 1_000_000_000


def curve(*steps: tuple[float, float, float]) -> QosCurve:
    """A curve of knob, rate and quality, one message in 2 s."""
    knobs, rates, qualities = (np.array(column) for column in zip(*steps, strict=True))
    return QosCurve.of("test", knobs, rates, qualities, message_hz=0.5)


CLOUD = curve((0.2, 50e3, 0.4), (1.0, 200e3, 0.8))
GATEWAY = curve((1.0, 5e3, 0.8))


def analytic(name: str, **changes: Any) -> Analytic:
    """An analytic that stays for 30 s."""
    found = Analytic(
        name=name,
        image=name.partition(".")[0],
        saved_bps=195e3,
        cloud_curve=CLOUD,
        gateway_curve=GATEWAY,
        lifetime_s=30.0,
    )
    return dataclasses.replace(found, **changes)


def situation(*analytics: Analytic) -> GatewaySituation:
    """All of them in the cloud."""
    names = [a.name for a in analytics]
    made = GatewaySituation(
        0, dict.fromkeys(names, 0.5), dict.fromkeys(names, "images"), 10.0
    )
    for one in analytics:
        made.admit(one)
    return made


def divide(who: GatewaySituation, uplink_bps: float) -> None:
    """Divide an uplink among those who are there."""
    everybody = who.everybody
    places = [a.name in who.on_gateway for a in everybody]
    curves = [GATEWAY if on_gateway else CLOUD for on_gateway in places]
    names = [a.name for a in everybody]
    demands = Demands.of(names, [1.0] * len(names), curves)
    who.take_rates(demands, ExactKnapsack().allocate(demands, uplink_bps), 0.0)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run to write to."""
    return Run.create(tmp_path, "deploy.live", LiveConfig())


@pytest.fixture
def records(run: Run) -> Records:
    """Records of one analytic, whose clock begins at zero."""
    made = Records(run, 0, 0, 10.0)
    made.weights = {"a.0": 0.5}
    made.planned_quality = {
        ("images", place): {1.0: 0.7} for place in ("cloud", "gateway")
    }
    return made


def planned(number: int, at_s: float, knob: float | None = 1.0) -> dict[str, Any]:
    """The publisher's line of a message."""
    header = Header(
        analytic="a.0",
        workload="images",
        number=number,
        content=0,
        place="cloud",
        knob=knob,
        planned_ns=round(at_s * _NS),
        sent_ns=None if knob is None else round(at_s * _NS) + 1,
    )
    return {"planned": dataclasses.asdict(header), "n_bytes": 1000 if knob else None}


def scored(line: dict[str, Any], at_s: float, quality: float = 0.9) -> dict[str, Any]:
    """The cloud's line of a message."""
    return {
        "scored": line["planned"],
        "n_bytes": 1000,
        "received_ns": round(at_s * _NS) - 1,
        "scored_ns": round(at_s * _NS),
        "quality": quality,
    }


def rows_of(run: Run) -> dict[int, dict[str, Any]]:
    """What was written, by the number of the message."""
    rows = run.read(MESSAGES).to_pylist()
    assert len({row["number"] for row in rows}) == len(rows)
    return {row["number"]: row for row in rows}


def test_latency_counts_from_the_planned_send(run: Run, records: Records) -> None:
    """A scored message has its quality and the time from its plan to its score."""
    line = planned(0, 1.0)
    records.take(line)
    records.take(scored(line, 3.5))
    records.flush(4.0)
    row = rows_of(run)[0]
    assert row["status"] == "scored"
    assert row["latency_s"] == pytest.approx(2.5)
    assert (row["quality"], row["planned_quality"]) == (0.9, 0.7)


def test_a_message_that_comes_twice_counts_once(run: Run, records: Records) -> None:
    """Delivery is at least once, a row is exactly once; the first score stays."""
    line = planned(0, 1.0)
    records.take(line)
    records.take(scored(line, 2.0, 0.9))
    records.take(scored(line, 3.0, 0.1))
    records.flush(4.0)
    assert rows_of(run)[0]["quality"] == 0.9


def test_the_order_of_lines_does_not_matter(run: Run, records: Records) -> None:
    """The cloud may be quicker to tell than the publisher."""
    line = planned(0, 1.0)
    records.take(scored(line, 1.5))
    records.take(line)
    records.flush(2.0)
    assert rows_of(run)[0]["status"] == "scored"


def test_late_and_missing_are_counted_and_never_imputed(
    run: Run, records: Records
) -> None:
    """Nobody scored it in time: no quality, whether it comes later or never."""
    lines = [planned(number, 1.0 + number) for number in range(4)]
    for line in lines:
        records.take(line)
    records.flush(11.5)
    records.take(scored(lines[1], 12.5))
    records.take(scored(lines[2], 12.5))
    records.flush(40.0)  # long after the deadline of all
    records.take(scored(lines[0], 40.5))
    records.flush(float("inf"))
    rows = rows_of(run)
    status = [rows[i]["status"] for i in range(4)]
    assert status == ["missing", "late", "scored", "missing"]
    assert [rows[i]["quality"] for i in range(4)] == [None, None, 0.9, None]
    assert rows[1]["latency_s"] == pytest.approx(10.5)


def test_a_message_without_a_rate_has_quality_zero(run: Run, records: Records) -> None:
    """It was planned, nothing was sent, and that is not missing."""
    records.take(planned(0, 1.0, knob=None))
    records.flush(100.0)
    row = rows_of(run)[0]
    assert (row["status"], row["quality"], row["sent_s"]) == ("not granted", 0.0, None)


def test_everybody_has_two_lanes_and_the_rate_of_one() -> None:
    """Messages have their rate in the cloud, results on the gateway; others idle."""
    who = situation(analytic("a.0"), analytic("b.1"))
    divide(who, 400e3)
    rates = who.rate_map(4e5).rates_bps
    assert rates["live/up/0"] == pytest.approx(200e3)
    assert rates["live/result/0"] == IDLE_BPS
    assert len(rates) == 4


def test_whose_rate_falls_gets_another_lane() -> None:
    """Its old lane has still to work off a message of the old size."""
    who = situation(analytic("a.0"), analytic("b.1"))
    for uplink_bps, lanes in ((250e3, (0, 1)), (400e3, (0, 1)), (250e3, None)):
        divide(who, uplink_bps)
        found = tuple(one["lane"] for one in who.assigned(9.0).values())
        if lanes is not None:
            assert found == lanes
    assert sorted(found) in ([0, 2], [1, 2])
    rates = who.rate_map(1e6).rates_bps
    assert sum(rate > IDLE_BPS for rate in rates.values()) == 2


def test_a_move_in_mid_period_never_raises_the_sum() -> None:
    """Who moves sends results within the rate that its messages had."""
    who = situation(analytic("a.0"), analytic("b.1"))
    divide(who, 250e3)
    before = sum(grant.rate_bps for grant in who.grants.values())
    for name in ("a.0", "b.1"):
        one = who.in_cloud[name]
        who.plan_move(one, 0.0, 2.0)
        who.begin_on_gateway(one, 3.0)
    assert sum(grant.rate_bps for grant in who.grants.values()) <= before
    assert {grant.place for grant in who.grants.values()} == {"gateway"}
    assert all(grant.knob == 1.0 for grant in who.grants.values())


def test_who_moves_without_a_rate_waits_for_the_next_division() -> None:
    """There is nothing to send results with before."""
    who = situation(analytic("a.0"))
    one = who.in_cloud["a.0"]
    who.plan_move(one, 0.0, 2.0)
    who.begin_on_gateway(one, 3.0)
    assert who.grants["a.0"] == Grant(
        place="gateway", rate_bps=0.0, knob=None, quality=0.0
    )


def test_savings_count_from_the_real_start_to_the_leave() -> None:
    """A late start saves less than planned, none at all saves nothing."""
    who = situation(analytic("a.0"), analytic("b.1"))
    for name in ("a.0", "b.1"):
        who.plan_move(who.in_cloud[name], 15.0, 20.0)
    who.begin_on_gateway(who.moving["a.0"], 22.0)
    who.give_up("b")
    late, never = (who.moves[name].row(25.0) for name in ("a.0", "b.1"))
    assert late["planned_saved_bits"] == pytest.approx(5 * 195e3)
    assert late["saved_bits"] == pytest.approx(3 * 195e3)
    assert (never["saved_bits"], never["is_realised"]) == (0.0, False)
    assert who.in_cloud.keys() == {"b.1"}


def test_a_lane_stays_free_for_what_is_late() -> None:
    """Who has left keeps its lane until the deadline; then another one gets it."""
    names = ("a.0", "b.1", "c.2")
    who = GatewaySituation(
        0, dict.fromkeys(names, 0.5), dict.fromkeys(names, "images"), deadline_s=10.0
    )
    who.admit(analytic("a.0"))
    assert [one.name for one, _ in who.departed(30.0)] == ["a.0"]
    assert len(who.rate_map(1e6).rates_bps) == 2
    who.admit(analytic("b.1", arrival_s=33.0))
    who.admit(analytic("c.2", arrival_s=40.0))
    lanes = {name: one["lane"] for name, one in who.assigned(99.0).items()}
    assert lanes == {"b.1": 1, "c.2": 0}
    assert who.rate_map(1e6).rates_bps["live/result/1"] == IDLE_BPS


def test_requests_are_scaled_and_end_with_the_run() -> None:
    """Minutes become seconds by time_scale, and nobody arrives after the end."""
    config = LiveConfig(duration_s=30.0, time_scale=20.0)
    found = requests_of(config, ["a", "b", "c"], 0)
    assert found
    assert all(one.arrival_s < 30 and one.arrival_s % 3 == 0 for one in found)
    assert all(3 <= one.lifetime_s <= 30 for one in found)
    assert found == requests_of(config, ["a", "b", "c"], 0)
    assert found != requests_of(config, ["a", "b", "c"], 1)


def test_requests_for_unknown_images_are_refused(tmp_path: Path) -> None:
    """The message names the image."""
    file = tmp_path / "requests.csv"
    file.write_text("version,analytic,arrival_min,lifetime_min\n1,yolo-99,0,5\n")
    config = LiveConfig.model_validate({"requests": {"file": file}})
    with pytest.raises(DataError, match="yolo-99"):
        requests_of(config, ["yolo-1"], 0)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"slot_s": 100.0}, "whole number"),
        ({"requests": {"min_lifetime_min": 11}}, "min_lifetime_min"),
        ({"planning": {"low_water": 0.99}}, "low_water"),
        ({"link": {"uplink_bps": 0.0}}, "uplink_bps"),
    ],
)
def test_impossible_files_are_refused(change: dict[str, Any], word: str) -> None:
    """A file that contradicts itself says where."""
    with pytest.raises(ValidationError, match=word):
        LiveConfig.model_validate(change)


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root and programs it names them, and offers the simulation."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PrerequisiteError) as caught:
        check_machine()
    for word in ("root", "ip", "tc", "docker-registry"):
        assert word in caught.value.message
    assert "apt-get install docker-registry iproute2" in caught.value.hint
    assert 'kind = "deploy.simulate"' in caught.value.hint
    assert len(missing_here()[0]) >= 2
