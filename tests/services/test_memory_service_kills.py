"""A served memory that is killed, or whose files are damaged: nothing said is lost."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest
from tests.support.served_memory import MemoryProcess, arrow, memory_of, stream

from midhaul.npz_state import read_state, write_state

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

TEXT = """
[memory]
capacity = 60
[upload]
n_samples = 100
period_s = 1e9
[journal]
sync = "{sync}"
max_bytes = {max_bytes}
"""


def _text(sync: str = "never", max_bytes: int = 40_000) -> str:
    return TEXT.format(sync=sync, max_bytes=max_bytes)


def _journal(service: MemoryProcess) -> Path:
    return max((service.folder / "memory").glob("journal-*.log"))


def _snapshot(service: MemoryProcess) -> Path:
    return max((service.folder / "memory").glob("snapshot-*.npz"))


@pytest.mark.parametrize("sync", ["never", "interval", "always"])
def test_nothing_acknowledged_is_lost_by_a_kill(tmp_path: Path, sync: str) -> None:
    """Killed under load, with snapshots meanwhile, it is as one that never was."""
    with (
        memory_of(tmp_path / "killed", _text(sync)) as service,
        memory_of(tmp_path / "twin", _text(sync)) as twin,
    ):
        taken: list[int] = []
        number = 0
        for n_before in (3, 8):
            enough = threading.Event()
            killer = threading.Thread(target=_kill_after, args=(enough, service))
            killer.start()
            try:
                while True:
                    service.offer(stream(32, begin=32 * number))
                    taken.append(number)
                    number += 1
                    if len(taken) >= n_before:
                        enough.set()
            except OSError:
                pass
            killer.join()
            service.start()
            n_offered = service.told("GET", "/info")[1]["n_offered"]
            assert n_offered >= 32 * len(taken)
            if n_offered > 32 * len(taken):  # it was written down, but not answered
                assert n_offered == 32 * (len(taken) + 1)
                taken.append(number)
            number += 1
        for one in taken:
            twin.offer(stream(32, begin=32 * one))
        assert service.samples().equals(twin.samples())
        more = stream(100, begin=32 * number)
        assert service.offer(more) == twin.offer(more)


def _kill_after(enough: threading.Event, service: MemoryProcess) -> None:
    enough.wait(60)
    service.process.kill()
    service.process.communicate()


def test_labels_models_and_decisions_survive_too(tmp_path: Path) -> None:
    """All that was answered, not only offers."""
    with memory_of(tmp_path, "[memory]\ncapacity = 60") as service:
        service.offer(stream(100, is_known=False))
        service.told("POST", "/decision")
        service.told("POST", "/retrained?version=1")
        body = b'{"time_s": [%s], "group": [%s], "y": [2]}'
        time = service.times()[0]
        body = body % (str(time).encode(), str(int(time // 10)).encode())
        service.told("POST", "/label", body)
        service.offer(stream(30, begin=100, version=1))
        before = (
            service.samples(),
            service.told("GET", "/decision"),
            service.told("GET", "/info")[1]["counts"],
            service.told("GET", "/sketch"),
        )
        service.end(signal.SIGKILL)
        service.start()
        after = (
            service.samples(),
            service.told("GET", "/decision"),
            service.told("GET", "/info")[1]["counts"],
            service.told("GET", "/sketch"),
        )
        assert _columns(before[0]) == _columns(after[0])
        assert before[1:] == after[1:]
        assert service.told("POST", "/decision")[1]["n_samples"] == 30


def _columns(table: pa.Table) -> dict[str, str]:
    """What columns hold, in words in which NaN is NaN."""
    return {name: repr(table[name].to_pylist()) for name in table.column_names}


def test_many_at_once_lose_nothing(tmp_path: Path) -> None:
    """Batches that wait together are written down as one record."""
    with memory_of(tmp_path, _text("always")) as service:
        taken: list[int] = []

        def offer(begin: int) -> None:
            for number in range(begin, begin + 8):
                service.offer(stream(16, begin=16 * number))
                taken.append(number)

        threads = [threading.Thread(target=offer, args=(8 * i,)) for i in range(6)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert len(taken) == 48
        before = service.samples()
        service.end(signal.SIGKILL)
        service.start()
        assert service.told("GET", "/info")[1]["n_offered"] == 16 * 48
        assert service.samples().equals(before)


def test_sigterm_ends_it_with_a_snapshot(tmp_path: Path) -> None:
    """The next start has no journal to read."""
    with memory_of(tmp_path, _text()) as service:
        service.offer(stream(100))
        before = service.samples()
        assert service.end(signal.SIGTERM)[0] == 0
        assert _journal(service).stat().st_size < 100
        service.start()
        assert service.samples().equals(before)


def test_a_record_that_is_cut_short_is_dropped_and_told(tmp_path: Path) -> None:
    """A kill in the middle of a write leaves one, which nobody was answered."""
    with memory_of(tmp_path, _text(max_bytes=10**8)) as service:
        service.offer(stream(20))
        before = service.times()
        length = _journal(service).stat().st_size
        service.offer(stream(20, begin=20))
        service.end(signal.SIGKILL)
        data = _journal(service).read_bytes()
        _journal(service).write_bytes(data[: length + 40])
        service.start()
        assert service.times() == before
        said = service.end(signal.SIGTERM)[1]
        assert "40 bytes of a record that is not whole were cut" in said


def test_damage_before_whole_records_ends_in_an_error(tmp_path: Path) -> None:
    """As what was acknowledged would be lost without a word."""
    with memory_of(tmp_path, _text(max_bytes=10**8)) as service:
        for begin in (0, 20, 40):
            service.offer(stream(20, begin=begin))
        service.end(signal.SIGKILL)
        data = bytearray(_journal(service).read_bytes())
        data[200] ^= 0xFF
        _journal(service).write_bytes(data)
        service.start()
        assert service.line == ""
        code, said = service.end(signal.SIGTERM)
        assert code == 2
        assert "is damaged at byte" in said


@pytest.mark.parametrize("how", ["cut", "other version", "other settings", "gone"])
def test_a_snapshot_that_cannot_be_used_ends_in_an_error(
    tmp_path: Path, how: str
) -> None:
    """In words and with a hint, never with an empty memory."""
    with memory_of(tmp_path, _text()) as service:
        service.offer(stream(100))
        service.end(signal.SIGTERM)
        file = _snapshot(service)
        if how == "cut":
            file.write_bytes(file.read_bytes()[:-50])
            wanted = "is no snapshot of a served memory"
        elif how == "other version":
            write_state(file, {**read_state(file), "format": 99})
            wanted = "expected a served memory of format 1"
        elif how == "other settings":
            text = service.file.read_text().replace("capacity = 60", "capacity = 61")
            service.file.write_text(text)
            wanted = "is of a memory with other settings: memory"
        else:
            file.unlink()
            wanted = "expected all journals from number 0 on"
        service.start()
        assert service.line == ""
        code, said = service.end(signal.SIGTERM)
        assert code == 2
        assert wanted in " ".join(said.split())
        assert "hint:" in said


def test_a_folder_has_one_process(tmp_path: Path) -> None:
    """The second one is told, and the first goes on."""
    with memory_of(tmp_path, _text()) as service:
        second = MemoryProcess(tmp_path, _text())
        assert second.line == ""
        code, said = second.end(signal.SIGTERM)
        assert code == 1
        assert "another process serves the memory" in said
        assert service.ask("POST", "/offer", arrow(stream(5)))[0] == 200
