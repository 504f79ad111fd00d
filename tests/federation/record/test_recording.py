"""federation.record: what is asked when, what is kept, what it costs."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.support.fake_vendors import Vendor, serve
from tests.support.family_table import MODELS

from midhaul.errors import ConfigError, StoreError
from midhaul.federation.money.budget import BudgetGuard, Budgets
from midhaul.federation.money.ledger import Ledger
from midhaul.federation.money.prices import PriceList
from midhaul.federation.record import tables
from midhaul.federation.record.caller import (
    Asked,
    Asker,
    CallKey,
    Journal,
    JournalCall,
    JournalEntry,
    keys_to_ask,
    turns_of,
)
from midhaul.federation.record.config import (
    AskedConfig,
    RecordConfig,
    RecordImagesConfig,
    ScheduleConfig,
)
from midhaul.federation.record.experiment import record
from midhaul.federation.record.report import build
from midhaul.federation.record.samples import samples
from midhaul.federation.recordings.parquet import read_parquet
from midhaul.model import Detections, Prediction, Tags
from midhaul.report import render
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run
from midhaul.runs.spec import Spec
from midhaul.vision.detectors.detector import stated
from midhaul.wire.message import pack_answer

if TYPE_CHECKING:
    from pathlib import Path

FREE = AskedConfig(spec=Spec("local:builtin:street-n"), name="n", price_usd=0.0)
PAID = AskedConfig(spec=Spec("local:builtin:street-s"), name="s", price_usd=0.01)


class Notes(SilentProgress):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        """Keep a sentence."""
        self.said.append(text)


class Labeller:
    """A provider that labels everything, or fails as told; counts its calls."""

    def __init__(
        self, *, statuses: tuple[str, ...] = ("ok",), takes_s: float = 0.0
    ) -> None:
        self.name = "labeller"
        self.names = ("cat", "dog")
        self.calls: list[tuple[str, float]] = []
        self.n_at_once = self.most_at_once = 0
        self._statuses, self._takes_s = statuses, takes_s

    async def __aenter__(self) -> Self:
        """Open."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close."""

    async def predict(self, data: bytes, *, item: str, timeout_s: float) -> Prediction:
        """Answer both labels."""
        assert data == item.encode()
        assert timeout_s == 5.0
        self.calls.append((item, time.monotonic()))
        self.n_at_once += 1
        self.most_at_once = max(self.most_at_once, self.n_at_once)
        await asyncio.sleep(self._takes_s)
        self.n_at_once -= 1
        status: Any = self._statuses[(len(self.calls) - 1) % len(self._statuses)]
        tags = Tags(
            scores=np.array([0.5, 0.25], np.float32),
            labels=np.array([1, 0], np.int32),
            names=self.names,
        )
        return Prediction(
            provider=self.name,
            item=item,
            status=status,
            answer=tags if status == "ok" else None,
            latency_s=0.01,
            price_usd=0.0,
            message="" if status == "ok" else "as told",
        )


def ask(
    folder: Path,
    provider: Labeller,
    items: tuple[str, ...],
    *,
    budget_usd: float = 10.0,
    ask_again: str = "never",
    schedule: dict[str, Any] | None = None,
    **limits: Any,
) -> Journal:
    """Ask a provider about items, each of which is its own image."""
    asked = [Asked(provider=provider, timeout_s=5.0, **limits)]
    plan = {"n_slices": 1, "n_passes": 1, "every_s": 0.0} | (schedule or {})
    turns = turns_of(items, **plan)
    prices = PriceList.flat({"labeller": 1.0})
    with (
        Journal(folder / "journal.jsonl") as journal,
        Ledger.open(folder / "ledger.tsv") as ledger,
        SilentProgress().task("asking") as task,
    ):
        guard = BudgetGuard(ledger, Budgets(run_usd=budget_usd), run="r", prices=prices)
        asker = Asker(asked, journal, guard, read=str.encode, save=lambda _turn: None)
        wanted = keys_to_ask(turns, asked, journal, ask_again)
        asyncio.run(asker.run(turns, wanted, time.time(), task))
    return journal


@given(
    st.lists(st.text(min_size=1), unique=True, max_size=40),
    st.integers(1, 30),
    st.integers(1, 3),
)
def test_slices_are_even_and_hold_every_image_once(
    items: list[str], n_slices: int, n_passes: int
) -> None:
    """In each pass, in order, a whole number apart."""
    turns = turns_of(items, n_slices=n_slices, n_passes=n_passes, every_s=60.0)
    for number in range(n_passes):
        mine = [turn for turn in turns if turn.pass_number == number]
        assert [item for turn in mine for item in turn.items] == items
        lengths = [len(turn.items) for turn in mine]
        assert not lengths or max(lengths) - min(lengths) <= 1
        assert all(
            turn.after_s == 60.0 * (number * n_slices + turn.slice) for turn in mine
        )
    assert [turn.number for turn in turns] == list(range(len(turns)))


def test_all_is_asked_once_within_the_limits(tmp_path: Path) -> None:
    """As many at once as may be, and no more."""
    provider = Labeller(takes_s=0.02)
    items = tuple("abcdefgh")
    journal = ask(tmp_path, provider, items, n_at_once=3)
    assert sorted(item for item, _ in provider.calls) == list(items)
    assert provider.most_at_once == 3
    call = journal.calls[CallKey("labeller", "a", 0)]
    assert call.status == "ok"
    assert call.price_usd == 1.0
    assert call.found == (
        JournalEntry("dog", 0.5, None, None, None, None),
        JournalEntry("cat", 0.25, None, None, None, None),
    )


def test_a_rate_and_a_schedule_are_kept(tmp_path: Path) -> None:
    """Calls are apart by the rate, slices by the schedule."""
    provider = Labeller()
    schedule = {"n_slices": 2, "every_s": 0.5}
    ask(tmp_path, provider, tuple("abcd"), rate_hz=20.0, schedule=schedule)
    times = [at for _, at in provider.calls]
    gaps = np.diff(times)
    assert [item for item, _ in provider.calls] == list("abcd")
    assert gaps[0] >= 0.04
    assert gaps[2] >= 0.04
    assert times[2] - times[0] >= 0.4


def test_every_pass_asks_anew(tmp_path: Path) -> None:
    """Several passes see how answers and times change."""
    provider = Labeller()
    journal = ask(tmp_path, provider, ("a", "b"), schedule={"n_passes": 3})
    assert Counter(item for item, _ in provider.calls) == {"a": 3, "b": 3}
    assert {key.number for key in journal.calls} == {0, 1, 2}


def test_a_budget_that_is_spent_ends_it(tmp_path: Path) -> None:
    """Not one call beyond; more money goes on with the others."""
    provider = Labeller()
    journal = ask(tmp_path, provider, tuple("abcde"), budget_usd=3.0, n_at_once=4)
    assert len(provider.calls) == 3
    states = Counter(call.status for call in journal.calls.values())
    assert states["ok"] == 3
    assert states["not_sent"] >= 1
    ask(tmp_path, provider, tuple("abcde"), budget_usd=10.0)
    assert Counter(item for item, _ in provider.calls) == dict.fromkeys("abcde", 1)


@pytest.mark.parametrize(
    ("ask_again", "asked"),
    [("never", ""), ("unfinished", "c"), ("failed", "abc")],
)
def test_nothing_is_asked_twice_unless_it_is_said(
    tmp_path: Path, ask_again: str, asked: str
) -> None:
    """Failed calls and calls that were cut off are left alone by default."""
    failing = Labeller(statuses=("timeout", "refused"))
    ask(tmp_path, failing, ("a", "b"))
    ask(tmp_path, Labeller(), ("d",))
    with Journal(tmp_path / "journal.jsonl") as journal:
        key = CallKey("labeller", "c", 0)
        journal.write(JournalCall(key=key, slice=0, planned_s=0.0, sent_s=1.0))
    again = Labeller()
    done = ask(tmp_path, again, tuple("abcd"), ask_again=ask_again)
    assert "".join(sorted(item for item, _ in again.calls)) == asked
    for item in asked:
        assert done.calls[CallKey("labeller", item, 0)].n_asked == 2
        assert done.calls[CallKey("labeller", item, 0)].status == "ok"


def test_a_journal_with_a_torn_line_goes_on(tmp_path: Path) -> None:
    """A line that was never finished is cut off; a damaged one is an error."""
    file = tmp_path / "journal.jsonl"
    ask(tmp_path, Labeller(), ("a",))
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"key": ["labeller", "b"')
    with Journal(file) as journal:
        assert list(journal.calls) == [CallKey("labeller", "a", 0)]
    assert file.read_bytes() == whole
    file.write_bytes(b"what is this\n" + whole)
    with pytest.raises(StoreError, match="as a journal"):
        Journal(file)


def config_of(*providers: AskedConfig, **keys: Any) -> RecordConfig:
    """A config over a few scenes."""
    data = RecordImagesConfig(n_scenes=6)
    return RecordConfig(data=data, providers=providers, n_resamples=100, **keys)


def run_of(folder: Path, config: RecordConfig, notes: Notes | None = None) -> Run:
    """A finished run."""
    run = Run.create(folder / "runs", "federation.record", config)
    record(config, run, notes or Notes())
    run.finish()
    return run


def test_a_recording_can_be_learned_from(tmp_path: Path) -> None:
    """It is read back with providers, prices, latencies and the truth."""
    config = config_of(
        FREE, PAID, budget_usd=0.06, schedule=ScheduleConfig(n_slices=3, n_passes=2)
    )
    config = config.model_copy(update={"budget_usd": 0.12})
    notes = Notes()
    run = run_of(tmp_path, config, notes)
    assert "24 calls will cost about 0.12 USD: n 0, s 0.12" in notes.said[0]
    recording = read_parquet(run.dir / "files" / "recording", task="boxes")
    assert recording.providers == ("n", "s")
    assert recording.prices_usd.tolist() == [0.0, 0.01]
    assert len(recording.items) == 6
    assert recording.truth is not None
    assert recording.truth.counts.sum() > 0
    assert recording.latencies_s is not None
    assert np.all(recording.latencies_s > 0)
    calls = run.read(tables.CALLS).to_pylist()
    assert len(calls) == 24
    assert sum(row["price_usd"] for row in calls) == pytest.approx(0.12)
    first = {
        row["item"]: row["n_answers"]
        for row in calls
        if row["pass"] == 0 and row["configuration"] == 0
    }
    of_items = dict(
        zip(recording.items, recording.answers[0].counts.tolist(), strict=True)
    )
    assert of_items == first
    found = run.read(tables.PREDICTIONS)
    assert len(found) == sum(row["n_answers"] for row in calls)
    assert run.verdict is not None
    assert run.verdict.is_valid
    metrics = {s.metric for s in samples(run)}
    assert {"latency_p95_s", "ok_share", "usd_per_call"} <= metrics
    assert len(render(build(run))) > 100_000


def test_a_provider_that_cannot_be_had_is_left_alone(tmp_path: Path) -> None:
    """Nothing is charged, the rest of the turn is not asked, and the next turn is."""
    dead = Labeller(statuses=("unreachable",))
    schedule = {"n_slices": 2, "n_passes": 1, "every_s": 0.0}
    journal = ask(tmp_path, dead, tuple("abcdefghij"), schedule=schedule)
    states = [call.status for _, call in sorted(journal.calls.items())]
    assert states == ([*["unreachable"] * 3, *["skipped"] * 2]) * 2
    assert sum(call.price_usd for call in journal.calls.values()) == 0
    skipped = journal.calls[CallKey("labeller", "e", 0)]
    assert "left alone after 3 calls, unreachable: as told" in skipped.message
    alive = Labeller()
    journal = ask(tmp_path, alive, tuple("abcdefghij"), schedule=schedule)
    assert {item for item, _ in alive.calls} == set("deij")
    (tmp_path / "b").mkdir()
    denied = ask(tmp_path / "b", Labeller(statuses=("denied", "ok")), tuple("abcdef"))
    assert all(call.status != "skipped" for call in denied.calls.values())


def test_a_dead_provider_is_in_the_verdict(tmp_path: Path) -> None:
    """Calls that failed and that were not made are in the verdict, and cost nothing."""
    config = config_of(
        FREE,
        AskedConfig(
            spec=Spec("http://127.0.0.1:9"), name="dead", price_usd=1.0, charged=("ok",)
        ),
        budget_usd=10.0,
    )
    run = run_of(tmp_path, config)
    assert run.verdict is not None
    reasons = " ".join(run.verdict.reasons)
    assert "3 of 12 calls failed" in reasons
    assert "3 of 12 calls were not made, as their provider" in reasons
    calls = run.read(tables.CALLS).to_pylist()
    assert sum(call["price_usd"] for call in calls) == 0
    assert len(render(build(run))) > 100_000


def test_what_an_answer_lost_is_counted(tmp_path: Path) -> None:
    """A box with an odd score is left out, and too many of them are not valid."""
    boxes = np.tile(np.array([[1, 2, 9, 9]], np.float32), (2, 1))
    said = Detections(
        boxes=boxes,
        scores=np.array([0.5, 7.0], np.float32),
        labels=np.zeros(2, np.int32),
        names=("car",),
    )
    with serve(Vendor(answer={}, raw=pack_answer({}, [{}], [said]))) as node:
        one = AskedConfig(spec=Spec(node.url), name="odd", price_usd=0.0)
        run = run_of(tmp_path, config_of(one))
    calls = run.read(tables.CALLS).to_pylist()
    assert [(c["status"], c["n_answers"], c["n_dropped"]) for c in calls] == (
        [("ok", 1, 1)] * 6
    )
    assert run.verdict is not None
    assert "6 of 12 boxes and labels of answers" in run.verdict.reasons[0]


def test_a_dry_run_asks_nobody(tmp_path: Path) -> None:
    """It says what it would cost, beyond the budget too."""
    notes = Notes()
    run = run_of(tmp_path, config_of(PAID, is_dry_run=True), notes)
    assert notes.said[0].startswith("6 calls will cost about 0.06 USD: s 0.06")
    assert run.count(tables.CALLS.name) == 0
    assert run.verdict is not None
    assert run.verdict.reasons == ("a dry run asks nobody",)
    assert render(build(run))


def test_what_costs_more_than_the_budget_does_not_begin(tmp_path: Path) -> None:
    """Unless it is told to stop there."""
    with pytest.raises(ConfigError, match=r"about 0\.06 USD, the budget is 0\.03 USD"):
        run_of(tmp_path, config_of(PAID, budget_usd=0.03))
    run = run_of(tmp_path, config_of(PAID, budget_usd=0.03, stops_at_budget=True))
    states = Counter(row["status"] for row in run.read(tables.CALLS).to_pylist())
    assert states == {"ok": 3, "not_sent": 1}
    assert run.verdict is not None
    assert "budget" in run.verdict.reasons[0]
    recording = read_parquet(run.dir / "files" / "recording", task="boxes")
    assert recording.answers[0].is_missing.sum() == 3


def test_free_calls_of_a_price_list_are_counted(tmp_path: Path) -> None:
    """Google gives the first thousand of a month away."""
    google = AskedConfig(
        spec=Spec("local:builtin:street-n"),
        name="g",
        price_list="google",
        price_name="google:object_localization",
    )
    notes = Notes()
    run = run_of(tmp_path, config_of(google), notes)
    assert "g 0 (6 free)" in notes.said[0]
    (row,) = run.read(tables.CONFIGURATIONS).to_pylist()
    assert row["price_usd"] == pytest.approx(0.00225)
    assert row["n_free"] == 6


def test_what_is_assumed_of_a_detector_stands_beside_the_verdict(
    tmp_path: Path,
) -> None:
    """A model without a card is asked like another, and told what it lacks."""
    (model,) = (model for model in MODELS if model.name == "yolov8")
    file = model.write(tmp_path / model.name)
    spec = Spec(f"local:onnx:{file}")
    run = run_of(tmp_path, config_of(AskedConfig(spec=spec, name="y", price_usd=0.0)))
    assumed = stated(f"onnx:{file}").tallies
    assert assumed
    assert run.verdict is not None
    assert {tally.sentence for tally in assumed} <= set(run.verdict.remarks)


def test_a_provider_has_one_price_and_one_name() -> None:
    """A mistake is told before anything is asked."""
    spec = Spec("local:builtin:street-n")
    with pytest.raises(ConfigError, match="either price_usd or price_list"):
        AskedConfig(spec=spec, name="x")
    with pytest.raises(ConfigError, match="unique"):
        RecordConfig(providers=(FREE, FREE))
    with pytest.raises(ValidationError, match="annotations"):
        RecordImagesConfig.model_validate_json('{"kind": "coco", "images": "."}')


_CHILD = """
import sys
from pathlib import Path
from midhaul.federation.record.config import RecordConfig
from midhaul.federation.record.experiment import record
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run
config = RecordConfig.model_validate_json(sys.argv[1])
folder = Path(sys.argv[2])
runs = list(folder.iterdir()) if folder.is_dir() else []
run = Run.resume(runs[0]) if runs else Run.create(folder, "federation.record", config)
record(config, run, SilentProgress())
run.finish()
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """SIGKILL loses no answer, and no image is asked twice."""
    slow = AskedConfig(
        spec=Spec("local:null?service_s=0.05"),
        name="slow",
        price_usd=0.001,
        n_at_once=2,
    )
    config = RecordConfig(
        data=RecordImagesConfig(n_scenes=40),
        providers=(slow,),
        schedule=ScheduleConfig(n_slices=4),
        budget_usd=1.0,
        n_resamples=100,
    )
    text = json.dumps(config.plain())
    command = [sys.executable, "-c", _CHILD, text, str(tmp_path / "runs")]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        journals = list(tmp_path.glob("runs/*/files/journal.jsonl"))
        if journals and journals[0].read_bytes().count(b'"status":"ok"') >= 12:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (folder,) = (tmp_path / "runs").iterdir()
    before = folder / "files" / "journal.jsonl"
    n_before = before.read_bytes().count(b'"status":"ok"')
    assert 12 <= n_before < 40
    assert Run.open(folder).status == "killed"
    subprocess.run(command, check=True, timeout=120)
    lines = [json.loads(line) for line in before.read_text().splitlines()]
    begun = Counter(tuple(x["key"]) for x in lines if x["status"] == "unfinished")
    assert len(begun) == 40
    assert set(begun.values()) == {1}
    run = Run.open(folder)
    states = Counter(row["status"] for row in run.read(tables.CALLS).to_pylist())
    assert states["ok"] + states["unfinished"] == 40
    assert states["unfinished"] <= 2
    assert states["ok"] >= n_before
    assert run.status == "done"
