"""Tests of finding runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.support.toy_kind import NAME, ToyConfig

from midhaul.errors import StoreError
from midhaul.runs.listing import (
    being_run,
    find_run,
    list_runs,
    runs_of,
    short_ids,
    unfinished,
)
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def three(tmp_path: Path) -> list[Run]:
    """Three runs of different configs, an hour apart, among other things."""
    (tmp_path / "no run").mkdir()
    (tmp_path / "file").write_text("")
    return [
        Run.create(
            tmp_path,
            NAME,
            ToyConfig(n_steps=hour),
            clock=lambda hour=hour: NOON + timedelta(hours=hour),
        )
        for hour in range(3)
    ]


def test_runs_are_listed_oldest_first(tmp_path: Path, three: list[Run]) -> None:
    """Other things in the folder are passed over."""
    assert [run.id for run in list_runs(tmp_path)] == [run.id for run in three]


def test_a_run_is_found_by_folder_id_prefix_and_last(
    tmp_path: Path, three: list[Run]
) -> None:
    """Every way to name a run leads to it."""
    three[0].finish("done")
    three[1].finish("done")
    three[2].finish("failed")
    names = [str(three[2].dir), three[2].id, three[2].id[:13]]
    assert {find_run(tmp_path, name).id for name in names} == {three[2].id}
    assert find_run(tmp_path, "last").id == three[1].id


def test_last_is_finished_or_not_there(tmp_path: Path, three: list[Run]) -> None:
    """A run that was cut off is not meant; the message says that there is one."""
    with pytest.raises(StoreError, match=r"no finished run .* is running") as caught:
        find_run(tmp_path, "last")
    assert three[2].id in caught.value.hint


def test_a_run_is_found_by_its_name(tmp_path: Path) -> None:
    """Of several, the newest; what it is called changes nothing that is found."""
    times = (NOON, NOON + timedelta(hours=1))
    named = ToyConfig(name="before", note="as it was", tags=("a",))
    runs = [Run.create(tmp_path, NAME, named, clock=lambda t=t: t) for t in times]
    assert find_run(tmp_path, "before").id == runs[1].id
    manifest = Run.open(runs[0].dir).manifest
    assert (manifest.note, manifest.tags) == ("as it was", ("a",))
    assert named.hash() == ToyConfig().hash()


def test_ids_are_as_short_as_they_can_be() -> None:
    """The time is enough unless two runs began within a second."""
    ids = ["20260102T120000Z-a-1", "20260102T120000Z-b-2", "20260102T130000Z-b-3"]
    assert list(short_ids(ids).values()) == [
        "20260102T120000Z-a",
        "20260102T120000Z-b",
        "20260102T130000Z",
    ]
    assert short_ids(["20260102T120000Z-a-1"]) == {
        "20260102T120000Z-a-1": "20260102T120000Z"
    }


def test_a_name_that_fits_none_or_several_is_refused(
    tmp_path: Path, three: list[Run]
) -> None:
    """The message says how many there are or which is near."""
    with pytest.raises(StoreError, match="3 runs"):
        find_run(tmp_path, "2026")
    with pytest.raises(StoreError) as caught:
        find_run(tmp_path, three[0].id[1:])
    assert three[0].id in caught.value.hint
    with pytest.raises(StoreError, match="there is no run in"):
        find_run(tmp_path / "empty", "last")


def test_unfinished_runs_are_the_same_config_and_not_done(tmp_path: Path) -> None:
    """Of several that can be resumed, the newest counts."""
    runs = [Run.create(tmp_path, NAME, ToyConfig()) for _ in range(3)]
    assert unfinished(tmp_path, ToyConfig().hash()) is None  # they are being run
    runs[0].finish("done")
    runs[1].finish("interrupted")
    runs[2].finish("done")
    found = unfinished(tmp_path, ToyConfig().hash())
    assert found is not None
    assert found.id == runs[1].id
    assert unfinished(tmp_path, ToyConfig(seed=1).hash()) is None
    assert being_run(tmp_path, ToyConfig().hash()) is None
    assert len(runs_of(tmp_path, ToyConfig().hash())) == 3


def test_a_run_that_a_process_is_at_is_told_from_unfinished_ones(
    tmp_path: Path,
) -> None:
    """The newest of them counts."""
    runs = [Run.create(tmp_path, NAME, ToyConfig()) for _ in range(3)]
    runs[2].finish("interrupted")
    found = being_run(tmp_path, ToyConfig().hash())
    assert found is not None
    assert found.id == runs[1].id
    assert being_run(tmp_path, ToyConfig(seed=1).hash()) is None


def test_runs_of_other_code_are_not_resumed(tmp_path: Path) -> None:
    """A run is only continued by the code that began it."""
    run = Run.create(tmp_path, NAME, ToyConfig())
    run.manifest = run.manifest.model_copy(update={"code_version": "0.0.1+x"})
    run.finish("failed", "x")
    assert unfinished(tmp_path, ToyConfig().hash()) is None
