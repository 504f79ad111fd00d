"""Records as rows."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from midhaul.testbed.load.records import RequestRecord
from midhaul.testbed.measure.tables import REQUESTS

RECORD = RequestRecord(
    request=7,
    is_warmup=False,
    node="edge1",
    images=("a", "b"),
    planned_ns=1_000,
    sent_ns=1_500,
    done_ns=9_500,
    status="ok",
    error=None,
    sent_bytes=100,
    received_bytes=10,
    meta={
        "answered_by": "cloud",
        "queue_ns": 1,
        "decode_ns": 2,
        "node_ns": 6_000,
        "backhaul_up_bytes": 90,
        "images": [{"image": "a"}, {"image": "b"}],
        "no_column": 1,
    },
)


def test_a_row_copies_what_the_answer_says() -> None:
    """Durations and bytes go over by name; what is no column stays out."""
    row = RECORD.row(configuration=3, block=2)
    assert set(row) <= {column.name for column in REQUESTS.columns}
    assert (row["queue_ns"], row["decode_ns"], row["encode_ns"]) == (1, 2, None)
    assert row["latency_ns"] == 8_500
    assert row["service_ns"] == 8_000
    assert row["network_ns"] == 2_000
    assert row["answered_by"] == "cloud"
    assert row["access_up_bytes"] == 100
    assert row["backhaul_up_bytes"] == 90
    assert REQUESTS.from_rows([row]).num_rows == 1


def test_every_column_is_filled() -> None:
    """No column of the table is forgotten, though its value may be null."""
    row = RECORD.row(configuration=0, block=0)
    assert set(row) == {column.name for column in REQUESTS.columns}


def test_a_failure_has_no_network_time() -> None:
    """What no node answered is null, never zero."""
    failed = replace(RECORD, status="timeout", error="no answer", meta={})
    row = failed.row(configuration=0, block=0)
    assert row["network_ns"] is None
    assert row["node_ns"] is None
    assert row["latency_ns"] == 8_500


@given(st.integers(0, 2**62), st.integers(0, 2**40), st.integers(0, 2**40))
def test_no_duration_wraps(planned_ns: int, late_ns: int, service_ns: int) -> None:
    """Durations of days come back from the table as they went in."""
    record = replace(
        RECORD,
        planned_ns=planned_ns,
        sent_ns=planned_ns + late_ns,
        done_ns=planned_ns + late_ns + service_ns,
    )
    row = REQUESTS.from_rows([record.row(configuration=0, block=0)]).to_pylist()[0]
    assert row["latency_ns"] == late_ns + service_ns
    assert row["service_ns"] == service_ns
