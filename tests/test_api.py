"""Tests of the Python door: running, finding and comparing runs without a shell."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support import toy_kind
from tests.support.toy_kind import ToyConfig, Worker

from midhaul import api
from midhaul.errors import (
    ConfigError,
    DataError,
    NodeError,
    StoreError,
    UnknownRunError,
)
from midhaul.kinds import KINDS, load_experiment
from midhaul.machine.coroutines import run_coroutine
from midhaul.runs.experiment_file import read_file

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.toml"))


@pytest.fixture(autouse=True)
def _in_a_folder_with_the_toy_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(KINDS, toy_kind.NAME, toy_kind.KIND)


def test_a_file_a_config_and_its_keys_run_the_same(tmp_path: Path) -> None:
    """Whatever the way, the config of the run is the same, to its hash."""
    file = tmp_path / "toy.toml"
    file.write_text('kind = "toy.count"\nn_steps = 4\ninput = "a/b.txt"\n')
    sources: list[Any] = [
        file,
        str(file),
        ToyConfig(n_steps=4, input=Path("a/b.txt")),
        {"kind": "toy.count", "n_steps": 4, "input": Path("a/b.txt")},
    ]
    found = [api.run(source, quiet=True) for source in sources]
    assert len({run.manifest.config_hash for run in found}) == 1
    assert found[0].config_values()["input"] == str(tmp_path / "a/b.txt")
    assert {run.status for run in found} == {"done"}


def test_the_api_and_the_command_line_make_the_same_config(
    tmp_path: Path,
) -> None:
    """Every example, read as a file and made of its values, has one hash."""
    del tmp_path
    n_checked = 0
    for file in EXAMPLES:
        source = read_file(file)
        if source.sweep:
            continue
        _, config = load_experiment(source, [])
        values = tomllib.loads(config_text(config))
        assert type(config)(**values).hash() == config.hash(), file.name
        _, again = api.prepare(config)
        assert again.hash() == config.hash(), file.name
        n_checked += 1
    assert n_checked > 5


def config_text(config: Any) -> str:
    """A config as the file of its run holds it."""
    from midhaul.runs.schema import dump_config  # noqa: PLC0415

    return dump_config(config)


def test_values_of_python_fit() -> None:
    """Lists, tuples, paths, arrays and sections stand where a file has lists."""
    config = ToyConfig(
        labels=["a", "b"],  # type: ignore[arg-type]
        workers=[Worker(name="eve", speed=2)],  # type: ignore[arg-type]
        n_steps=np.int64(5),  # type: ignore[arg-type]
        input="x/y",  # type: ignore[arg-type]
        grid={"k": [1, "two"]},  # type: ignore[dict-item]
    )
    assert config.labels == ("a", "b")
    assert config.workers == (Worker(name="eve", speed=2.0),)
    assert (config.n_steps, config.input) == (5, Path("x/y"))
    assert config.grid == {"k": (1, "two")}


def test_mistakes_in_python_are_told_as_in_a_file() -> None:
    """All at once, each with its key, and never as an error of pydantic."""
    with pytest.raises(ConfigError) as caught:
        ToyConfig(n_step=4, mode="fas", workers=[{"name": "x", "speed": 0}])  # type: ignore[call-arg, arg-type]
    text = str(caught.value)
    assert text.startswith("ToyConfig has 3 mistakes:")
    assert "n_step: unknown key; did you mean 'n_steps'?" in text
    assert "did you mean 'fast'?" in text
    assert "workers.0.speed: expected a value greater than 0, found 0" in text
    assert "midhaul new toy.count" in text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"kind": "toy.count", "n_step": 1}, "did you mean 'n_steps'?"),
        ({"kind": "toy.coun"}, "did you mean 'toy.count'?"),
        ({"n_steps": 1}, "expected a key kind"),
        ({"kind": "toy.count", "labels": object()}, "no experiment file can hold"),
        ({"kind": "toy.count", "sweep": {"n_steps": [1, 2]}}, r"\[sweep\]"),
        (7, "expected an experiment file, a config or its keys"),
    ],
)
def test_what_cannot_be_run_is_a_config_error(source: Any, said: str) -> None:
    """A wrong source is told in our words, and no run is begun."""
    with pytest.raises(ConfigError, match=said):
        api.run(source)
    assert len(api.runs()) == 0


def test_values_are_laid_over_as_with_set() -> None:
    """``set`` takes dotted keys, and a step may be the name of an entry."""
    run = api.run(
        {"kind": "toy.count"}, set={"n_steps": 2, "workers.bob.speed": 3.0}, quiet=True
    )
    values = run.config_values()
    assert values["n_steps"] == 2
    assert [worker["speed"] for worker in values["workers"]] == [1.0, 3.0]


def test_progress_is_told_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """The run and its tasks are lines on stderr, stdout stays empty; or nothing."""
    run = api.run({"kind": "toy.count"})
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"run {run.dir}\nsteps: 3\n")
    api.run({"kind": "toy.count"}, quiet=True)
    assert capsys.readouterr() == ("", "")


class Interrupted:
    """Progress whose third step is interrupted, as by a stopped cell."""

    def __init__(self) -> None:
        """Hear nothing yet."""
        self.said: list[str] = []
        self._n = 0

    def task(
        self, name: str, total: float | None = None
    ) -> AbstractContextManager[Any]:
        """Begin a piece of work."""
        import contextlib  # noqa: PLC0415

        del name, total

        @contextlib.contextmanager
        def opened() -> Generator[Any]:
            yield self

        return opened()

    def advance(self, n: float = 1) -> None:
        """Count, up to the interrupt."""
        del n
        self._n += 1
        if self._n == 3:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        """Keep what is said."""
        self.said.append(text)


def test_an_interrupted_run_is_resumed() -> None:
    """An interrupt leaves what was measured; ``resume`` goes on in the same folder."""
    progress = Interrupted()
    config = ToyConfig(n_steps=6)
    with pytest.raises(KeyboardInterrupt):
        api.run(config, progress=progress)
    assert "resume=True" in progress.said[-1]
    begun = api.runs()[0]
    assert begun.status == "interrupted"
    assert 0 < begun.table("steps").num_rows < 6
    done = api.run(config, resume=True, quiet=True)
    assert (done.id, done.status) == (begun.id, "done")
    assert done.table("steps").num_rows == 6


def test_a_failed_run_keeps_what_it_has() -> None:
    """The error of the experiment comes through, and the run tells of it."""
    with pytest.raises(NodeError, match="step 1 failed"):
        api.run(ToyConfig(fail_at=1), quiet=True)
    run = api.runs()[0]
    assert run.status == "failed"
    assert "step 1 failed" in repr(run)


def test_a_run_is_read_in_several_ways() -> None:
    """Arrow, a data frame, SQL and the summary give the same numbers."""
    run = api.run(ToyConfig(n_steps=3), quiet=True)
    assert run.table("steps")["value"].to_pylist() == [1.0, 2.0, 3.0]
    assert run.df("steps")["value"].tolist() == [1.0, 2.0, 3.0]
    assert run.sql("SELECT sum(value) AS s FROM steps")["s"].to_pylist() == [6.0]
    assert run.summary.estimate("total").value == 6.0
    assert run.summary.estimate("total").unit == "s"
    assert run.df("summary")["metric"].tolist() == ["total"]
    assert run.verdict is not None
    assert run.verdict.is_valid


def test_names_that_are_wrong_are_told() -> None:
    """A table, a metric, a figure, a run: what there is stands in the error."""
    run = api.run(ToyConfig(), quiet=True)
    with pytest.raises(StoreError, match="did you mean 'steps'"):
        run.table("step")
    with pytest.raises(DataError, match="did you mean 'total'"):
        run.summary.estimate("totl")
    with pytest.raises(DataError, match="no chart 'x'"):
        run.figure("x")
    with pytest.raises(UnknownRunError):
        api.open_run("2020")
    with pytest.raises(ConfigError, match=r"did you mean 'toy\.count'"):
        api.runs(kind="toy.cuont")


def test_runs_are_listed_newest_first() -> None:
    """The list is a sequence and shows itself as a table."""
    made = [api.run(ToyConfig(seed=seed), quiet=True).id for seed in (1, 2)]
    found = api.runs(kind="toy.count")
    assert {run.id for run in found} == set(made)
    assert len(found[:1]) == 1
    assert repr(found) == "RunList(2 runs)"
    assert made[0] in found._repr_html_()
    assert api.open_run(found[0].dir).id == found[0].id


def test_a_run_shows_itself() -> None:
    """A few lines on a terminal, a table in a cell; what is doubtful stands in both."""
    run = api.run(ToyConfig(factor=-1.0), quiet=True)
    for text in (repr(run), run._repr_html_()):
        assert run.id in text
        assert "not valid" in text
        assert "Values may not be negative." in text
        assert "total" in text
    assert len(repr(run).splitlines()) < 8
    assert run.doubts == (f"run {run.id} is not valid: Values may not be negative.",)


def test_the_report_shows_itself_in_a_frame() -> None:
    """The whole page travels with the cell, and cannot reach into the notebook."""
    report = api.run(ToyConfig(), quiet=True).report()
    shown = report._repr_html_()
    assert re.match(r"<iframe srcdoc=\"[^\"]*\" ", shown)
    assert Path(report).read_text(encoding="utf-8").startswith("<!")


def test_runs_are_compared() -> None:
    """By object or by name, two runs give what the command line prints."""
    one = api.run(ToyConfig(n_steps=30), quiet=True)
    two = api.run(ToyConfig(n_steps=30, factor=2.0), quiet=True)
    found = api.compare(one, two)
    (metric,) = found.metrics
    assert (metric.metric, metric.result) == ("mean_s", "worse")
    assert [d.key for d in found.differences] == ["factor"]
    assert api.compare(one.id, two.dir).metrics == found.metrics
    assert "1 worse" in repr(found)
    assert "mean_s" in found._repr_html_()
    assert found.df()["ratio"].tolist() == [pytest.approx(2.0)]


def test_a_script_needs_no_guard_around_its_run(tmp_path: Path) -> None:
    """Processes that share the work do not run the file that asked for it again."""
    script = tmp_path / "five_lines.py"
    script.write_text(
        "from midhaul.runs.perform import parallel\n"
        "print('begun')\n"
        "print(sorted(r for _, r in parallel(abs, [-1, -2, -3], jobs=2)))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("begun\n[1, 2, 3]\n", "")


def test_coroutines_run_within_a_running_loop() -> None:
    """A cell of a notebook is inside a loop already; its value and its error arrive."""

    async def answer(value: int) -> int:
        await asyncio.sleep(0)
        if value < 0:
            message = "below 0"
            raise ValueError(message)
        return value

    async def cell() -> int:
        with pytest.raises(ValueError, match="below 0"):
            run_coroutine(answer(-1))
        return run_coroutine(answer(7))

    assert asyncio.run(cell()) == run_coroutine(answer(7))
