"""The ledger: whole, torn and changed lines, full disks, two writers, kills."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import spender

from midhaul.errors import ConfigError, StoreError
from midhaul.federation.money.ledger import Ledger
from midhaul.federation.money.ledger_file import (
    FIRST_CHECK,
    LedgerEntry,
    Total,
    entries_of,
    entry_of,
    line_of,
    read_ledger,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

DAY_S = 86_400.0
NOON_S = 1_700_006_400.0 + DAY_S / 2  # 15 November 2023, UTC


class Clock:
    """A clock that a test sets."""

    def __init__(self, now_s: float = NOON_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        """What time it is."""
        return self.now_s


def opened(file: Path, clock: Clock | None = None) -> Ledger:
    """A ledger that never syncs, with a clock that stands still."""
    return Ledger.open(file, sync="never", clock=clock or Clock())


def reserve(ledger: Ledger, nusd: int = 1000, provider: str = "aws") -> int:
    """Reserve a call of a run ``r`` and say its number."""
    return ledger.reserve(
        run="r",
        provider=provider,
        item="photo",
        price_nusd=nusd,
        price_list="v1",
        time_s=ledger.now_s(),
    ).call


def test_totals_are_those_of_the_file(tmp_path: Path) -> None:
    """Charged, open and released calls, by run, provider, day and month."""
    file, clock = tmp_path / "ledger.tsv", Clock()
    with opened(file, clock) as ledger:
        ledger.charge(reserve(ledger, 700), 500)
        ledger.release(reserve(ledger, 300))
        clock.now_s += DAY_S
        ledger.charge(reserve(ledger, 40, "google"), 40)
        reserve(ledger, 9, "google")
        spending = ledger.spending
        assert spending.total() == Total(
            n_calls=2, n_open=1, charged_nusd=540, open_nusd=9
        )
        assert spending.of_run("r").committed_nusd == 549
        assert spending.of_day("2023-11-15").charged_nusd == 500
        assert spending.of_provider_day("google", "2023-11-16").open_nusd == 9
        assert spending.of_provider_month("aws", "2023-11").n_calls == 1
        assert spending.total(provider="google", when="2023-11").n_open == 1
        assert spending.of_run("nobody") == Total()
        while_written = read_ledger(file)
        assert while_written.spending.rows() == spending.rows()
        assert while_written.damage == ""


def test_anybody_reads_the_file_as_a_table(tmp_path: Path) -> None:
    """DuckDB needs no reader of ours."""
    duckdb = pytest.importorskip("duckdb")
    file = tmp_path / "ledger.tsv"
    with opened(file) as ledger:
        ledger.charge(reserve(ledger, 700), 500)
    table = duckdb.read_csv(str(file), delimiter="\t")
    found = table.aggregate("event, sum(price_nusd)", "event").order("event").fetchall()
    assert found == [("charged", 500), ("reserved", 700)]


def test_unfinished_calls_count_as_spent_when_the_file_is_opened_again(
    tmp_path: Path,
) -> None:
    """A call that may have been made is never free."""
    file = tmp_path / "ledger.tsv"
    with opened(file) as ledger:
        ledger.charge(reserve(ledger, 5), 5)
        reserve(ledger, 11)
        reserve(ledger, 13)
    with opened(file) as ledger:
        assert (ledger.recovery.n_assumed, ledger.recovery.assumed_nusd) == (2, 24)
        assert ledger.recovery.n_entries == 4
        assert ledger.spending.total() == Total(n_calls=3, charged_nusd=29)
    with opened(file) as ledger:
        assert ledger.recovery.n_assumed == 0
    assert [one.event for one in entries_of(file)][-2:] == ["assumed", "assumed"]


@given(cut=st.integers(0, 600), junk=st.binary(max_size=5))
def test_a_torn_end_is_cut_off_and_nothing_else_is_lost(cut: int, junk: bytes) -> None:
    """Wherever a write stopped, the whole lines before it stand."""
    with _scratch() as file:
        with opened(file) as ledger:
            for nusd in (5, 7, 9):
                ledger.charge(reserve(ledger, nusd), nusd)
        whole = file.read_bytes()
        header_bytes = len(whole.split(b"\n", 1)[0]) + 1
        kept = whole[: max(header_bytes, len(whole) - cut)]
        file.write_bytes(kept + junk.replace(b"\n", b""))
        n_lines = kept.count(b"\n") - 1
        contents = read_ledger(file)
        assert contents.damage == ""
        assert contents.n_entries == n_lines
        with opened(file) as ledger:
            charge_at = [2, 4, 6]
            n_charged = sum(n_lines >= place for place in charge_at)
            n_open = n_lines - 2 * n_charged
            assert ledger.spending.total().n_calls == n_charged + n_open
            reserve(ledger)
        assert read_ledger(file).damage == ""


@contextlib.contextmanager
def _scratch() -> Generator[Path]:
    """A file in a folder of its own, for tests that hypothesis runs many times."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name) / "ledger.tsv"


def test_a_ledger_that_was_hardly_begun_is_begun_again(tmp_path: Path) -> None:
    """A kill while the very first line was written leaves part of it."""
    file = tmp_path / "l"
    with opened(file):
        header = file.read_bytes()
    for n_bytes in (0, 1, len(header) - 1):
        file.write_bytes(header[:n_bytes])
        with opened(file) as ledger:
            assert ledger.recovery.n_torn_bytes in (0, n_bytes)
            assert (str(n_bytes) in ledger.recovery.sentence) == (n_bytes > 0)
        assert file.read_bytes() == header


def test_a_changed_line_is_damage_and_says_where(tmp_path: Path) -> None:
    """Prices, order and number of lines are all under the checksums."""
    file = tmp_path / "ledger.tsv"
    with opened(file) as ledger:
        for nusd in (5, 7, 9):
            ledger.charge(reserve(ledger, nusd), nusd)
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    cheaper = whole.replace(b"\t7\tv1", b"\t1\tv1")
    for changed in (
        cheaper,
        b"".join(lines[:3] + lines[4:]),
        b"".join([*lines[:2], lines[3], lines[2], *lines[4:]]),
        b"".join([*lines[:-1], lines[-1].replace(b"\t9\t", b"\t8\t")]),
        b"".join([*lines[:-1], lines[-1].replace(b"charged", b"chArged")]),
        b"".join([*lines[:-1], lines[-1].replace(b"\t", b" ")]),
        b"".join([*lines[:-1], b"\n"]),
        b"".join([*lines[:-1], lines[-1][:20] + b"\n"]),
        whole + b"\0\0\n",
        b"".join([*lines[:2], b"?" * len(lines[2]), b"\n", b"and so on"]),
    ):
        assert changed != whole
        file.write_bytes(changed)
        assert "line" in read_ledger(file).damage
        with pytest.raises(StoreError, match="damaged: line") as caught:
            opened(file)
        assert str(file) in caught.value.message
        assert "begin another" in caught.value.hint
        assert file.read_bytes() == changed
    file.write_bytes(whole)
    assert read_ledger(file).damage == ""


@given(
    st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20),
    st.integers(0, 2**62),
    st.floats(0, 4e9),
)
def test_lines_say_what_entries_say(name: str, nusd: int, time_s: float) -> None:
    """Write and read are inverse, but for the digits of the time."""
    entry = LedgerEntry(
        number=7, time_s=time_s, event="charged", call=3, run=name, provider=name,
        item="00ff", price_nusd=nusd, price_list="v1",
    )  # fmt: skip
    line, check = line_of(entry, FIRST_CHECK)
    found = entry_of(line, FIRST_CHECK)
    assert found is not None
    again, own = found
    assert own == check
    assert abs(again.time_s - time_s) < 1e-6
    assert line_of(again, FIRST_CHECK)[0] == line
    assert entry_of(line, FIRST_CHECK + 1) is None


def test_a_call_ends_once(tmp_path: Path) -> None:
    """Charging twice would be counted twice."""
    with opened(tmp_path / "l") as ledger:
        call = reserve(ledger)
        ledger.charge(call, 1000)
        for end in (lambda: ledger.charge(call, 1), lambda: ledger.release(call)):
            with pytest.raises(ValueError, match="not open"):
                end()


def test_two_writers_are_one_too_many(tmp_path: Path) -> None:
    """The second one is told, and readers are not in the way."""
    file = tmp_path / "l"
    with opened(file) as ledger:
        reserve(ledger)
        with pytest.raises(StoreError, match="another process writes"):
            opened(file)
        assert read_ledger(file).n_entries == 1
    with opened(file) as ledger:
        reserve(ledger)


def test_what_is_no_ledger_is_left_alone(tmp_path: Path) -> None:
    """A wrong path costs nobody a file."""
    file = tmp_path / "thesis.txt"
    file.write_text("dear reader\n")
    with pytest.raises(StoreError, match="no ledger"):
        opened(file)
    assert file.read_text() == "dear reader\n"
    with pytest.raises(StoreError, match="cannot be opened"):
        opened(tmp_path / "no" / "such" / "folder")
    with pytest.raises(StoreError, match="cannot be read"):
        read_ledger(tmp_path / "nothing")


def test_names_with_tabs_are_refused(tmp_path: Path) -> None:
    """They would break the table."""
    with opened(tmp_path / "l") as ledger:
        with pytest.raises(ConfigError, match="cannot hold"):
            reserve(ledger, provider="a\tb")
        assert read_ledger(tmp_path / "l").n_entries == 0


def test_a_closed_ledger_takes_nothing(tmp_path: Path) -> None:
    """A call after the end is an error, not a gap."""
    ledger = opened(tmp_path / "l")
    ledger.close()
    ledger.close()
    with pytest.raises(StoreError, match="is closed"):
        reserve(ledger)


def test_synced_calls_share_their_syncs(tmp_path: Path) -> None:
    """Threads that wait for the disk at the same time wait for one sync."""
    n_syncs = 0
    real = os.fdatasync

    def counted(descriptor: int) -> None:
        nonlocal n_syncs
        n_syncs += 1
        time.sleep(0.005)
        real(descriptor)

    os.fdatasync = counted
    try:
        with Ledger.open(tmp_path / "l", sync="always") as ledger:

            def call() -> None:
                ledger.wait_synced(reserve(ledger))

            threads = [threading.Thread(target=call) for _ in range(40)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert ledger.spending.total().n_open == 40
    finally:
        os.fdatasync = real
    assert 1 <= n_syncs < 20


def test_a_disk_that_no_longer_syncs_stops_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nobody waits for it."""
    is_broken = threading.Event()

    def broken(descriptor: int) -> None:
        is_broken.set()
        message = f"descriptor {descriptor}"
        raise OSError(5, message)

    monkeypatch.setattr(os, "fdatasync", broken)
    with Ledger.open(tmp_path / "l", sync="interval", sync_interval_s=0.01) as ledger:
        ledger.charge(reserve(ledger), 1000)
        assert is_broken.wait(30)

        def until_refused() -> None:
            for _ in range(10_000):
                reserve(ledger)
                time.sleep(0.001)

        with pytest.raises(StoreError, match="cannot be synced"):
            until_refused()


def test_a_full_disk_stops_calls_before_they_are_made(tmp_path: Path) -> None:
    """The last line stays whole, ends of calls wait, and all goes on with space."""
    script = """
        import resource, sys
        from pathlib import Path
        from midhaul.errors import StoreError
        from midhaul.federation.money.budget import BudgetGuard, Budgets
        from midhaul.federation.money.ledger import Ledger

        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
        with Ledger.open(Path(sys.argv[1]), sync="interval") as ledger:
            guard = BudgetGuard(ledger, Budgets(run_usd=1), run="r")
            given = []
            try:
                while True:
                    given.append(guard.reserve("aws", "item", 0.001))
            except StoreError as error:
                print(error.message)
            for one in given:
                guard.settle(one)  # stays late, and says nothing
            try:
                guard.reserve("aws", "item", 0.001)
            except StoreError as error:
                print("still full")
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            guard.settle(guard.reserve("aws", "item", 0.001))
            print(len(given), ledger.spending.total().n_calls)
    """
    file = tmp_path / "ledger.tsv"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(file)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    first, second, counts = done.stdout.splitlines()
    assert "no call is made" in first
    assert second == "still full"
    n_given, n_calls = (int(text) for text in counts.split())
    assert n_calls == n_given + 1 > 10
    contents = read_ledger(file)
    assert (contents.damage, contents.n_torn_bytes) == ("", 0)
    assert contents.spending.total() == Total(
        n_calls=n_calls, charged_nusd=n_calls * 1_000_000
    )


class _Counting(BaseHTTPRequestHandler):
    """A provider that counts: it notes the number of each call, then answers."""

    protocol_version = "HTTP/1.1"
    seen: list[int]

    def do_POST(self) -> None:
        """Note the call."""
        self.seen.append(int(self.path[1:]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def counting() -> Iterator[tuple[str, list[int]]]:
    """Address of a counting server, and the calls that it saw."""
    seen: list[int] = []
    handler = type("Handler", (_Counting,), {"seen": seen})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", seen
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_killed_process_has_written_down_every_call_that_was_seen(
    tmp_path: Path, counting: tuple[str, list[int]]
) -> None:
    """SIGKILL at random, four times; then the budget is spent to its end.

    What is guaranteed: a call that the provider saw is in the ledger, charged or
    assumed, and each has its own number. Charged calls were seen. Assumed are at most
    those that were under way at a kill. So the ledger's total is never below what was
    really spent, and above it by no more than those.
    """
    url, seen = counting
    file, n_threads, budget_usd = tmp_path / "ledger.tsv", 4, 4.0
    rng = random.Random(4)
    command = [sys.executable, spender.__file__, str(file), url, str(budget_usd)]
    for n_before_kill in (1, 40, 150, 400):
        target = len(seen) + n_before_kill
        process = subprocess.Popen(
            [*command, str(n_threads)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        while len(seen) < target and process.poll() is None:
            time.sleep(0.001 * rng.random())
        process.kill()
        process.wait()
        process.stdout.close()
    subprocess.run(
        [*command, str(n_threads)], check=True, timeout=300, stdout=subprocess.DEVNULL
    )
    events: dict[str, set[int]] = {
        "charged": set(),
        "assumed": set(),
        "reserved": set(),
    }
    for entry in entries_of(file):
        events[entry.event].add(entry.call)
    assert len(seen) == len(set(seen)), "a number was used for two calls"
    assert events["charged"] <= set(seen) <= events["charged"] | events["assumed"]
    assert events["charged"] | events["assumed"] == events["reserved"]
    assert len(events["assumed"]) <= 4 * n_threads
    total = read_ledger(file).spending.of_run("killed")
    assert total.n_open == 0
    assert total.charged_nusd == 4_000_000_000, "the budget is spent, to the last call"
    assert len(seen) * spender.PRICE_USD <= budget_usd
    assert total.n_calls - len(seen) <= len(events["assumed"])
