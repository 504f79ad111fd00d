"""A served memory as a process: it keeps, labels, decides, sends on, and refuses."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from tests.support.served_memory import MemoryProcess, arrow, memory_of, stream

from midhaul.memory.predictors.onnx_net import to_onnx

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

SMALL = """
max_body_bytes = 200_000
max_batch = 1000
max_ahead_s = 1e6
[memory]
capacity = 50
[upload]
n_samples = 3
period_s = 1e9
[retrain]
rule = "every"
every = 2
"""
ROW = '{"x": [[1, 2, 3, 4]], "time_s": [1], "group": [1]'
SAID = '"prediction": [[0.5, 0.25, 0.25]], "model_version": [0]'


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[MemoryProcess]:
    """A memory that has seen something, for tests that do not break it."""
    with memory_of(tmp_path_factory.mktemp("served"), SMALL) as service:
        service.offer(stream(200))
        yield service


def test_it_says_where_it_listens_and_how_it_keeps(served: MemoryProcess) -> None:
    """One line: address, selector and rule."""
    assert served.line.startswith("memory: http://127.0.0.1:")
    assert served.line.endswith("/offer (priority, every)\n")
    assert served.told("GET", "/health") == (200, {"name": "memory", "ready": True})


def test_what_is_told_to_be_kept_is_in_memory(tmp_path: Path) -> None:
    """Fates and reasons stand beside each other, sample by sample."""
    with memory_of(tmp_path, "[memory]\ncapacity = 50") as service:
        first = service.offer(stream(20))
        assert set(first["reason"]) == {"filling"}
        assert service.times() == stream(20).time_s.tolist()
        second = service.offer(stream(500, begin=20))
        kept = {20.0 + row for row, fate in enumerate(second["fate"]) if fate != "drop"}
        assert kept <= set(service.times())
        assert second["n_kept"] == len(kept)
        assert len(service.times()) in {49, 50}
        dropped = [r for r, fate in zip(second["reason"], second["fate"], strict=True)
                   if fate == "drop"]  # fmt: skip
        assert set(dropped) == {"dropped"}
        weight = service.samples()["weight"].to_numpy()
        assert weight.sum() == pytest.approx(520, rel=0.5)


def test_answers_are_of_the_kind_that_is_accepted(served: MemoryProcess) -> None:
    """Arrow for Arrow and JSON for JSON, unless the client says otherwise."""
    batch = arrow(stream(4, begin=1000))
    code, body = served.ask("POST", "/offer", batch)
    assert code == 200
    with pa.ipc.open_stream(body) as reader:
        table = reader.read_all()
    assert table.column_names == ["fate", "reason"]
    assert len(table) == 4
    names = table.schema.metadata[b"fate"].decode().split(",")
    assert names == ["drop", "keep", "upload"]
    code, body = served.ask("POST", "/offer", f"{ROW}, {SAID}}}".encode())
    assert json.loads(body)["n"] == 1
    accept = {"accept": "application/vnd.apache.arrow.stream"}
    code, body = served.ask("POST", "/offer", f"{ROW}, {SAID}}}".encode(), accept)
    with pa.ipc.open_stream(body) as reader:
        assert len(reader.read_all()) == 1


BAD: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 400, "malformed"),
    "garbage": (b"\x00\xff" * 50, 400, "malformed"),
    "half a stream": (arrow(stream(4))[:-300], 400, "malformed"),
    "a pickle": (b"\x80\x04\x95\x0b\x00\x00\x00", 400, "malformed"),
    "no object": (b"[1, 2]", 400, "malformed"),
    "missing columns": (b'{"x": [[1, 2, 3, 4]]}', 400, "malformed"),
    "unknown columns": (f'{ROW}, "z": [1]}}'.encode(), 400, "malformed"),
    "ragged": (ROW.replace("[[1, ", "[[1], [").encode() + b"}", 400, "malformed"),
    "NaN": (ROW.replace("[[1", "[[NaN").encode() + b"}", 400, "malformed"),
    "too large a number": (f"{ROW}}}".replace("4", "1e300").encode(), 400, "malformed"),
    "an infinite output": (f'{ROW}, "y": [Infinity]}}'.encode(), 400, "malformed"),
    "a negative weight": (f'{ROW}, "weight": [-1]}}'.encode(), 400, "malformed"),
    "no distribution": (
        f'{ROW}, "prediction": [[0.5, 0.5, 0.5]]}}'.encode(), 400, "malformed"),
    "half a group": (ROW.replace('group": [1', 'group": [1.5').encode() + b"}", 400,
                     "malformed"),
    "other inputs": (b'{"x": [[1]], "time_s": [1], "group": [1]}', 400, "width"),
    "other bins": (f'{ROW}, "prediction": [[1.0]]}}'.encode(), 400, "width"),
    "no prediction": (f"{ROW}}}".encode(), 400, "no-prediction"),
    "no class": (f'{ROW}, "y": [3], {SAID}}}'.encode(), 400, "class"),
    "half a class": (f'{ROW}, "y": [0.5], {SAID}}}'.encode(), 400, "class"),
    "another model": (arrow(stream(4, version=7)), 409, "other-model"),
    "far ahead": (arrow(stream(4, begin=10**9)), 400, "clock-ahead"),
    "too many": (arrow(stream(1001)), 400, "malformed"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_batches_are_refused_and_change_nothing(
    served: MemoryProcess, name: str
) -> None:
    """In words, with a reason that is counted; the next good one is taken."""
    body, status, reason = BAD[name]
    before = served.told("GET", "/info")[1]
    code, said = served.told("POST", "/offer", body)
    assert (code, said.get("reason")) == (status, reason), said
    assert said["error"]
    after = served.told("GET", "/info")[1]
    assert after["counts"] == before["counts"]
    served.offer(stream(1, begin=2000))


def test_a_body_that_is_too_large_is_refused(served: MemoryProcess) -> None:
    """Before anything of it is read into samples."""
    code, said = served.told("POST", "/offer", bytes(200_001))
    assert code == 413
    assert "200000" in said["error"]


def test_what_is_not_there_says_what_is(served: MemoryProcess) -> None:
    """A wrong address, and a wrong query."""
    code, said = served.told("GET", "/nowhere")
    assert code == 404
    assert "POST /offer" in said["error"]
    for query in ("version=-1", "version=1e3", "a=1", "version", "version=1&version=2"):
        assert served.told("POST", f"/retrained?{query}")[0] == 400


def test_oddities_are_counted(tmp_path: Path) -> None:
    """A clock that goes back, outputs beyond all bins, and those that are missing."""
    text = "[bins]\nedges = [0.0, 1.0, 2.0, 3.0]"
    with memory_of(tmp_path, text) as service:
        service.offer(stream(10, begin=100))
        service.offer(stream(10, begin=95))
        service.offer(stream(5, begin=200, is_known=False))
        body = f'{ROW.replace("[1]", "[300]")}, "y": [7.5], {SAID}}}'
        assert service.told("POST", "/offer", body.encode())[0] == 200
        counts = service.told("GET", "/info")[1]["counts"]
        assert counts["n_clock_back"] == 10
        assert counts["n_without_output"] == 5
        assert counts["n_outside_bins"] == 1
        assert service.metric("midhaul_memory_clock_back_total") == 10


def test_a_memory_smaller_than_a_batch_keeps_that_much(tmp_path: Path) -> None:
    """And one of no samples does not start."""
    with memory_of(tmp_path / "one", "[memory]\ncapacity = 1") as service:
        service.offer(stream(300))
        service.offer(stream(300, begin=300))
        assert len(service.times()) == 1
    with memory_of(tmp_path / "none", "[memory]\ncapacity = 0") as service:
        assert service.line == ""
        code, said = service.end(signal.SIGTERM)
        assert code in {2, -signal.SIGTERM}
        assert "memory.capacity: expected a value greater than or equal to 1" in said


def test_late_labels_find_their_samples(tmp_path: Path) -> None:
    """By time and group; labels of what was dropped are counted."""
    with memory_of(tmp_path, "[memory]\ncapacity = 30") as service:
        service.offer(stream(100, is_known=False))
        kept = set(service.times())
        known = stream(100)
        body = {
            "time_s": known.time_s.tolist(),
            "group": known.group.tolist(),
            "y": known.y.tolist(),
        }
        code, said = service.told("POST", "/label", json.dumps(body).encode())
        assert code == 200
        assert said == {"n": 100, "n_in_memory": len(kept), "n_gone": 100 - len(kept)}
        table = service.samples()
        told = dict(
            zip(table["time_s"].to_pylist(), table["y"].to_pylist(), strict=True)
        )
        truth = dict(zip(known.time_s.tolist(), known.y.tolist(), strict=True))
        assert told == {time: truth[time] for time in kept}
        body["y"][0] = 9
        code, said = service.told("POST", "/label", json.dumps(body).encode())
        assert (code, said["reason"]) == (400, "class")


def test_what_may_be_sent_on_is_the_best_within_the_budget(tmp_path: Path) -> None:
    """The reason stands with each, and what exceeds the budget is counted."""
    text = "[memory]\ncapacity = 40\n[upload]\nn_samples = 5\nperiod_s = 1e9"
    with memory_of(tmp_path, text) as service:
        assert service.offer(stream(40))["n_uploads"] == 0  # there was room for all
        n_sent, reasons = 0, []
        for begin in range(40, 2000, 100):
            said = service.offer(stream(100, begin=begin))
            n_sent += said["n_uploads"]
            reasons += [
                reason
                for reason, fate in zip(said["reason"], said["fate"], strict=True)
                if fate == "upload"
            ]
        assert n_sent == 5
        assert set(reasons) <= {"new-region", "rare"}
        text = service.ask("GET", "/metrics")[1].decode()
        beyond = [
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith("midhaul_memory_uploads_beyond_total{")
        ]
        assert sum(beyond) > 0


def test_a_decision_looks_at_what_came_since_the_last_one(tmp_path: Path) -> None:
    """It says why; the first is to train, and an alarm names the bins that grew."""
    with memory_of(tmp_path) as service:
        assert service.told("GET", "/decision")[0] == 404
        service.offer(stream(400))
        code, first = service.told("POST", "/decision")
        assert (code, first["retrain"], first["n_samples"]) == (200, True, 400)
        assert service.told("GET", "/decision")[1] == first
        said = service.told("POST", "/retrained?version=1")[1]
        assert said["model_version"] == 1
        assert said["n_trained"] == 400
        service.offer(stream(400, begin=400, version=1))
        service.told("POST", "/decision")
        changed = stream(400, begin=800, version=1)
        changed.y[:] = 2
        service.offer(changed)
        code, last = service.told("POST", "/decision")
        assert last["retrain"] is True
        assert last["p_value"] < 0.01
        assert last["grown"][0]["bin"] == 2
        assert last["n_clusters"] == 20


def test_other_models_are_refused_until_one_is_told(tmp_path: Path) -> None:
    """The version may only rise."""
    with memory_of(tmp_path) as service:
        service.offer(stream(10, version=3))
        code, said = service.told("POST", "/offer", arrow(stream(5, begin=10)))
        assert (code, said["reason"]) == (409, "other-model")
        assert service.told("POST", "/retrained?version=3")[0] == 409
        assert service.told("POST", "/retrained")[1]["model_version"] == 4
        service.offer(stream(5, begin=10, version=4))
        assert service.metric("midhaul_memory_other_model") == 10


def _net(seed: int, n_classes: int = 3) -> bytes:
    rng = np.random.default_rng(seed)
    state: dict[str, Any] = {
        "0.running_mean": np.zeros(4),
        "0.running_var": np.ones(4),
        "1.weight": rng.normal(size=(n_classes, 4)),
        "1.bias": np.zeros(n_classes),
    }
    return to_onnx({name: one.astype(np.float32) for name, one in state.items()})


def test_a_model_of_its_own_predicts_what_comes_without(tmp_path: Path) -> None:
    """And everything in memory again, when another one is sent."""
    (tmp_path / "net.onnx").write_bytes(_net(0))
    with memory_of(tmp_path, 'model = "net.onnx"\nn_inputs = 4\n') as service:
        code, said = service.told("POST", "/offer", f"{ROW}}}".encode())
        assert (code, said["n"]) == (200, 1)
        service.offer(stream(10, version=9))  # predicted again
        before = service.samples()
        assert set(before["model_version"].to_pylist()) == {0}
        code, said = service.told("POST", "/model", _net(1))
        assert (code, said["model_version"]) == (200, 1)
        after = service.samples()
        assert set(after["model_version"].to_pylist()) == {1}
        assert before["time_s"].to_pylist() == after["time_s"].to_pylist()
        assert before["prediction"].to_pylist() != after["prediction"].to_pylist()
        for wrong in (b"", b"garbage", _net(0, n_classes=5)):
            code, said = service.told("POST", "/model", wrong)
            assert (code, said["reason"]) == (400, "bad-model")
        assert service.told("POST", "/model?version=1", _net(2))[0] == 409
        assert service.told("POST", "/retrained")[1]["reason"] == "own-model"
        assert service.samples()["model_version"].to_pylist() == [1] * len(after)
        last = after["prediction"].to_pylist()
        service.end(signal.SIGKILL)
        service.start()
        assert service.samples()["prediction"].to_pylist() == last


def test_models_may_be_refused(tmp_path: Path) -> None:
    """Where whoever offers samples should not choose what predicts them."""
    with memory_of(tmp_path, "accepts_models = false\n") as service:
        assert service.told("POST", "/model", _net(0))[0] == 403


def test_a_sketch_is_small_and_says_what_it_is_of(served: MemoryProcess) -> None:
    """Counts of the cells that were seen, as JSON or Arrow."""
    code, said = served.told("GET", "/sketch")
    assert code == 200
    assert said["settings"]["memory"]["selector"] == "priority"
    assert sum(said["count"]) == pytest.approx(said["n_offered"])
    accept = {"accept": "application/vnd.apache.arrow.stream"}
    body = served.ask("GET", "/sketch", headers=accept)[1]
    assert len(body) < 100_000
    with pa.ipc.open_stream(body) as reader:
        assert reader.read_all()["count"].to_pylist() == said["count"]


def test_two_gateways_merged_are_as_one_that_saw_both(tmp_path: Path) -> None:
    """Counts are the same; of what is kept nearly all, and each gateway counts once."""
    text = "[memory]\ncapacity = 300"
    with (
        memory_of(tmp_path / "a", text) as a,
        memory_of(tmp_path / "b", text) as b,
        memory_of(tmp_path / "both", text) as both,
    ):
        for begin in range(0, 4000, 400):
            batch = stream(400, begin=begin)
            (a if begin % 800 else b).offer(batch)
            both.offer(batch)
        code, body = b.ask("GET", "/export")
        assert code == 200
        code, said = a.told("POST", "/merge", body)
        assert code == 200, said
        assert said["n_offered"] == 4000
        sketches = [one.told("GET", "/sketch")[1] for one in (a, both)]
        assert sketches[0]["cell"] == sketches[1]["cell"]
        assert np.allclose(sketches[0]["count"], sketches[1]["count"])
        mine, whole = set(a.times()), set(both.times())
        assert len(mine & whole) >= 0.9 * len(whole)
        for again in (body, a.ask("GET", "/export")[1]):
            code, said = a.told("POST", "/merge", again)
            assert (code, said["reason"]) == (409, "merged-before")
        for wrong in (b"", b"PK\x03\x04garbage", body[:-100]):
            code, said = a.told("POST", "/merge", wrong)
            assert (code, said["reason"]) == (400, "bad-merge"), said
        before = a.times()
        a.end(signal.SIGKILL)
        a.start()
        assert a.times() == before
        with memory_of(tmp_path / "other", "seed = 1\n[memory]\ncapacity = 300") as one:
            one.offer(stream(10))
            code, said = a.told("POST", "/merge", one.ask("GET", "/export")[1])
            assert (code, said["reason"]) == (400, "bad-merge")
            assert "seed" in said["error"]
