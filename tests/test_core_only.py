"""The command line where nothing but the core is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from midhaul.kinds import KINDS

ROOT = Path(__file__).parent.parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of an environment with the core only."""
    folder = tmp_path_factory.mktemp("core") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install"]
    done = subprocess.run(
        [*command, "--quiet", str(ROOT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "bin" / "midhaul"


def call(program: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Call it away from the checkout."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["new"],
        *(["new", name] for name in KINDS),
        ["ls"],
        ["doctor"],
        ["doctor", "--json"],
    ],
)
def test_what_needs_the_core_only_works(
    core: Path, tmp_path: Path, arguments: list[str]
) -> None:
    """Help, new, ls and doctor end well."""
    done = call(core, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_doctor_names_the_missing_extras(core: Path, tmp_path: Path) -> None:
    """Each comes with the command that installs it."""
    out = call(core, "doctor", cwd=tmp_path).stdout
    assert "pip install 'midhaul[testbed]'" in out


@pytest.mark.parametrize("kind", KINDS)
def test_run_says_in_one_line_what_to_install(
    core: Path, tmp_path: Path, kind: str
) -> None:
    """Exit code 3, no run, no traceback."""
    (tmp_path / "new.toml").write_text(f'kind = "{kind}"\n')
    done = call(core, "run", "new.toml", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    message, hint = done.stderr.splitlines()
    assert message.startswith(f"midhaul: {kind} needs ")
    assert hint == f"hint: pip install 'midhaul[{KINDS[kind].extra}]'"
    assert not (tmp_path / "runs").exists()


def test_show_without_a_run_has_nothing_to_show(core: Path, tmp_path: Path) -> None:
    """It says so, as everywhere."""
    assert call(core, "show", "last", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(
    "arguments", [["demo"], ["models", "ls"], ["serve", "node", "x"]]
)
def test_other_verbs_say_what_to_install(
    core: Path, tmp_path: Path, arguments: list[str]
) -> None:
    """Whatever needs an extra names it."""
    done = call(core, *arguments, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "hint: pip install 'midhaul[" in done.stderr
    assert "Traceback" not in done.stderr


def test_show_reads_a_run_of_another_machine(core: Path, tmp_path: Path) -> None:
    """A run that was made with all extras can be looked at with none."""
    code = (
        "from pathlib import Path\n"
        "from midhaul.runs.run import Run\n"
        "from tests.support.toy_kind import NAME, STEPS, ToyConfig\n"
        "run = Run.create(Path('runs'), NAME, ToyConfig())\n"
        "run.write(STEPS, [{'step': 1}])\n"
        "run.finish()\n"
    )
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
    )
    for arguments in (["show"], ["show", "--table", "steps"], ["show", "--config"]):
        done = call(core, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout
